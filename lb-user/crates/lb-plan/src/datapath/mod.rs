//! From specs to the entries of the data path's maps, and from one state of them to the next.
//!
//! Three pure steps, so that they can be tested without a kernel:
//! 1. [`Allocations`] gives every object its place in the arrays, stable over restarts;
//! 2. [`load_balancer`] and [`host`] say what the maps must hold ([`DesiredMaps`]);
//! 3. [`diff`] orders the writes from what is there to what must be, so that a packet at any moment
//!    in between finds the old or the new state (design invariant 5).
//!
//! Left out on purpose: `STEER`, `LATCH` and `NEIGHBOURS` (failover and the neighbour table are the
//! agent's, and are single words), `CONFIG`, and everything the kernel writes.

mod alloc;
mod balance;
mod diff;
mod facts;
mod fingerprint;
mod index;
mod maglev;
mod maps;
mod plan;
#[cfg(test)]
mod tests;

pub use alloc::{Allocations, Freed, InUse};
pub use diff::{MapWrite, clear_freed, diff};
pub use facts::{Facts, Health, Uplink, Veth};
pub use maglev::{MaglevMember, MaglevTable};
pub use maps::{Cidr, DesiredMaps};
pub use plan::{host, load_balancer};

use std::net::IpAddr;

use lb_model::id::{LoadBalancerId, NetworkId, SubnetId};

/// Why a load balancer cannot be put into the data path of this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A limit of `lb_common::maps::limits`.
    #[error(
        "load balancer {load_balancer}: the data path of this host is full ({what}, limit {limit})"
    )]
    Full {
        /// Which load balancer did not fit.
        load_balancer: LoadBalancerId,
        /// What ran out.
        what: &'static str,
        /// How many there are on a host.
        limit: u32,
    },
    /// The spec names a subnet that it does not hold.
    #[error("load balancer {load_balancer}: its specification lacks subnet {subnet}")]
    UnknownSubnet {
        /// Which load balancer.
        load_balancer: LoadBalancerId,
        /// The missing subnet.
        subnet: SubnetId,
    },
    /// This host has no interface for a network.
    #[error(
        "load balancer {load_balancer}: no [[agent.interfaces]] entry of this host names network {network}"
    )]
    NoUplink {
        /// Which load balancer.
        load_balancer: LoadBalancerId,
        /// The network without an interface.
        network: NetworkId,
    },
    /// A member's subnet has no source address of its family.
    #[error(
        "load balancer {load_balancer}: no source address in subnet {subnet} to reach member {member} from"
    )]
    NoSnat {
        /// Which load balancer.
        load_balancer: LoadBalancerId,
        /// The member's subnet.
        subnet: SubnetId,
        /// The member's address.
        member: IpAddr,
    },
    /// Two load balancers claim one address.
    #[error("load balancer {load_balancer}: {address} already belongs to load balancer {owner}")]
    AddressTaken {
        /// Which load balancer came later.
        load_balancer: LoadBalancerId,
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: LoadBalancerId,
    },
}
