//! Addresses that the edge's kernel answers for: VIPs, and the addresses we use towards members.
//!
//! None is a local address of the edge. A proxy neighbour entry on the uplink, forwarding on it and
//! a route out of another device make the kernel answer ARP and NDP, agent or no agent. That other
//! device is [`SINK`], a veth end without neighbours whose other end drops what is not for it:
//! nothing ever comes out of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use lb_model::{
    id::{LoadBalancerId, NetworkId, SubnetId},
    spec::LoadBalancerSpec,
};

use super::{
    netlink::{Netlink, Route},
    sysctl::set_here,
    uplink::Uplinks,
};
use crate::{AgentConfig, Error, Result};

/// Where packets to addresses of ours go that reach the edge's routing.
pub const SINK: &str = "lbsink0";
const SINK_PEER: &str = "lbsink1";
/// Nothing passes it, any value does.
const SINK_MTU: u32 = 1500;

/// What is answered for.
#[derive(Debug)]
pub struct Addresses {
    sink: u32,
    /// By load balancer: (uplink, address).
    answered: BTreeMap<LoadBalancerId, BTreeSet<(u32, IpAddr)>>,
}

impl Addresses {
    /// Makes the sink if it is not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn prepare(netlink: &Netlink) -> Result<Self> {
        if netlink.link(SINK).await?.is_none() {
            netlink
                .add_veth(SINK, SINK_MTU, (SINK_PEER, None, None))
                .await?;
        }
        // Neither end ever speaks, and IPv6 is off where packets would come in.
        set_here(&format!("net/ipv6/conf/{SINK_PEER}/disable_ipv6"), "1");
        set_here(&format!("net/ipv6/conf/{SINK}/addr_gen_mode"), "1");
        let mut sink = None;
        for name in [SINK, SINK_PEER] {
            let missing = || Error::NoInterface {
                name: name.to_owned(),
            };
            let link = netlink.link(name).await?.ok_or_else(missing)?;
            // The kernel then sends to the sender's own MAC, which the other end ignores.
            netlink.set_noarp(link.index).await?;
            netlink.set_up(link.index).await?;
            sink.get_or_insert(link.index);
        }
        Ok(Self {
            sink: sink.unwrap_or_default(),
            answered: BTreeMap::new(),
        })
    }

    /// Answers for every address of `spec`, and no more for those it had before.
    ///
    /// # Errors
    /// When the kernel refuses or a network has no interface here.
    pub async fn apply(
        &mut self,
        netlink: &Netlink,
        uplinks: &Uplinks,
        spec: &LoadBalancerSpec,
    ) -> Result<()> {
        let wanted = wanted(spec, uplinks)?;
        let before = self.answered.remove(&spec.id).unwrap_or_default();
        for &(uplink, address) in wanted.difference(&before) {
            netlink.add_proxy(uplink, address).await?;
            netlink.set_route(&self.route(address)).await?;
        }
        self.answered.insert(spec.id, wanted.clone());
        for &gone in before.difference(&wanted) {
            self.forget(netlink, gone).await?;
        }
        Ok(())
    }

    /// Answers for nothing of a load balancer.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove(&mut self, netlink: &Netlink, id: LoadBalancerId) -> Result<()> {
        for entry in self.answered.remove(&id).unwrap_or_default() {
            self.forget(netlink, entry).await?;
        }
        Ok(())
    }

    /// Removes what an earlier agent left that no load balancer on disk has: all proxy entries on
    /// our uplinks that `known` do not want.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_unknown<'a>(
        &self,
        netlink: &Netlink,
        uplinks: &Uplinks,
        known: impl Iterator<Item = &'a LoadBalancerSpec>,
    ) -> Result<()> {
        let mut keep = BTreeSet::new();
        for spec in known {
            // One that cannot be carried keeps nothing; it is told when it is applied.
            keep.extend(wanted(spec, uplinks).unwrap_or_default());
        }
        let ours: BTreeSet<u32> = uplinks.all().iter().map(|link| link.index).collect();
        for entry in netlink.proxies().await? {
            if ours.contains(&entry.0) && !keep.contains(&entry) {
                self.forget(netlink, entry).await?;
            }
        }
        Ok(())
    }

    async fn forget(&self, netlink: &Netlink, (uplink, address): (u32, IpAddr)) -> Result<()> {
        netlink.delete_proxy(uplink, address).await?;
        netlink.delete_route(&self.route(address)).await
    }

    fn route(&self, address: IpAddr) -> Route {
        Route {
            to: IpNet::from(address),
            index: self.sink,
            via: None,
            source: None,
        }
    }
}

/// Answers for nothing any more on the interfaces of `config`, and removes the sink.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove_addresses(config: &AgentConfig, netlink: &Netlink) -> Result<()> {
    let links = netlink.links().await?;
    let interfaces = config.interfaces.iter();
    let ours: BTreeSet<u32> = interfaces
        .filter_map(|interface| Some(links.get(&interface.name)?.index))
        .collect();
    for (uplink, address) in netlink.proxies().await? {
        if ours.contains(&uplink) {
            netlink.delete_proxy(uplink, address).await?;
        }
    }
    // Routes go with it.
    match links.get(SINK) {
        Some(sink) => netlink.delete_link(sink.index).await,
        None => Ok(()),
    }
}

/// Every address of a load balancer with the interface of its network.
fn wanted(spec: &LoadBalancerSpec, uplinks: &Uplinks) -> Result<BTreeSet<(u32, IpAddr)>> {
    let mut all: Vec<(SubnetId, IpAddr)> = Vec::new();
    all.extend(spec.vips.iter().map(|vip| (vip.subnet_id, vip.address)));
    all.extend(spec.snat.iter().map(|port| (port.subnet_id, port.address)));
    let ports = spec.amphorae.iter().flat_map(|amphora| &amphora.ports);
    all.extend(ports.map(|port| (port.subnet_id, port.address)));
    all.into_iter()
        .map(|(subnet, address)| Ok((uplink_of(spec, uplinks, subnet)?, address)))
        .collect()
}

fn uplink_of(spec: &LoadBalancerSpec, uplinks: &Uplinks, subnet: SubnetId) -> Result<u32> {
    let network = network_of(spec, subnet)?;
    uplinks.of(network).map(|link| link.index).ok_or_else(|| {
        Error::Other(format!(
            "no interface of [[agent.interfaces]] leads to network {network}"
        ))
    })
}

/// The network of one of the spec's subnets.
pub(super) fn network_of(spec: &LoadBalancerSpec, subnet: SubnetId) -> Result<NetworkId> {
    let found = spec.subnets.iter().find(|known| known.id == subnet);
    found
        .map(|subnet| subnet.network_id)
        .ok_or_else(|| Error::Other(format!("the specification lacks subnet {subnet}")))
}
