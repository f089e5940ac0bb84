//! An amphora's network: its namespace, one veth for each network it is joined to, and in there
//! addresses and routes. Nothing in there ever asks for a neighbour: its only ones are the edge's
//! ends of its veths, told permanently.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_model::{
    id::{AmphoraId, NetworkId},
    spec::{AmphoraSpec, LoadBalancerSpec},
};
use lb_plan::datapath::Veth;
use lb_sys::{
    iface::{Offload, set_offload},
    netns,
};

use super::{
    addresses::network_of,
    netlink::{Link, Netlink, Route},
    sysctl::{set_here, set_inside},
    uplink::Uplinks,
};
use crate::{Error, Result};

/// The next hop of everything in an amphora: the edge's end of the veth, whatever its address.
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// Numbers of inner ends begin here, above every number in the edge: when both ends of a veth have
/// the same number, the kernel tells a change of carrier up to a second late.
const INNER_INDEX: u32 = 70_000;

/// Veths of an amphora by network.
pub type Veths = BTreeMap<NetworkId, Veth>;

/// Name of an amphora's namespace.
#[must_use]
pub fn netns_name(id: AmphoraId) -> String {
    format!("lbaas-{}", short(id))
}

/// Name of the edge's end of an amphora's veth number `number`.
#[must_use]
pub fn veth_name(id: AmphoraId, number: usize) -> String {
    format!("lb{}{number}", short(id))
}

fn short(id: AmphoraId) -> String {
    let mut text = id.0.simple().to_string();
    text.truncate(8);
    text
}

/// What an amphora's namespace must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmphoraNetwork {
    id: AmphoraId,
    /// On `lo`.
    vips: Vec<IpNet>,
    /// One veth each; the VIP's network first.
    networks: Vec<JoinedNetwork>,
}

/// A network an amphora is joined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedNetwork {
    /// Which.
    pub id: NetworkId,
    /// Its own addresses there.
    pub own: Vec<IpAddr>,
    /// Prefixes reached there.
    pub prefixes: Vec<IpNet>,
    /// As large as the uplink's.
    pub mtu: u32,
}

impl AmphoraNetwork {
    /// From the spec.
    ///
    /// # Errors
    /// When the spec does not hang together or a network has no interface here.
    pub fn new(spec: &LoadBalancerSpec, amphora: &AmphoraSpec, uplinks: &Uplinks) -> Result<Self> {
        let mut networks: Vec<JoinedNetwork> = Vec::new();
        for port in &amphora.ports {
            let id = network_of(spec, port.subnet_id)?;
            let mtu = uplinks.of(id).map(|link| link.mtu).ok_or_else(|| {
                Error::Other(format!(
                    "no interface of [[agent.interfaces]] leads to network {id}"
                ))
            })?;
            if !networks.iter().any(|network| network.id == id) {
                let prefixes = spec.subnets.iter().filter(|subnet| subnet.network_id == id);
                networks.push(JoinedNetwork {
                    id,
                    own: Vec::new(),
                    prefixes: prefixes.map(|subnet| subnet.cidr.trunc()).collect(),
                    mtu,
                });
            }
            let joined = networks.iter_mut().find(|network| network.id == id);
            joined
                .into_iter()
                .for_each(|network| network.own.push(port.address));
        }
        Ok(Self {
            id: amphora.id,
            vips: spec.vips.iter().map(|vip| vip.address.into()).collect(),
            networks,
        })
    }

    /// Largest packets of its networks, in the order of its veths.
    #[must_use]
    pub fn mtus(&self) -> Vec<u32> {
        self.networks.iter().map(|network| network.mtu).collect()
    }

    /// Which amphora's.
    #[must_use]
    pub const fn id(&self) -> AmphoraId {
        self.id
    }

    /// Of one that is not needed yet: veths for packets of these sizes, no addresses.
    #[must_use]
    pub fn spare(id: AmphoraId, mtus: &[u32]) -> Self {
        let networks = mtus.iter().enumerate().map(|(number, mtu)| JoinedNetwork {
            // Whose they will be is not known; among themselves they differ.
            id: NetworkId(uuid::Uuid::from_u128(number as u128)),
            own: Vec::new(),
            prefixes: Vec::new(),
            mtu: *mtu,
        });
        Self {
            id,
            vips: Vec::new(),
            networks: networks.collect(),
        }
    }

    /// Makes what does not depend on addresses, and leaves the ends switched off: it is joined to
    /// nothing. Says the numbers of the edge's ends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn prepare(&self, edge: &Netlink) -> Result<Vec<u32>> {
        let (inside, ends) = self.ensure_parts(edge).await?;
        let name = netns_name(self.id);
        for (number, (network, (outer, inner))) in self.networks.iter().zip(&ends).enumerate() {
            configure_end((&name, &inside), number, network, outer, inner).await?;
        }
        Ok(ends.iter().map(|(outer, _)| outer.index).collect())
    }

    /// Networks with the names of the edge's ends.
    pub fn veth_names(&self) -> impl Iterator<Item = (NetworkId, String)> {
        let names = self.networks.iter().enumerate();
        names.map(|(number, network)| (network.id, veth_name(self.id, number)))
    }

    /// Makes what is missing, changes what differs, and says what the veths are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn ensure(&self, edge: &Netlink) -> Result<Veths> {
        let name = netns_name(self.id);
        let (inside, ends) = self.ensure_parts(edge).await?;
        let mut veths = Veths::new();
        for (network, (outer, inner)) in self.networks.iter().zip(&ends) {
            let veth = Veth {
                ifindex: outer.index,
                edge_mac: outer.mac,
                inner_mac: inner.mac,
            };
            veths.insert(network.id, veth);
        }
        for (number, (network, (outer, inner))) in self.networks.iter().zip(&ends).enumerate() {
            configure_end((&name, &inside), number, network, outer, inner).await?;
        }
        // On last, so that no packet meets a half-configured namespace.
        for (outer, inner) in &ends {
            if !inner.up {
                inside.set_up(inner.index).await?;
            }
            if !outer.up {
                edge.set_up(outer.index).await?;
            }
        }
        for (number, (network, (_, inner))) in self.networks.iter().zip(&ends).enumerate() {
            configure_routes(&inside, number, network, inner).await?;
        }
        Ok(veths)
    }

    /// The namespace, its switches, `lo` and the veths, each with both ends.
    async fn ensure_parts(&self, edge: &Netlink) -> Result<(Netlink, Vec<(Link, Link)>)> {
        let name = netns_name(self.id);
        netns::create(&name)?;
        set_inside(&name, &self.first_switches())?;
        let inside = Netlink::inside(&name)?;
        let mut ends = Vec::new();
        for (number, network) in self.networks.iter().enumerate() {
            ends.push(self.ensure_veth(edge, &inside, number, network).await?);
        }
        self.remove_surplus(edge).await?;
        self.configure_lo(&inside).await?;
        Ok((inside, ends))
    }

    /// Before the first interface is there, so that it gets them from `default`.
    fn first_switches(&self) -> Vec<(String, &'static str)> {
        [
            // Listeners on any port, and PING monitors, without privileges.
            ("net/ipv4/ip_unprivileged_port_start", "0"),
            ("net/ipv4/ping_group_range", "0 2147483647"),
            ("net/ipv4/conf/all/arp_ignore", "2"),
            ("net/ipv4/conf/all/arp_announce", "2"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_ra", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            ("net/ipv6/conf/default/addr_gen_mode", "1"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    async fn ensure_veth(
        &self,
        edge: &Netlink,
        inside: &Netlink,
        number: usize,
        network: &JoinedNetwork,
    ) -> Result<(Link, Link)> {
        let (outer_name, inner_name) = (veth_name(self.id, number), format!("eth{number}"));
        let missing = |name: &str| Error::NoInterface {
            name: name.to_owned(),
        };
        let outer = edge.link(&outer_name).await?;
        let inner = inside.link(&inner_name).await?;
        if let (Some(outer), Some(inner)) = (&outer, &inner)
            && outer.peer == Some(inner.index)
            && outer.mtu == network.mtu
        {
            return Ok((outer.clone(), inner.clone()));
        }
        if let Some(half) = outer {
            edge.delete_link(half.index).await?;
        }
        if let Some(half) = inner {
            inside.delete_link(half.index).await?;
        }
        let namespace = netns::open(&netns_name(self.id))?;
        let index = u32::try_from(number)
            .ok()
            .map(|number| INNER_INDEX + number);
        let peer = (inner_name.as_str(), index, Some(namespace.as_raw_fd()));
        edge.add_veth(&outer_name, network.mtu, peer).await?;
        // The edge itself never speaks on it.
        set_here(&format!("net/ipv6/conf/{outer_name}/disable_ipv6"), "1");
        let outer = edge.link(&outer_name).await?;
        let inner = inside.link(&inner_name).await?;
        Ok((
            outer.ok_or_else(|| missing(&outer_name))?,
            inner.ok_or_else(|| missing(&inner_name))?,
        ))
    }

    /// Veths of networks it is no longer joined to. One that is switched off was never joined to any:
    /// it is there for the next.
    async fn remove_surplus(&self, edge: &Netlink) -> Result<()> {
        let mut number = self.networks.len();
        while let Some(link) = edge.link(&veth_name(self.id, number)).await? {
            if link.up {
                edge.delete_link(link.index).await?;
            }
            number += 1;
        }
        Ok(())
    }

    async fn configure_lo(&self, inside: &Netlink) -> Result<()> {
        let missing = || Error::NoInterface {
            name: "lo".to_owned(),
        };
        let lo = inside.link("lo").await?.ok_or_else(missing)?;
        if !lo.up {
            inside.set_up(lo.index).await?;
        }
        let present = inside.addresses(Some(lo.index)).await?;
        for vip in self.vips.iter().filter(|vip| !present.contains(vip)) {
            inside.add_address(lo.index, *vip).await?;
        }
        for old in present {
            if !old.addr().is_loopback() && !self.vips.contains(&old) {
                inside.delete_address(lo.index, old).await?;
            }
        }
        Ok(())
    }
}

async fn configure_end(
    (netns_name, inside): (&str, &Netlink),
    number: usize,
    network: &JoinedNetwork,
    outer: &Link,
    inner: &Link,
) -> Result<()> {
    let present = inside.addresses(Some(inner.index)).await?;
    let wanted: Vec<IpNet> = network.own.iter().map(|own| (*own).into()).collect();
    for own in wanted.iter().filter(|own| !present.contains(own)) {
        inside.add_address(inner.index, *own).await?;
    }
    for old in present.iter().filter(|old| !wanted.contains(old)) {
        inside.delete_address(inner.index, *old).await?;
    }
    for gateway in [GATEWAY_V4, GATEWAY_V6] {
        inside
            .set_neighbour(inner.index, gateway, outer.mac)
            .await?;
    }
    let name = format!("eth{number}");
    // With it comes NAPI, without which XDP cannot redirect to this end. Checksums are still left
    // to the edge: answers take the way through TCX, where that works.
    netns::run_in(netns_name, || {
        set_offload(&name, Offload::GenericReceive, true)
    })??;
    Ok(())
}

/// After the ends are up: the kernel drops routes of interfaces that are not.
async fn configure_routes(
    inside: &Netlink,
    number: usize,
    network: &JoinedNetwork,
    inner: &Link,
) -> Result<()> {
    let mut wanted = network.prefixes.clone();
    if number == 0 {
        wanted.push(Ipv4Net::default().into());
        wanted.push(Ipv6Net::default().into());
    }
    for to in wanted {
        let same_family = |address: &&IpAddr| address.is_ipv4() == to.addr().is_ipv4();
        let route = Route {
            to,
            index: inner.index,
            via: Some(if to.addr().is_ipv4() {
                GATEWAY_V4
            } else {
                GATEWAY_V6
            }),
            // In the VIP's network both the VIP and the own address would do; the own one is meant.
            source: network.own.iter().find(same_family).copied(),
        };
        inside.set_route(&route).await?;
    }
    Ok(())
}

/// Removes an amphora's veths and namespace. Its processes must have ended.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(edge: &Netlink, id: AmphoraId) -> Result<()> {
    let mut number = 0;
    while let Some(link) = edge.link(&veth_name(id, number)).await? {
        edge.delete_link(link.index).await?;
        number += 1;
    }
    netns::delete(&netns_name(id))?;
    Ok(())
}
