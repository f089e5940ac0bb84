//! Who asks, and whether they may (contract 6.4 to 6.6).
//!
//! A request is authenticated before a route is looked for, so that without a token not even the
//! existence of a URL is told; the result is the [`Caller`] that every handler's `Call` carries.
//! Handlers then ask the policy once they know the project of the object: after a body's schema
//! (400) and the look-up of parents (404), before everything else.
//!
//! Invariant: no handler changes or shows an object of a project without one of the functions of
//! [`authorize`]. A test walks the route table with a caller of no roles.

mod authenticate;
mod authorize;
mod caller;

pub(crate) use authenticate::authenticate;
pub(crate) use caller::Caller;

/// How callers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStrategy {
    /// Everyone is admin; the project is what a header says.
    Noauth,
    /// User, project and roles are what headers say; policy and quotas hold. For tests.
    Testing,
}

impl AuthStrategy {
    /// Whether the caller is believed without proof, so that only this machine may be one.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Noauth | Self::Testing)
    }
}
