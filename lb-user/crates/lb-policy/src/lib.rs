//! Who may do what: rules in oslo.policy's language, evaluated without any I/O.
//!
//! A [`Policy`] is one of four sets of defaults ([`PolicySet`]) with an operator's own rules laid
//! over it, checked as a whole before it exists: every rule parses, every name a rule mentions is a
//! rule, no rule leads back to itself, every check is of a kind we can evaluate. What oslo.policy
//! finds out at the first request (and then refuses everything) is found out here at the start.
//!
//! Left out on purpose: checks that ask another server (`http:`, `https:`, `opa:`); the deprecated
//! names of rules (Octavia's deprecated rules carry the very names of their successors, so there is
//! nothing to map); the union of new and deprecated defaults (`enforce_new_defaults = false`), for
//! which the set `advanced-rbac` stands.

mod action;
mod check;
mod credentials;
mod defaults;
mod error;
mod file;
mod matrix;
mod parse;
mod policy;
mod template;

pub use action::{Access, Action, PREFIX};
pub use credentials::Credentials;
pub use defaults::PolicySet;
pub use error::PolicyError;
pub use file::FILE_BYTES_MAX;
pub use matrix::{Row, matrix};
pub use policy::Policy;

#[cfg(test)]
mod tests;
