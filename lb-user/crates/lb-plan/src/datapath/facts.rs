//! What the agent knows of the host's interfaces and of members' health: the rest of the input.

use std::collections::BTreeMap;

use ipnet::IpNet;
use lb_common::maps::live::LbShare;
use lb_model::id::{AmphoraId, MemberId, NetworkId, PoolId};

/// Interfaces as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Per network the interface of the edge by which it is reached.
    pub uplinks: BTreeMap<NetworkId, Uplink>,
    /// Per amphora and network its veth. An amphora without one is left out of the maps.
    pub veths: BTreeMap<(AmphoraId, NetworkId), Veth>,
    /// What no amphora may reach: the host's, agent's, server's own addresses and the configured
    /// deny list.
    pub denied: Vec<IpNet>,
    /// What each load balancer may have of what all of them use.
    pub share: LbShare,
    /// New TCP connections a second that each listener may have; 0: no limit.
    pub syn_per_second: u32,
}

/// An interface of the edge with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its index in the edge's namespace.
    pub ifindex: u32,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Segment of the network behind it.
    pub segment: u32,
    /// Largest IP packet that leaves by it; 0: not known.
    pub mtu: u16,
    /// Its driver sends back what XDP returns with XDP_TX.
    pub returns: bool,
}

/// The veth of an amphora in one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Index of the edge end.
    pub ifindex: u32,
    /// MAC of the edge end.
    pub edge_mac: [u8; 6],
    /// MAC of the inner end.
    pub inner_mac: [u8; 6],
}

/// Members' health as probed; one that is not in it is not known. Beyond it counts what the spec
/// says was known last.
pub type Health = BTreeMap<(PoolId, MemberId), bool>;
