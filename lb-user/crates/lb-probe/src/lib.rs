//! Health monitors: whether a member is up, asked from where traffic to it would leave.
//!
//! What: the checks themselves (a file a kind), the rise and fall machine ([`health::Health`]), and
//! the scheduler that runs one probe per (pool, member) ([`schedule::Prober`]). Beside them what a
//! proxy needs just as much: which source address to use ([`source`]) and a connect that uses it
//! ([`connect`]).
//!
//! Invariants: one probe of a member never overlaps the next; a member's health survives a change of
//! its monitor; readers on the request path read one atomic and take no lock.
//!
//! Left out on purpose: checking members' certificates. Octavia's HTTPS and TLS-HELLO monitors ask
//! whether a member answers, not who it is.

pub mod check;
pub mod codes;
pub mod connect;
pub mod health;
pub mod monitor;
mod ping;
pub mod schedule;
pub mod sctp;
pub mod source;
mod tls;
mod udp;
