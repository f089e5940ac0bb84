//! Octavia's resources as plain values, and everything that can be decided about them alone.
//!
//! What: typed ids, enums in wire spelling, the rows a tenant owns, the aggregate of one load
//! balancer ([`tree::Tree`]) with the operations the API offers on it, validation, the status
//! machines, faults, and the two documents derived from a tree: what a host must carry
//! ([`spec::LoadBalancerSpec`]) and what one amphora must serve ([`amphora::AmphoraConfig`]).
//!
//! Invariants: no I/O, no async, no clock, no randomness. Time and fresh ids come in as arguments.
//! Names are Octavia's, spelt as on the wire.
//!
//! Left out on purpose: HTTP status codes (lb-api maps a [`fault::Fault`]), SQL (lb-store), map
//! entries (lb-plan).

pub mod address;
pub mod amphora;
pub mod availability_zone;
pub mod capability;
pub mod ctx;
pub mod defaults;
pub mod deployment;
pub mod enums;
pub mod fault;
pub mod flavor;
pub mod id;
pub mod l7_rules;
pub mod limits;
mod monitor_rules;
pub mod protocol;
pub mod provider;
pub mod quota;
pub mod render;
pub mod request;
pub mod resource;
pub mod rollup;
pub mod secret;
pub mod secret_refs;
pub mod settle;
pub mod spec;
pub mod status;
pub mod time;
pub mod tls;
pub mod tree;
pub mod tree_request;
pub mod view;
pub mod vip;
pub mod written;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
