//! Why a service was of no help.

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum OpenStackError {
    /// The caller's token is not, or no longer, one.
    #[error("the token is not valid")]
    InvalidToken,
    /// The service user may not ask: wrong password, disabled, missing role.
    #[error("{service} refuses the service user: {status}")]
    ServiceUser {
        /// Who refuses.
        service: &'static str,
        /// With which status.
        status: http::StatusCode,
    },
    /// No answer, or one that says the service is in trouble.
    #[error("{service} is not available: {why}")]
    Unavailable {
        /// Who.
        service: &'static str,
        /// What happened.
        why: String,
    },
    /// What was asked for is not shown to the service user.
    #[error("it is not shown to the service user: status {0}")]
    NotShown(u16),
    /// An answer that is not the protocol's.
    #[error("{service} answered what it should not: {why}")]
    Protocol {
        /// Who.
        service: &'static str,
        /// What.
        why: String,
    },
    /// The catalogue has no endpoint.
    #[error("the service catalogue has no {interface} endpoint of {service_type}")]
    NoEndpoint {
        /// Of which service.
        service_type: String,
        /// Which kind.
        interface: &'static str,
    },
    /// The settings cannot work.
    #[error("{0}")]
    Config(String),
}
