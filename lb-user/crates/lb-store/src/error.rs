//! Everything the store can answer instead of what was asked.
//!
//! lb-api maps these onto HTTP: [`StoreError::Refused`] carries the model's own fault,
//! [`StoreError::NotFound`] is a 404, [`NetworkError`] and [`SecretError`] say what of the request
//! does not fit; what is left is the store's trouble, not the client's.

use std::{net::IpAddr, path::PathBuf};

use lb_model::{
    fault::{Fault, ResourceKind},
    id::{SecretId, SubnetId},
};

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operation inside the transaction refused; nothing was changed.
    #[error("refused: {0}")]
    Refused(Box<Fault>),
    /// The load balancer (or other aggregate) does not exist.
    #[error("not found")]
    NotFound,
    /// An address, subnet or port does not fit.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A secret is not what it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Another process works on this state directory.
    #[error("state directory {} is in use by {holder}", path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Who holds it, as it wrote itself down: role and process id.
        holder: String,
    },
    /// A file of the store could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// The key of the secrets is another than the one they were sealed with.
    #[error(
        "{}: this key does not open the secrets in the database; name the key they were sealed \
         with in secrets.key_file",
        .0.display()
    )]
    WrongKey(PathBuf),
    /// The key file holds no key.
    #[error(
        "{}: not a key: 32 bytes, as they are or as base64 or hexadecimal digits",
        .0.display()
    )]
    BadKey(PathBuf),
    /// What is stored cannot be read back: a newer version wrote it, or it was edited by hand.
    #[error("stored data cannot be understood: {0}")]
    Corrupt(String),
    /// The schema could not be brought up to date.
    #[error("database migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database does not answer, or not any more. What was asked for may be asked for again.
    #[error("the database does not answer: {0}")]
    Unavailable(sqlx::Error),
    /// Another transaction was in the way, and this one was undone. Tried again here first.
    #[error("the database is contended: {0}")]
    Contended(sqlx::Error),
    /// The database failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// Random numbers, encryption or the commit task failed.
    #[error("internal: {0}")]
    Internal(&'static str),
}

/// SQLSTATE classes and codes (PostgreSQL) that mean the server is not there: connections broken,
/// shutting down, starting, too many, or too slow; a lock not had in time.
const UNAVAILABLE: &[&str] = &["08", "57P", "57014", "25P03", "53300", "55P03"];
/// Serialization failure, deadlock, a schema that changed under a statement.
const CONTENDED: &[&str] = &["40001", "40P01", "0A000"];
/// A text that the database cannot hold (it has a NUL character).
const NO_TEXT: &[&str] = &["22021", "22P05"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(database) => database.code().unwrap_or_default().into_owned(),
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => return Self::Unavailable(error),
            _ours => return Self::Database(error),
        };
        let is = |codes: &[&str]| codes.iter().any(|known| code.starts_with(known));
        if is(CONTENDED) {
            Self::Contended(error)
        } else if is(NO_TEXT) {
            Fault::invalid("A text holds a character that cannot be stored.".to_owned()).into()
        } else if code.len() == 5 && is(UNAVAILABLE) {
            Self::Unavailable(error)
        } else {
            Self::Database(error)
        }
    }
}

impl StoreError {
    /// Another row has the value already.
    pub(crate) fn is_unique_violation(&self) -> bool {
        self.database()
            .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }

    /// A row that is referred to is not there, or one that is referred to would go.
    pub(crate) fn is_foreign_key_violation(&self) -> bool {
        self.database()
            .is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
    }

    fn database(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        match self {
            Self::Database(error) => error.as_database_error(),
            _ => None,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Refused(Box::new(fault))
    }
}

/// What a client is told: what does not fit of its request, or that it is not its fault.
impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(fault) => *fault,
            StoreError::Network(error) => error.into(),
            StoreError::Secret(error) => error.into(),
            StoreError::Unavailable(_) | StoreError::Contended(_) => {
                Self::Unavailable("The database does not answer; try again.".to_owned())
            }
            ours => Self::Bug(ours.to_string()),
        }
    }
}

impl From<NetworkError> for Fault {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::AddressInUse(_) => Self::Conflict(error.to_string()),
            request => Self::invalid(request.to_string()),
        }
    }
}

impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::NotFound(id) => Self::not_found(ResourceKind::Secret, id),
            SecretError::InUse(_) | SecretError::HasPayload(_) => Self::Conflict(error.to_string()),
            request => Self::invalid(request.to_string()),
        }
    }
}

/// Why no address could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No such subnet in the configuration.
    #[error("subnet {0} not found")]
    SubnetNotFound(SubnetId),
    /// The address is in none of the network's subnets.
    #[error("address {0} is in none of the subnets it could be taken from")]
    AddressOutside(IpAddr),
    /// Network, broadcast or gateway address.
    #[error("address {0} is reserved in its subnet")]
    AddressReserved(IpAddr),
    /// Taken already (409).
    #[error("address {0} is already in use")]
    AddressInUse(IpAddr),
    /// Every address of the allocation pools is taken.
    #[error("no free address is left in subnet {0}")]
    Exhausted(SubnetId),
}

/// Why a secret cannot be used. Never holds any of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The reference does not end in a UUID.
    #[error("'{0}' is no reference to a secret")]
    BadReference(String),
    /// No such secret.
    #[error("secret {0} not found")]
    NotFound(SecretId),
    /// A listener or pool refers to it (409).
    #[error("secret {0} is in use")]
    InUse(SecretId),
    /// Neither PKCS#12 without a password nor PEM with certificate and key.
    #[error("secret is no certificate bundle: {0}")]
    NotABundle(String),
    /// Larger than [`crate::secret::PAYLOAD_BYTES_MAX`].
    #[error("secret is larger than {0} bytes")]
    TooLarge(usize),
    /// The project has as many as it may have (403).
    #[error("there are too many {0} already")]
    TooMany(&'static str),
    /// A payload is written once (409).
    #[error("secret {0} already has data, it cannot be modified")]
    HasPayload(SecretId),
    /// A container has no secret of this name.
    #[error("the container has no {0}")]
    IncompleteContainer(&'static str),
    /// A container stands where one secret is needed.
    #[error("a container is no single secret")]
    NotASecret,
    /// A CA is X.509 certificates in PEM.
    #[error("it is no X.509 certificate in PEM")]
    NotAnAuthority,
    /// A CRL is X.509's, in PEM or DER.
    #[error("it is no X.509 CRL")]
    NotARevocationList,
    /// The certificate's last moment has passed.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The data path refuses certificate or key.
    #[error("certificate and key cannot be served: {0}")]
    NotServable(String),
    /// The key manager did not answer.
    #[error("{0}")]
    Away(String),
    /// The private key belongs to another certificate.
    #[error("the private key does not match the certificate")]
    KeyMismatch,
    /// The certificate names no host: neither CN nor SAN dNSName.
    #[error("the certificate has neither a common name nor a DNS subject alternative name")]
    NoHostNames,
}
