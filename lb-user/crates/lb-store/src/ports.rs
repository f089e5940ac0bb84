//! Which addresses a load balancer needs: pure, from its tree alone.
//!
//! After every change the store compares this with the ports table and, in the same transaction,
//! takes what is missing and frees what is too much ([`crate::ipam`]). VIPs are not in the list: they
//! are taken once, before the tree exists, and live as long as it.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use lb_model::{
    enums::{ForwardingMode, ListenerProtocol, Topology},
    id::{AmphoraId, LoadBalancerId, NetworkId, PortId, SubnetId},
    resource::Vip,
    time::Timestamp,
    tree::Tree,
};

use crate::network::Near;

/// What an address of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortPurpose {
    /// The primary VIP.
    Vip,
    /// A further VIP.
    AdditionalVip,
    /// An amphora's own address in a subnet.
    Amphora,
    /// Source address of flows that XDP translates.
    Snat,
    /// What a user makes of it.
    User,
}

impl PortPurpose {
    const ALL: [Self; 5] = [
        Self::Vip,
        Self::AdditionalVip,
        Self::Amphora,
        Self::Snat,
        Self::User,
    ];

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::AdditionalVip => "additional_vip",
            Self::Amphora => "amphora",
            Self::Snat => "snat",
            Self::User => "user",
        }
    }
}

impl fmt::Display for PortPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PortPurpose {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found = Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text);
        found.ok_or(())
    }
}

/// One address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Identity.
    pub id: PortId,
    /// Whose it is; `None`: a user's.
    pub load_balancer_id: Option<LoadBalancerId>,
    /// The owner's project.
    pub project_id: String,
    /// What it is for.
    pub purpose: PortPurpose,
    /// Which amphora, for [`PortPurpose::Amphora`].
    pub amphora_id: Option<AmphoraId>,
    /// Its network: addresses are unique in it.
    pub network_id: NetworkId,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// The address.
    pub address: IpAddr,
    /// When it was taken.
    pub created_at: Timestamp,
}

/// An address that must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeededPort {
    /// What for.
    pub purpose: PortPurpose,
    /// Which amphora (0 or 1), for [`PortPurpose::Amphora`].
    pub slot: Option<u8>,
    /// From which subnet.
    pub subnet_id: SubnetId,
}

/// How many amphorae a topology has.
#[must_use]
pub const fn amphora_slots(topology: Topology) -> u8 {
    match topology {
        Topology::Single => 1,
        Topology::ActiveStandby => 2,
    }
}

/// Every address, beside its VIPs, that a load balancer needs: each amphora one in every subnet of a
/// VIP and of a member; the data path one in every subnet in which an L4 listener's members are.
#[must_use]
pub fn needed_ports(tree: &Tree) -> BTreeSet<NeededPort> {
    let load_balancer = &tree.load_balancer;
    let mut joined = BTreeSet::from([load_balancer.vip.subnet_id]);
    joined.extend(
        load_balancer
            .additional_vips
            .iter()
            .map(|vip| vip.subnet_id),
    );
    let members = tree.pools.iter().flat_map(|pool| &pool.members);
    joined.extend(members.filter_map(|member| member.subnet_id));

    let slots = 0..amphora_slots(load_balancer.topology);
    let amphorae = slots.flat_map(|slot| {
        joined.iter().map(move |subnet_id| NeededPort {
            purpose: PortPurpose::Amphora,
            slot: Some(slot),
            subnet_id: *subnet_id,
        })
    });
    let snat = snat_subnets(tree).into_iter().map(|subnet_id| NeededPort {
        purpose: PortPurpose::Snat,
        slot: None,
        subnet_id,
    });
    amphorae.chain(snat).collect()
}

fn snat_subnets(tree: &Tree) -> BTreeSet<SubnetId> {
    // Direct return keeps the client's address.
    let translates = tree.load_balancer.placement.forwarding_mode == ForwardingMode::Nat;
    let hashed = tree.listeners.iter().filter(|listener| {
        let flows = matches!(
            listener.protocol,
            ListenerProtocol::Https
                | ListenerProtocol::Tcp
                | ListenerProtocol::Udp
                | ListenerProtocol::Sctp
        );
        translates && flows
    });
    let pool_ids: BTreeSet<_> = hashed
        .filter_map(|listener| listener.default_pool_id)
        .collect();
    let pools = tree.pools.iter().filter(|pool| pool_ids.contains(&pool.id));
    pools
        .flat_map(|pool| &pool.members)
        .filter_map(|member| {
            member
                .subnet_id
                .or_else(|| vip_subnet(tree, member.address.ip()))
        })
        .collect()
}

/// Where in the load balancer's world a subnet is: its network, and an address in it.
#[must_use]
pub fn near(tree: &Tree, subnet_id: SubnetId) -> Near {
    let load_balancer = &tree.load_balancer;
    let mut vips = std::iter::once(&load_balancer.vip).chain(&load_balancer.additional_vips);
    if let Some(vip) = vips.find(|vip| vip.subnet_id == subnet_id) {
        return Near {
            network_id: Some(vip.network_id),
            subnet_id: None,
            address: Some(vip.address),
        };
    }
    let mut members = tree.pools.iter().flat_map(|pool| &pool.members);
    let member = members.find(|member| member.subnet_id == Some(subnet_id));
    Near {
        address: member.map(|member| member.address.ip()),
        ..Near::default()
    }
}

/// The subnet of the first VIP of an address's family: the way to members without a subnet.
fn vip_subnet(tree: &Tree, address: IpAddr) -> Option<SubnetId> {
    let load_balancer = &tree.load_balancer;
    let mut vips = std::iter::once(&load_balancer.vip).chain(&load_balancer.additional_vips);
    let same_family = |vip: &&Vip| vip.address.is_ipv4() == address.is_ipv4();
    vips.find(same_family).map(|vip| vip.subnet_id)
}
