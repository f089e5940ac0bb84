//! What brings hosts to the desired state, and statuses to what hosts report.
//!
//! What: [`Controller`] answers agents ([`sync`]) and folds their reports into statuses ([`reports`]):
//! the reconciler; lets nothing be PENDING for ever ([`converge`]): housekeeping; notices hosts that
//! fell silent ([`health`]): the health manager; looks for secrets that are gone ([`secrets`]). Each runs alone as well, in a process of its own.
//!
//! Invariants: level-triggered throughout. Nothing here depends on having seen an event: each step
//! reads what is desired and what was observed, acts, and may be repeated or killed anywhere. Only
//! the store is kept; what is in memory spares work and may be lost. It never serves users.
//!
//! Left out for now: several hosts for one load balancer, moving amphorae between hosts, leases of
//! hosts.

mod controller;
mod converge;
mod error;
mod gather;
mod heads;
mod health;
mod observed;
mod orphans;
mod reports;
mod secrets;
mod sync;

pub use controller::{Controller, Settings};
pub use error::ControlError;

#[cfg(test)]
mod tests;
