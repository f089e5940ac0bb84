//! Who asks, and whether they may (contract 6.4 to 6.6).
//!
//! A request is authenticated before a route is looked for, so that without a token not even the
//! existence of a URL is told; the result is the [`Caller`] that every handler's `Call` carries.
//! Handlers then ask the policy once they know the project of the object: after a body's schema
//! (400) and the look-up of parents (404), before everything else.
//!
//! Invariant: no handler changes or shows an object of a project without one of the functions of
//! [`authorize`]. A test walks the route table with a caller of no roles.

use std::fmt;

mod authenticate;
mod authorize;
mod caller;
mod policy_file;

pub(crate) use authenticate::authenticate;
pub(crate) use authorize::network_reader;
pub(crate) use caller::Caller;
pub use policy_file::{PolicyFile, PolicyFileError, Rules, default_rules};

impl fmt::Display for AuthStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How callers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStrategy {
    /// Everyone is admin; the project is what a header says.
    Noauth,
    /// User, project and roles are what the Identity service says of the token.
    Keystone,
    /// User, project and roles are what headers say; policy and quotas hold. For tests.
    Testing,
}

impl AuthStrategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Noauth, Self::Keystone, Self::Testing];

    /// As configurations name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noauth => "noauth",
            Self::Keystone => "keystone",
            Self::Testing => "testing",
        }
    }

    /// Whether the caller is believed without proof, so that only this machine may be one.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Noauth | Self::Testing)
    }
}
