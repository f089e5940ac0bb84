//! The host's network as load balancers need it: veths of amphorae, addresses that the edge's
//! kernel answers for, next hops of members, and what happens to all of them.
//!
//! Everything compares before it changes, so it may be repeated, and "exists already" is fine.
//!
//! Invariants: of the edge's own interfaces only those in the configuration are touched; switches
//! that are changed are written down first, so that a teardown puts them back; no thread of the
//! runtime ever enters another namespace.

mod addresses;
mod amphora;
mod members;
mod netlink;
mod sysctl;
mod uplink;
mod watch;

pub use addresses::{Addresses, SINK, remove_addresses};
pub use amphora::{
    AmphoraNetwork, JoinedNetwork, Veths, netns_name, remove as remove_amphora, veth_name,
};
pub use members::{NextHop, NextHops};
pub use netlink::{Link, Netlink};
pub use sysctl::Sysctls;
pub use uplink::{Uplinks, host_addresses};
pub use watch::{LinkEvent, NeighbourEvent, watch};
