//! The network driver: which networks and subnets there are.
//!
//! What: [`NetworkDriver`] is what the store asks; [`NetworkCatalog`] is the embedded driver, whose
//! networks are the configuration's. Addresses are given out by [`crate::ipam`] from our own tables.
//!
//! Invariant: a catalog that exists is sound (no double ids, gateways and pools inside their
//! subnet, one address family a subnet), so nobody checks again.
//!
//! Left out on purpose: ports of other services, networks of other clouds (Neutron).

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use lb_model::id::{NetworkId, SubnetId};
use serde::{Deserialize, Serialize};

/// A network: the range in which addresses are unique, joined to hosts as one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Identity.
    pub id: NetworkId,
    /// For people; clients look it up.
    pub name: String,
    /// First part of every data path key that holds one of its addresses.
    pub segment: u32,
    /// Its subnets.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Identity.
    pub id: SubnetId,
    /// For people; clients look it up.
    pub name: String,
    /// Its addresses.
    pub cidr: IpNet,
    /// Router to what is outside, when there is one.
    #[serde(default)]
    pub gateway_ip: Option<IpAddr>,
    /// Where addresses are taken from; empty: the whole subnet.
    #[serde(default)]
    pub allocation_pools: Vec<AllocationPool>,
}

/// A range of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationPool {
    /// First.
    pub start: IpAddr,
    /// Last.
    pub end: IpAddr,
}

/// What is wrong with configured networks: key, value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value}: {fix}")]
pub struct CatalogError {
    /// Key in the configuration.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What would be right.
    pub fix: &'static str,
}

/// What the store asks of whoever knows the networks.
pub trait NetworkDriver: fmt::Debug + Send + Sync {
    /// Every network with its subnets.
    fn networks(&self) -> &[Network];

    /// A network by id.
    fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks().iter().find(|network| network.id == id)
    }

    /// A subnet by id, with its network.
    fn subnet(&self, id: SubnetId) -> Option<(&Network, &Subnet)> {
        self.networks().iter().find_map(|network| {
            let subnet = network.subnets.iter().find(|subnet| subnet.id == id)?;
            Some((network, subnet))
        })
    }
}

/// Networks and subnets of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkCatalog {
    networks: Vec<Network>,
}

impl NetworkDriver for NetworkCatalog {
    fn networks(&self) -> &[Network] {
        &self.networks
    }
}

impl NetworkCatalog {
    /// Checks the configured networks.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(networks: Vec<Network>) -> Result<Self, CatalogError> {
        let mut network_ids = BTreeSet::new();
        let mut segments = BTreeSet::new();
        let mut subnet_ids = BTreeSet::new();
        for network in &networks {
            if !network_ids.insert(network.id) {
                return Err(wrong(
                    "networks.id",
                    network.id,
                    "every id must be used once",
                ));
            }
            if !segments.insert(network.segment) {
                return Err(wrong(
                    "networks.segment",
                    network.segment,
                    "every network needs a segment of its own",
                ));
            }
            for (index, subnet) in network.subnets.iter().enumerate() {
                if !subnet_ids.insert(subnet.id) {
                    return Err(wrong(
                        "networks.subnets.id",
                        subnet.id,
                        "every id must be used once",
                    ));
                }
                subnet.check()?;
                let overlaps = network.subnets.iter().take(index).any(|other| {
                    other.cidr.contains(&subnet.cidr) || subnet.cidr.contains(&other.cidr)
                });
                if overlaps {
                    return Err(wrong(
                        "networks.subnets.cidr",
                        subnet.cidr,
                        "subnets of one network must not overlap",
                    ));
                }
            }
        }
        Ok(Self { networks })
    }

    /// Networks of this name.
    pub fn networks_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Network> {
        self.networks
            .iter()
            .filter(move |network| network.name == name)
    }

    /// Subnets of this name, with their networks.
    pub fn subnets_named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Network, &'a Subnet)> {
        self.networks.iter().flat_map(move |network| {
            let named = network
                .subnets
                .iter()
                .filter(move |subnet| subnet.name == name);
            named.map(move |subnet| (network, subnet))
        })
    }
}

impl Subnet {
    /// Whether addresses of it are IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        matches!(self.cidr, IpNet::V6(_))
    }

    /// Network, broadcast (or subnet-router anycast) and gateway address: never given to anyone.
    #[must_use]
    pub fn is_reserved(&self, address: IpAddr) -> bool {
        if self.gateway_ip == Some(address) {
            return true;
        }
        match self.cidr {
            // RFC 3021: both addresses of a /31 are hosts', as is the one of a /32.
            IpNet::V4(net) if net.prefix_len() >= 31 => false,
            IpNet::V4(net) => {
                address == IpAddr::V4(net.network()) || address == IpAddr::V4(net.broadcast())
            }
            IpNet::V6(net) if net.prefix_len() >= 127 => false,
            IpNet::V6(net) => address == IpAddr::V6(net.network()),
        }
    }

    /// The ranges addresses are taken from, as numbers, both ends included.
    pub(crate) fn ranges(&self) -> Vec<(u128, u128)> {
        if self.allocation_pools.is_empty() {
            return vec![(number(self.cidr.network()), number(self.cidr.broadcast()))];
        }
        let pools = self.allocation_pools.iter();
        pools
            .map(|pool| (number(pool.start), number(pool.end)))
            .collect()
    }

    /// An address of this subnet's family.
    pub(crate) fn address(&self, number: u128) -> IpAddr {
        if self.is_ipv6() {
            return IpAddr::V6(Ipv6Addr::from(number));
        }
        // Numbers of an IPv4 subnet come from IPv4 addresses.
        IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
    }

    fn check(&self) -> Result<(), CatalogError> {
        if self.cidr.addr() != self.cidr.network() {
            return Err(wrong(
                "networks.subnets.cidr",
                self.cidr,
                "host bits must be zero",
            ));
        }
        if let Some(gateway) = self.gateway_ip
            && !self.cidr.contains(&gateway)
        {
            return Err(wrong(
                "networks.subnets.gateway_ip",
                gateway,
                "must be an address of the subnet",
            ));
        }
        for pool in &self.allocation_pools {
            if !self.cidr.contains(&pool.start) || !self.cidr.contains(&pool.end) {
                return Err(wrong(
                    "networks.subnets.allocation_pools",
                    format_args!("{}-{}", pool.start, pool.end),
                    "both ends must be addresses of the subnet",
                ));
            }
            if number(pool.start) > number(pool.end) {
                return Err(wrong(
                    "networks.subnets.allocation_pools",
                    format_args!("{}-{}", pool.start, pool.end),
                    "start must not be above end",
                ));
            }
        }
        Ok(())
    }
}

/// An address as a number, for ranges within one family.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn wrong(key: &str, value: impl fmt::Display, fix: &'static str) -> CatalogError {
    CatalogError {
        key: key.to_owned(),
        value: value.to_string(),
        fix,
    }
}
