//! The amphora: one process that serves those of one load balancer's listeners that XDP does
//! not, and probes its members.
//!
//! What: [`run`] takes the control socket its supervisor made, serves whatever the newest
//! [`lb_model::amphora::AmphoraConfig`] says, and tells what it observes.
//!
//! Invariants: a change of configuration cuts no connection; a listening socket that stays in the
//! configuration is never closed, nor when a new process takes over; nothing is locked or shared between workers on the request path;
//! no head reaches a member that the strict gate has not read byte for byte.

mod accept;
mod balance;
mod certificate;
mod config;
mod connection;
mod control;
mod counters;
mod error;
mod explain;
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod h1;
mod headers;
mod heartbeat;
mod http2;
mod l7;
mod listen;
mod log;
mod persistence;
mod process;
mod prometheus;
mod reply;
mod request;
mod state;
mod takeover;
mod tcp;
mod tie;
mod tls;
mod udp;
mod upstream;
mod view;
mod worker;

pub use certificate::hosts;
pub use error::Error;
pub use explain::{Asked, Explained, PolicyExplained, PolicyVerdict, RuleExplained, explain};
use lb_model::amphora::{AmphoraConfig, ListenerFailure};
pub use process::{AmphoraArgs, DRAIN_WITHIN, run};
pub use takeover::Inheritance;

/// What of `config` could not be served; opens nothing and probes nobody.
#[must_use]
pub fn check(config: &AmphoraConfig) -> Vec<ListenerFailure> {
    let prober = lb_probe::schedule::Prober::new();
    config::compile(config, &prober, &config::TlsCache::new()).failures
}
