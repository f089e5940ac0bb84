//! What can go wrong on the wire.

use std::{io, path::PathBuf};

/// A failure of the connection, of a peer, or of the internal CA.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer speaks another version.
    #[error(
        "this side speaks version {ours} of the agent protocol, the other side version {theirs}: run the same release on both"
    )]
    VersionMismatch {
        /// Version of this side.
        ours: u32,
        /// Version of the other side.
        theirs: u32,
    },
    /// The server did not accept the request.
    #[error("the server refused the request with {status}: {message}")]
    Refused {
        /// HTTP status code.
        status: u16,
        /// What the server says about it.
        message: String,
    },
    /// No connection to the server.
    #[error("cannot connect to the server at {server}: {source}")]
    Connect {
        /// Configured address.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// TLS could not be agreed on: wrong CA, expired certificate, not an agent's certificate.
    #[error("TLS with the server at {server} failed: {source}")]
    Tls {
        /// Configured address.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    /// No answer in time.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// How long was waited.
        seconds: u64,
    },
    /// A body is larger than its limit or breaks off.
    #[error("cannot read the body (at most {limit} bytes): {reason}")]
    Body {
        /// Limit in bytes.
        limit: usize,
        /// Why.
        reason: String,
    },
    /// A body is not the message it should be.
    #[error("not a valid message: {0}")]
    Json(#[from] serde_json::Error),
    /// A message could not be framed.
    #[error("cannot build the request: {0}")]
    Request(#[from] http::Error),
    /// A file of the CA or of credentials.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the CA or of credentials does not hold what it should.
    #[error("{path}: {reason}", path = path.display())]
    Credential {
        /// Which file or directory.
        path: PathBuf,
        /// Why, and what would be right.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A TLS configuration could not be made.
    #[error("cannot set up TLS: {0}")]
    TlsSetup(String),
    /// A host name that cannot name a directory and a certificate.
    #[error(
        "'{host}' is not a host name: letters, digits, '.', '_' and '-', at most 64 characters, no leading '.'"
    )]
    HostName {
        /// What was given.
        host: String,
    },
}
