//! Where secrets come from: the embedded store, or a Key Manager service behind the same trait.
//!
//! Invariant: of a reference only the UUID at its end and the word before it count, never the host
//! in it, so that no reference makes the server ask another address than the configured one.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin};

use lb_model::{id::SecretId, secret::Secret};

use super::{SecretPayload, bundle, bundle::Bundle};
use crate::error::{SecretError, StoreError};

/// The secret or container that a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The UUID at its end.
    pub id: SecretId,
    /// Whether it says it is a container's.
    pub is_container: bool,
}

impl Reference {
    /// Understands a reference.
    ///
    /// # Errors
    /// [`SecretError::BadReference`] when it does not end in a UUID.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let mut parts = text.trim_end_matches('/').rsplit('/');
        let end = parts.next().unwrap_or_default();
        let id = end
            .parse()
            .map_err(|_invalid| SecretError::BadReference(text.to_owned()))?;
        Ok(Self {
            id,
            is_container: parts.next() == Some("containers"),
        })
    }
}

/// On whose behalf secrets are read.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// Whose secrets may be used.
    pub projects: Vec<String>,
    /// Who asks, when that is known.
    pub user_id: Option<String>,
    /// No access list holds.
    pub is_admin: bool,
    /// What the caller proved itself with; a Key Manager service is asked with it.
    pub token: Option<Secret>,
}

/// What every container of a certificate has.
const NEEDED: [&str; 2] = ["certificate", "private_key"];

/// What a key manager holds under one reference.
pub enum Material {
    /// A secret's payload.
    Payload(SecretPayload),
    /// A container's payloads, by the names they have in it.
    Container(BTreeMap<String, SecretPayload>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payload(_) => "Payload(redacted)",
            Self::Container(_) => "Container(redacted)",
        })
    }
}

impl Material {
    /// Whether what a certificate needs is there: a container loses a part that is deleted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Payload(_) => true,
            Self::Container(parts) => NEEDED.iter().all(|name| parts.contains_key(*name)),
        }
    }

    /// As certificate, chain and key.
    pub(super) fn bundle(&self) -> Result<Bundle, SecretError> {
        match self {
            Self::Payload(payload) => bundle::read(payload.expose()),
            Self::Container(parts) => {
                let part = |name: &str| parts.get(name).map(SecretPayload::expose);
                let needed =
                    |name: &'static str| part(name).ok_or(SecretError::IncompleteContainer(name));
                bundle::assemble(
                    needed("certificate")?,
                    needed("private_key")?,
                    part("private_key_passphrase"),
                    part("intermediates"),
                )
            }
        }
    }

    /// As one payload.
    pub(super) fn payload(&self) -> Result<&[u8], SecretError> {
        match self {
            Self::Payload(payload) => Ok(payload.expose()),
            Self::Container(_) => Err(SecretError::NotASecret),
        }
    }
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyManagerError {
    /// There is no such secret, or none for this asker: nobody is told which.
    #[error("secret {0} not found")]
    NotFound(SecretId),
    /// It is there, but not for us. Only who asks on nobody's behalf is told.
    #[error("the key manager does not show secret {0}")]
    Refused(SecretId),
    /// It does not answer, or not as it should. What was read before goes on being used.
    #[error("the key manager does not answer: {0}")]
    Away(String),
    /// The embedded store's own trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What [`KeyManager::read`] gives.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Material, KeyManagerError>> + Send + 'a>>;

/// A source of secrets.
pub trait KeyManager: fmt::Debug + Send + Sync {
    /// What lies under a reference, for `asker`.
    fn read<'a>(&'a self, reference: Reference, asker: &'a Asker) -> Reading<'a>;
}
