//! Who of a load balancer's amphorae gets its packets.
//!
//! XDP decides alone when the active has missed its deadline ([`lb_common::heartbeat`]); the agent
//! decides earlier where it can (a process that ended, a link that went down), adopts what XDP
//! decided, and carries out planned failovers. The decision is a pure function of what is seen
//! ([`decide`]); carrying it out is the carrier's.
//!
//! Why no fail-back: each switch may cost connections, and the one that failed has proved less.

mod decide;

#[cfg(test)]
mod tests;

pub use decide::{Action, Planned, Situation, View, decide};
