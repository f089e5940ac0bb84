//! Next hops of members that XDP balances: resolved by the kernel at once, kept resolved, and told
//! to the data path.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_model::{
    id::LoadBalancerId,
    spec::{ListenerPath, LoadBalancerSpec, MemberSpec, PoolSpec, SubnetSpec},
};

use super::{netlink::Netlink, uplink::Uplinks};
use crate::Result;

/// Whose Ethernet address is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Interface of the edge.
    pub ifindex: u32,
    /// Its address.
    pub address: IpAddr,
}

/// Neighbours that are kept resolved, with the members (indices in the maps) behind each.
#[derive(Debug, Default)]
pub struct NextHops {
    by_load_balancer: BTreeMap<LoadBalancerId, BTreeMap<NextHop, BTreeSet<u32>>>,
    /// What is known now.
    known: BTreeMap<NextHop, [u8; 6]>,
}

impl NextHops {
    /// Keeps the next hops of one load balancer resolved. `index` says where a member is in the
    /// maps. Answers with what is known already: (member, Ethernet address).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn apply(
        &mut self,
        netlink: &Netlink,
        uplinks: &Uplinks,
        spec: &LoadBalancerSpec,
        index: impl Fn(&PoolSpec, &MemberSpec) -> Option<u32>,
    ) -> Result<Vec<(u32, Option<[u8; 6]>)>> {
        let wanted = wanted(spec, uplinks, index);
        let before = self.by_load_balancer.insert(spec.id, wanted.clone());
        for hop in wanted.keys() {
            let had = before
                .as_ref()
                .is_some_and(|before| before.contains_key(hop));
            if !had {
                netlink.manage_neighbour(hop.ifindex, hop.address).await?;
            }
        }
        self.forget_unused(netlink, before.into_iter().flatten())
            .await?;
        let members = wanted.iter().flat_map(|(hop, members)| {
            let mac = self.known.get(hop).copied();
            members.iter().map(move |member| (*member, mac))
        });
        Ok(members.collect())
    }

    /// Forgets one load balancer's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove(&mut self, netlink: &Netlink, id: LoadBalancerId) -> Result<()> {
        let before = self.by_load_balancer.remove(&id);
        self.forget_unused(netlink, before.into_iter().flatten())
            .await
    }

    /// Takes note of what became of a neighbour; answers with the members behind it. An unusable
    /// neighbour keeps the last address that was known: it is more likely right than none.
    pub fn learn(&mut self, hop: NextHop, mac: Option<[u8; 6]>) -> Vec<u32> {
        let Some(mac) = mac else { return Vec::new() };
        if self.known.insert(hop, mac) == Some(mac) {
            return Vec::new();
        }
        let all = self.by_load_balancer.values();
        all.filter_map(|hops| hops.get(&hop))
            .flatten()
            .copied()
            .collect()
    }

    async fn forget_unused(
        &mut self,
        netlink: &Netlink,
        before: impl Iterator<Item = (NextHop, BTreeSet<u32>)>,
    ) -> Result<()> {
        for (hop, _) in before {
            let used = |hops: &BTreeMap<NextHop, _>| hops.contains_key(&hop);
            if !self.by_load_balancer.values().any(used) {
                netlink.delete_neighbour(hop.ifindex, hop.address).await?;
                self.known.remove(&hop);
            }
        }
        Ok(())
    }
}

/// Members of pools that XDP balances, by next hop.
fn wanted(
    spec: &LoadBalancerSpec,
    uplinks: &Uplinks,
    index: impl Fn(&PoolSpec, &MemberSpec) -> Option<u32>,
) -> BTreeMap<NextHop, BTreeSet<u32>> {
    let hashed: BTreeSet<_> = spec
        .listeners
        .iter()
        .filter(|listener| listener.path == ListenerPath::Xdp)
        .filter_map(|listener| listener.default_pool_id)
        .collect();
    let mut wanted: BTreeMap<NextHop, BTreeSet<u32>> = BTreeMap::new();
    for pool in spec.pools.iter().filter(|pool| hashed.contains(&pool.id)) {
        for member in &pool.members {
            let subnet = spec.subnets.iter().find(|s| s.id == member.subnet_id);
            let hop = subnet.and_then(|subnet| next_hop(subnet, member.address, uplinks));
            if let (Some(hop), Some(index)) = (hop, index(pool, member)) {
                wanted.entry(hop).or_default().insert(index);
            }
        }
    }
    wanted
}

/// The member itself in its subnet, else the subnet's router.
fn next_hop(subnet: &SubnetSpec, member: IpAddr, uplinks: &Uplinks) -> Option<NextHop> {
    let address = if subnet.cidr.contains(&member) {
        member
    } else {
        subnet.gateway_ip?
    };
    Some(NextHop {
        ifindex: uplinks.of(subnet.network_id)?.index,
        address,
    })
}
