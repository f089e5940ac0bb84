//! Secrets: what listeners and pools refer to for their certificates.
//!
//! What: [`KeyManager`] is where they come from, the embedded store or a service; [`judge`] reads
//! what a request names and says whether it can be used; [`copy`] keeps what is used, so that it is
//! served whether or not the key manager answers. Everything is kept encrypted ([`seal`]).
//!
//! Left out on purpose: orders (keys made by the key manager), secret stores, quotas of their own,
//! access lists that reach across projects.

mod authority;
mod bundle;
pub(crate) mod consumer;
mod container;
mod copy;
mod deletion;
mod embedded;
#[doc(hidden)]
pub mod fuzz;
mod judge;
mod manager;
mod parts;
mod read;
mod recheck;
mod registration;
pub(crate) mod seal;

use std::fmt;

use lb_model::id::SecretId;

pub use container::{ContainerRecord, NewContainer};
pub use copy::SecretCopy;
pub use embedded::{Acl, SecretAbout, SecretRecord};
pub use judge::Judged;
pub use manager::{Asker, KeyManager, KeyManagerError, Material, Reading, Reference};
pub use recheck::KeptSecret;
pub use registration::Registration;
pub use seal::KeySource;

use crate::error::SecretError;

/// Largest payload, in bytes: a chain of certificates with its key takes a tenth.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// Most secrets, and most containers, of a project.
pub const SECRETS_PER_PROJECT_MAX: i64 = 10_000;

/// What a secret holds. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPayload(Vec<u8>);

impl SecretPayload {
    /// Wraps what was read.
    #[must_use]
    pub const fn new(content: Vec<u8>) -> Self {
        Self(content)
    }

    /// The content itself. Call it where it is used, not where it is carried.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPayload({} bytes, redacted)", self.0.len())
    }
}

/// The secret that a reference means: the UUID at its end.
///
/// # Errors
/// [`SecretError::BadReference`] when it does not end in one.
pub fn reference(text: &str) -> Result<SecretId, SecretError> {
    Ok(Reference::parse(text)?.id)
}

#[cfg(test)]
pub(crate) fn statements() -> Vec<&'static str> {
    [
        consumer::STATEMENTS,
        container::STATEMENTS,
        copy::STATEMENTS,
        embedded::STATEMENTS,
        recheck::STATEMENTS,
        registration::STATEMENTS,
    ]
    .concat()
}
