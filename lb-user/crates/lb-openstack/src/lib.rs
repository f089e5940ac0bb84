//! Clients of the OpenStack services the server asks: Identity (Keystone) and Key Manager (Barbican).
//!
//! Invariants: a question has a deadline and its answer a size limit; a service that does not answer
//! is `Unavailable`, never a refusal of the caller; tokens and passwords are in no log, no `Debug`
//! and no cache (the cache knows a token by its SHA-256 alone).

mod access_rules;
mod barbican;
mod cache;
mod config;
mod document;
mod error;
mod http;
mod keystone;
mod session;
mod text;

pub use access_rules::AccessRule;
pub use barbican::{Barbican, BarbicanConfig, Found, OnBehalf, ServiceUser};
pub use config::{Identity, Interface, KeystoneConfig};
pub use document::Token;
pub use error::OpenStackError;
pub use keystone::Keystone;
pub use session::Login;
pub use text::SecretText;
