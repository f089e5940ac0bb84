//! What lies under the references of a request, as the model judges them, and the copies to keep.
//!
//! Each secret is read once a request, whatever it is used as. One that cannot be used is a fact
//! with its reason, never an error: the model says which rule it breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lb_model::{
    ctx::{AuthorityFact, CertificateFact, Facts, RevocationListFact},
    id::LoadBalancerId,
    secret_refs::SecretRefs,
};

use super::{
    authority::{self, Authority},
    bundle::Bundle,
    copy::{SecretCopy, Use},
    manager::{Asker, KeyManager, KeyManagerError, Material, Reference},
};
use crate::{
    error::{SecretError, StoreError},
    store::{Store, now},
};

/// Most different references of one request.
const REFERENCES_MAX: usize = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Judged {
    /// See [`Facts::certificates`].
    pub certificates: BTreeMap<String, CertificateFact>,
    /// See [`Facts::authorities`].
    pub authorities: BTreeMap<String, AuthorityFact>,
    /// See [`Facts::revocation_lists`].
    pub revocation_lists: BTreeMap<String, RevocationListFact>,
    /// What was good of it, for [`Store::keep_copies`].
    pub copies: Vec<SecretCopy>,
    /// Secrets that are not there, or not for the asker.
    pub missing: BTreeSet<lb_model::id::SecretId>,
    /// What the key manager says when it does not answer.
    pub away: Option<String>,
}

impl Judged {
    /// Puts what was found among the facts.
    pub fn fill(self, facts: &mut Facts) {
        facts.certificates.extend(self.certificates);
        facts.authorities.extend(self.authorities);
        facts.revocation_lists.extend(self.revocation_lists);
    }
}

impl Store {
    /// Reads and judges every reference. What of `refs` is in `stored` as well is taken from the
    /// copies of `owner` when there are any: it was judged when it was given.
    ///
    /// # Errors
    /// The database's.
    pub async fn judge_secrets(
        &self,
        manager: &dyn KeyManager,
        asker: &Asker,
        owner: LoadBalancerId,
        refs: &SecretRefs,
        stored: &SecretRefs,
    ) -> Result<Judged, StoreError> {
        let mut judge = Judge {
            store: self,
            manager,
            asker,
            owner,
            read: BTreeMap::new(),
            judged: Judged::default(),
        };
        for text in &refs.certificates {
            judge.certificate(text).await?;
        }
        let mut authorities = BTreeMap::new();
        for text in refs.authorities.union(&stored.authorities) {
            let kept = !refs.authorities.contains(text);
            if let Some(found) = judge.authority(text, kept).await? {
                authorities.insert(text.clone(), found);
            }
        }
        for text in refs.revocation_lists.union(&stored.revocation_lists) {
            let kept = !refs.revocation_lists.contains(text);
            judge.revocation_list(text, kept, &authorities).await?;
        }
        Ok(judge.judged)
    }
}

/// Takes material apart beside the runtime: passphrases cost milliseconds by design.
pub(super) async fn opened(material: impl Into<Arc<Material>>) -> Result<Bundle, SecretError> {
    let material = material.into();
    tokio::task::spawn_blocking(move || material.bundle())
        .await
        .unwrap_or_else(|_panicked| Err(super::parts::not("it cannot be taken apart")))
}

struct Judge<'a> {
    store: &'a Store,
    manager: &'a dyn KeyManager,
    asker: &'a Asker,
    owner: LoadBalancerId,
    read: BTreeMap<Reference, Result<Arc<Material>, SecretError>>,
    judged: Judged,
}

impl Judge<'_> {
    async fn certificate(&mut self, text: &str) -> Result<(), StoreError> {
        let fact = match self.bundle(text).await {
            Ok((id, bundle)) => {
                let copy = SecretCopy::of_bundle(id, &bundle)?;
                self.judged.copies.push(copy);
                CertificateFact::Usable {
                    hosts: bundle.hosts,
                }
            }
            Err(StoreError::Secret(error)) => CertificateFact::Unreadable {
                reason: error.to_string(),
            },
            Err(error) => return Err(error),
        };
        self.judged.certificates.insert(text.to_owned(), fact);
        Ok(())
    }

    async fn bundle(&mut self, text: &str) -> Result<(lb_model::id::SecretId, Bundle), StoreError> {
        let reference = Reference::parse(text)?;
        let bundle = opened(self.material(reference).await?).await?;
        if bundle.not_after <= now() {
            return Err(SecretError::CertificateExpired.into());
        }
        Ok((reference.id, bundle))
    }

    async fn authority(&mut self, text: &str, kept: bool) -> Result<Option<Authority>, StoreError> {
        let read = self.payload(text, Use::Authority, kept).await;
        match read.and_then(|payload| Ok(authority::read_authority(&payload)?)) {
            Ok(authority) => {
                self.judged
                    .authorities
                    .insert(text.to_owned(), AuthorityFact::Usable);
                Ok(Some(authority))
            }
            Err(StoreError::Secret(error)) => {
                let reason = error.to_string();
                let fact = AuthorityFact::Unreadable { reason };
                self.judged.authorities.insert(text.to_owned(), fact);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn revocation_list(
        &mut self,
        text: &str,
        kept: bool,
        authorities: &BTreeMap<String, Authority>,
    ) -> Result<(), StoreError> {
        let read = self.payload(text, Use::RevocationList, kept).await;
        let fact = match read.and_then(|it| Ok(authority::read_revocation_list(&it)?)) {
            Ok(list) => {
                let issuers = authorities
                    .iter()
                    .filter(|(_, authority)| list.is_signed_by(authority));
                RevocationListFact::Usable {
                    issuers: issuers.map(|(text, _)| text.clone()).collect(),
                }
            }
            Err(StoreError::Secret(error)) => RevocationListFact::Unreadable {
                reason: error.to_string(),
            },
            Err(error) => return Err(error),
        };
        self.judged.revocation_lists.insert(text.to_owned(), fact);
        Ok(())
    }

    /// One payload: of what is used already the copy, else what the key manager holds.
    async fn payload(&mut self, text: &str, used: Use, kept: bool) -> Result<Vec<u8>, StoreError> {
        let id = Reference::parse(text)?.id;
        if kept && let Ok(Some(content)) = self.store.kept(self.owner, id, used).await {
            return Ok(content);
        }
        let reference = Reference::parse(text)?;
        let material = self.material(reference).await?;
        let content = material.payload()?.to_vec();
        self.judged.copies.push(SecretCopy {
            id,
            used,
            content: content.clone(),
        });
        Ok(content)
    }

    async fn material(&mut self, reference: Reference) -> Result<Arc<Material>, StoreError> {
        if let Some(read) = self.read.get(&reference) {
            return Ok(read.clone()?);
        }
        if self.read.len() >= REFERENCES_MAX {
            return Err(SecretError::TooMany("references").into());
        }
        let read = match self.manager.read(reference, self.asker).await {
            Ok(material) => Ok(Arc::new(material)),
            Err(KeyManagerError::NotFound(id) | KeyManagerError::Refused(id)) => {
                self.judged.missing.insert(id);
                Err(SecretError::NotFound(id))
            }
            Err(error @ KeyManagerError::Away(_)) => {
                let text = error.to_string();
                self.judged.away = Some(text.clone());
                Err(SecretError::Away(text))
            }
            Err(KeyManagerError::Store(error)) => return Err(error),
        };
        self.read.insert(reference, read.clone());
        Ok(read?)
    }
}
