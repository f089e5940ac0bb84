//! The agent of a host: makes the host carry the load balancers it was given, and keeps them up.
//!
//! What: namespaces, veths and addresses ([`edge`]), amphora processes (supervisor), who of a
//! pair carries the traffic (failover), maps and links, what it was given (on disk) and the
//! server that gives it.
//!
//! Invariants: the data path never waits for the agent, nor the agent for the server; whatever is
//! done is done by comparing what is there with what must be, so that it may be repeated and may be
//! killed anywhere; stopping the agent changes nothing for a packet.

pub mod bpf;
mod carrier;
mod config;
pub mod desired;
pub mod edge;
mod error;
pub mod failover;
mod fleet;
mod flow_log;
mod host;
mod origin;
mod planner;
mod reports;
mod run;
mod seal;
mod simulate;
mod spares;
pub mod supervisor;
mod sync;

pub use bpf::{Flow, View};
pub use config::{AgentConfig, AmphoraLimits, Interface, L4Limits};
pub use desired::Disk;
pub use error::{Error, Result};
pub use flow_log::FlowLogConfig;
pub use origin::Origin;
pub use run::{run, teardown};
pub use simulate::{Simulation, simulate};
