//! The network driver: which networks and subnets there are.
//!
//! What: [`NetworkDriver`] is what is asked; [`NetworkCatalog`] is the embedded driver, whose networks
//! are the configuration's; [`NoopNetworks`] makes everything up, for tests of the API. Addresses are
//! given out by [`crate::ipam`] from our own tables.
//!
//! Left out on purpose: ports of other services, networks of other clouds (Neutron).

mod embedded;
mod noop;

pub use embedded::NetworkCatalog;
pub use noop::NoopNetworks;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
    sync::Arc,
};

use ipnet::IpNet;
use lb_model::{
    ctx::SubnetInfo,
    id::{NetworkId, PortId, SubnetId},
    vip::PortInfo,
};
use serde::{Deserialize, Serialize};

use crate::error::NetworkError;

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
    /// The one project that may use it; `None`: it is shared by all.
    #[serde(default)]
    pub project_id: Option<String>,
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

/// A subnet, in its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The network.
    pub network: Arc<Network>,
    /// The subnet.
    pub subnet: Subnet,
}

/// What the asker knows of a network or subnet already. A driver that makes them up makes one that
/// fits; every other one ignores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// The network it is in.
    pub network_id: Option<NetworkId>,
    /// The subnet it is in, of a port.
    pub subnet_id: Option<SubnetId>,
    /// An address that is in it.
    pub address: Option<IpAddr>,
}

/// Which objects a list is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which<'a, T> {
    /// All that are known.
    #[default]
    All,
    /// The one with this id.
    Id(T),
    /// Those with this name.
    Named(&'a str),
}

/// What a driver answers, some time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, NetworkError>> + Send + 'a>>;

/// What is asked of whoever knows the networks. Answers are owned: they may come from another
/// service. Whose networks they are is in the answers; judging that is the asker's.
pub trait NetworkDriver: fmt::Debug + Send + Sync {
    /// As in the configuration.
    fn name(&self) -> &'static str;

    /// Whether every subnet and every port exists, with made-up addresses that nobody is held to:
    /// then any address may be used any number of times.
    fn makes_everything_up(&self) -> bool {
        false
    }

    /// A network by id, with its subnets.
    fn network(&self, id: NetworkId, near: Near) -> Answer<'_, Option<Arc<Network>>>;

    /// A subnet by id.
    fn subnet(&self, id: SubnetId, near: Near) -> Answer<'_, Option<Place>>;

    /// A port that is not of our own tables.
    fn port(&self, id: PortId, near: Near) -> Answer<'_, Option<PortInfo>>;

    /// Networks, for the Network API.
    fn networks<'a>(&'a self, which: Which<'a, NetworkId>) -> Answer<'a, Vec<Arc<Network>>>;

    /// Subnets, for the Network API.
    fn subnets<'a>(&'a self, which: Which<'a, SubnetId>) -> Answer<'a, Vec<Place>>;
}

impl<T: Copy + PartialEq> Which<'_, T> {
    /// Whether an object with this id and name is meant.
    pub fn is(&self, id: T, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Id(wanted) => *wanted == id,
            Self::Named(wanted) => *wanted == name,
        }
    }
}

impl Place {
    /// As an operation of the model sees it, with so many addresses left.
    #[must_use]
    pub fn info(&self, free_addresses: u64) -> SubnetInfo {
        SubnetInfo {
            id: self.subnet.id,
            network_id: self.network.id,
            project_id: self.network.project_id.clone(),
            cidr: self.subnet.cidr,
            gateway_ip: self.subnet.gateway_ip,
            free_addresses,
        }
    }
}

impl Network {
    /// Whether a project may use it: it is shared, or the project's own.
    #[must_use]
    pub fn is_visible_to(&self, project_id: &str) -> bool {
        self.project_id
            .as_deref()
            .is_none_or(|owner| owner == project_id)
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
