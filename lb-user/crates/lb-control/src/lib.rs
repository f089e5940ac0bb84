//! What brings hosts to the desired state, and statuses to what hosts report.
//!
//! What: [`Controller`] answers agents ([`sync`]), folds their reports into statuses ([`reports`])
//! and lets nothing be PENDING for ever ([`converge`]).
//!
//! Invariants: level-triggered throughout. Nothing here depends on having seen an event: each step
//! reads what is desired and what was observed, acts, and may be repeated or killed anywhere. Only
//! the store is kept; what is in memory spares work and may be lost. It never serves users.
//!
//! Left out for now: several hosts for one load balancer, moving amphorae between hosts, leases of
//! hosts, several servers on one database.

mod controller;
mod converge;
mod error;
mod gather;
mod observed;
mod reports;
mod sync;

pub use controller::{Controller, Settings};
pub use error::ControlError;

#[cfg(test)]
mod tests;
