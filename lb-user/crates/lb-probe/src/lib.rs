//! Health monitors: whether a member is up, asked from where traffic to it would leave.
//!
//! What: the checks themselves (TCP and HTTP), the rise and fall machine ([`health::Health`]), and
//! the scheduler that runs one probe per (pool, member) ([`schedule::Prober`]). Beside them what a
//! proxy needs just as much: which source address to use ([`source`]) and a connect that uses it
//! ([`connect`]).
//!
//! Invariants: one probe of a member never overlaps the next; a member's health survives a change of
//! its monitor; readers on the request path read one atomic and take no lock.
//!
//! Left out for now: HTTPS, PING, TLS-HELLO, UDP-CONNECT and SCTP monitors (the API refuses them).

pub mod check;
pub mod codes;
pub mod connect;
pub mod health;
pub mod monitor;
pub mod schedule;
pub mod source;
