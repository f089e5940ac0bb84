//! The last good copy of everything a load balancer uses of a key manager, sealed like a secret.
//!
//! What is served is served from here, so that a rebuild never waits for a key manager and does not
//! fail with one. A copy is written when a request that names the secret has had it judged, before
//! that request's transaction; what no load balancer came to use is forgotten a while later.
//!
//! Invariant: a copy is of what was once found good; a secret that is gone for good marks its copy
//! lost and takes nothing away.

use lb_model::{
    id::{LoadBalancerId, SecretId},
    spec::CertificateSpec,
};

use super::{
    bundle::Bundle,
    manager::{Asker, KeyManager, KeyManagerError, Material, Reference},
};
use crate::{
    boxed::Boxed,
    db::query,
    error::{SecretError, StoreError},
    sql::{Reader, to_json},
    store::{Store, now},
};

const COPIES: &str = "secret_copies";
/// How long a copy that nobody uses yet waits for the request it was made for.
const UNUSED_MICROS_MAX: i64 = 10 * 60 * 1_000_000;

/// As what a secret is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Certificate,
    Authority,
    RevocationList,
}

impl Use {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Authority => "authority",
            Self::RevocationList => "revocation_list",
        }
    }
}

/// Something found good, to be kept for a load balancer.
#[derive(Clone)]
pub struct SecretCopy {
    pub(super) id: SecretId,
    pub(super) used: Use,
    pub(super) content: Vec<u8>,
}

impl std::fmt::Debug for SecretCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SecretCopy({} of {}, redacted)",
            self.used.as_str(),
            self.id
        )
    }
}

impl SecretCopy {
    pub(super) fn of_bundle(id: SecretId, bundle: &Bundle) -> Result<Self, StoreError> {
        Ok(Self {
            id,
            used: Use::Certificate,
            content: to_json(bundle)?.into_bytes(),
        })
    }
}

impl Store {
    /// Keeps copies for a load balancer, in place of older ones.
    ///
    /// # Errors
    /// The database's.
    pub fn keep_copies<'f>(
        &'f self,
        owner: LoadBalancerId,
        copies: &'f [SecretCopy],
    ) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            if copies.is_empty() {
                return Ok(());
            }
            self.inner.seal.prove(&self.inner.database).await?;
            let mut transaction = self.begin_write().await?;
            for copy in copies {
                let sealed = self
                    .inner
                    .seal
                    .seal(&label(owner, copy.id, copy.used), &copy.content)?;
                query(UPSERT)
                    .bind(owner.to_string())
                    .bind(copy.id.to_string())
                    .bind(copy.used.as_str())
                    .bind(sealed)
                    .bind(now().0)
                    .execute(&mut transaction)
                    .await?;
            }
            transaction.commit().await
        })
    }

    /// Says that a secret is gone for good: what used it cannot be served any more. Says whether
    /// that is news.
    ///
    /// # Errors
    /// The database's.
    pub async fn lose_copies(
        &self,
        owner: LoadBalancerId,
        id: SecretId,
    ) -> Result<bool, StoreError> {
        let done = query(LOSE)
            .bind(owner.to_string())
            .bind(id.to_string())
            .execute(&self.inner.database.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Forgets copies of what no load balancer names, once they are old enough that no request is
    /// about to.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_unused_copies(&self) -> Result<u64, StoreError> {
        let done = query(FORGET)
            .bind(now().0.saturating_sub(UNUSED_MICROS_MAX))
            .execute(&self.inner.database.write)
            .await?;
        Ok(done.rows_affected())
    }

    /// Certificate and key under a reference, ready to be served by a load balancer: the copy that
    /// is kept for it, or from the embedded store when there never was one (what an earlier version
    /// wrote).
    ///
    /// # Errors
    /// [`StoreError::Secret`] says why it cannot be served.
    pub async fn load_certificate(
        &self,
        owner: LoadBalancerId,
        project_id: &str,
        text: &str,
    ) -> Result<CertificateSpec, StoreError> {
        let reference = Reference::parse(text)?;
        let bundle = match self.kept(owner, reference.id, Use::Certificate).await? {
            Some(content) => serde_json::from_slice(&content)
                .map_err(|error| StoreError::Corrupt(format!("{COPIES}.sealed: {error}")))?,
            None => self.first_copy(owner, project_id, reference).await?,
        };
        Ok(CertificateSpec {
            id: text.to_owned(),
            chain_pem: bundle.chain_pem,
            key_pem: bundle.key_pem,
            hosts: bundle.hosts,
            ocsp: None,
        })
    }

    /// The CA under a reference, PEM: as [`Store::load_certificate`].
    ///
    /// # Errors
    /// [`StoreError::Secret`] says why it cannot be used.
    pub async fn load_authority(
        &self,
        owner: LoadBalancerId,
        project_id: &str,
        text: &str,
    ) -> Result<String, StoreError> {
        let used = Use::Authority;
        let payload = self.load_payload(owner, project_id, text, used).await?;
        super::authority::read_authority(&payload)?;
        String::from_utf8(payload).map_err(|_not_text| SecretError::NotAnAuthority.into())
    }

    /// The revoked certificates under a reference, PEM: as [`Store::load_certificate`].
    ///
    /// # Errors
    /// [`StoreError::Secret`] says why it cannot be used.
    pub async fn load_revocation_list(
        &self,
        owner: LoadBalancerId,
        project_id: &str,
        text: &str,
    ) -> Result<String, StoreError> {
        let used = Use::RevocationList;
        let payload = self.load_payload(owner, project_id, text, used).await?;
        Ok(super::authority::read_revocation_list(&payload)?.pem())
    }

    async fn load_payload(
        &self,
        owner: LoadBalancerId,
        project_id: &str,
        text: &str,
        used: Use,
    ) -> Result<Vec<u8>, StoreError> {
        let reference = Reference::parse(text)?;
        let id = reference.id;
        if let Some(content) = self.kept(owner, id, used).await? {
            return Ok(content);
        }
        let content = self.material(project_id, reference).await?;
        let content = content.payload()?.to_vec();
        let copy = SecretCopy {
            id,
            used,
            content: content.clone(),
        };
        self.keep_copies(owner, &[copy]).await?;
        Ok(content)
    }

    async fn first_copy(
        &self,
        owner: LoadBalancerId,
        project_id: &str,
        reference: Reference,
    ) -> Result<Bundle, StoreError> {
        let material = self.material(project_id, reference).await?;
        let bundle = super::judge::opened(material).await?;
        let copy = SecretCopy::of_bundle(reference.id, &bundle)?;
        self.keep_copies(owner, &[copy]).await?;
        Ok(bundle)
    }

    async fn material(
        &self,
        project_id: &str,
        reference: Reference,
    ) -> Result<Material, StoreError> {
        let asker = Asker {
            projects: vec![project_id.to_owned()],
            is_admin: true,
            ..Asker::default()
        };
        match self.read(reference, &asker).await {
            Ok(material) => Ok(material),
            Err(KeyManagerError::Store(error)) => Err(error),
            Err(_nothing) => Err(SecretError::NotFound(reference.id).into()),
        }
    }

    /// The content of a copy; an error when it is lost.
    pub(super) async fn kept(
        &self,
        owner: LoadBalancerId,
        id: SecretId,
        used: Use,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row = query(SELECT)
            .bind(owner.to_string())
            .bind(id.to_string())
            .bind(used.as_str())
            .fetch_optional(&self.inner.database.read)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let read = Reader::new(COPIES, &row);
        if read.bool("lost")? {
            return Err(SecretError::NotFound(id).into());
        }
        let sealed = read.text("sealed")?;
        let content = self.inner.seal.open(&label(owner, id, used), &sealed)?;
        Ok(Some(content))
    }
}

/// What a copy is sealed under: moved to another row it does not open.
fn label(owner: LoadBalancerId, id: SecretId, used: Use) -> String {
    format!("copy/{owner}/{id}/{}", used.as_str())
}

const SELECT: &str = "SELECT sealed, lost FROM secret_copies \
     WHERE load_balancer_id = $1 AND secret_id = $2 AND kind = $3";
const UPSERT: &str = "INSERT INTO secret_copies \
     (load_balancer_id, secret_id, kind, sealed, lost, fetched_at) \
     VALUES ($1, $2, $3, $4, FALSE, $5) ON CONFLICT (load_balancer_id, secret_id, kind) \
     DO UPDATE SET sealed = excluded.sealed, lost = FALSE, fetched_at = excluded.fetched_at";
const LOSE: &str = "UPDATE secret_copies SET lost = TRUE \
     WHERE load_balancer_id = $1 AND secret_id = $2 AND lost = FALSE";
const FORGET: &str = "DELETE FROM secret_copies WHERE fetched_at < $1 AND NOT EXISTS \
     (SELECT 1 FROM secret_consumers c WHERE c.load_balancer_id = secret_copies.load_balancer_id \
     AND c.secret_id = secret_copies.secret_id)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT, UPSERT, LOSE, FORGET];
