//! Sections `[network]`: who knows the networks; and `[[networks]]` with `[[networks.subnets]]`: what
//! load balancers can have addresses in when it is the configuration.
//!
//! Only the form is checked here; whether networks make sense together is the store's to say.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use lb_model::{
    id::{NetworkId, SubnetId},
    vip::VipRules,
};

use super::{ConfigError, reader::Section};

const UUID: &str = "a UUID such as \"3f0c9a52-6d1e-4a0b-8b51-0d9f2c7e4a11\"";

/// Who knows which networks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkDriver {
    /// The configuration.
    Embedded,
    /// Nobody: every network, subnet and port exists, addresses are made up. For tests of the API.
    Noop,
}

impl NetworkDriver {
    /// As in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Noop => "noop",
        }
    }
}

impl FromStr for NetworkDriver {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Embedded, Self::Noop]
            .into_iter()
            .find(|driver| driver.as_str() == text)
            .ok_or("no such driver")
    }
}

/// The section `[network]`: who knows the networks, and what is allowed of VIPs.
pub(super) fn read_driver(mut section: Section) -> Result<(NetworkDriver, VipRules), ConfigError> {
    const NETWORKS: &str = "ids of networks";
    let driver = section.parsed("driver", "\"embedded\" or \"noop\"")?;
    let valid = section.list("valid_vip_networks", NETWORKS)?;
    let rules = VipRules {
        allow_port_id: section.boolean("allow_vip_port_id")?.unwrap_or(true),
        allow_network_id: section.boolean("allow_vip_network_id")?.unwrap_or(true),
        allow_subnet_id: section.boolean("allow_vip_subnet_id")?.unwrap_or(true),
        valid_networks: (!valid.is_empty()).then_some(valid),
        denied_networks: section.list("denylist_vip_networks", NETWORKS)?,
    };
    section.finish()?;
    Ok((driver.unwrap_or(NetworkDriver::Embedded), rules))
}

/// A network: a range in which addresses are unique.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) id: NetworkId,
    pub(crate) name: String,
    /// First part of every data path key with an address of this network.
    pub(crate) segment: u32,
    /// The one project that may use it; `None`: it is shared by all.
    pub(crate) project_id: Option<String>,
    pub(crate) subnets: Vec<Subnet>,
}

/// A subnet of a network.
#[derive(Clone, Debug)]
pub(crate) struct Subnet {
    pub(crate) id: SubnetId,
    pub(crate) name: String,
    pub(crate) cidr: IpNet,
    pub(crate) gateway_ip: Option<IpAddr>,
    /// First and last address of each range that addresses are taken from.
    pub(crate) allocation_pools: Vec<(IpAddr, IpAddr)>,
}

/// The network that `text` names, by id or by name.
pub(crate) fn network_named<'a>(networks: &'a [Network], text: &str) -> Option<&'a Network> {
    networks
        .iter()
        .find(|network| network.name == text || network.id.to_string() == text)
}

pub(super) fn read(root: &mut Section) -> Result<Vec<Network>, ConfigError> {
    let sections = root.sections("networks")?;
    sections.into_iter().map(read_network).collect()
}

fn read_network(mut section: Section) -> Result<Network, ConfigError> {
    let id = section.required("id", UUID)?;
    let name = section.required("name", "a name")?;
    let segment = section
        .integer("segment", 0..=u64::from(u32::MAX))?
        .and_then(|segment| u32::try_from(segment).ok())
        .ok_or_else(|| {
            section.wrong(
                "segment",
                None,
                "is missing: must be a number of its own for each network",
            )
        })?;
    let project_id = section.parsed("project_id", "a project's id")?;
    let subnets = section.sections("subnets")?;
    let subnets = subnets
        .into_iter()
        .map(read_subnet)
        .collect::<Result<_, _>>()?;
    section.finish()?;
    Ok(Network {
        id,
        name,
        segment,
        project_id,
        subnets,
    })
}

fn read_subnet(mut section: Section) -> Result<Subnet, ConfigError> {
    let id = section.required("id", UUID)?;
    let name = section.required("name", "a name")?;
    let cidr = section.required("cidr", "a network such as \"192.0.2.0/24\"")?;
    let gateway_ip = section.parsed("gateway_ip", "an address of the subnet")?;
    let pools = section.sections("allocation_pools")?;
    let allocation_pools = pools
        .into_iter()
        .map(|mut pool| {
            let start = pool.required("start", "an address of the subnet")?;
            let end = pool.required("end", "an address of the subnet")?;
            pool.finish()?;
            Ok((start, end))
        })
        .collect::<Result<_, ConfigError>>()?;
    section.finish()?;
    Ok(Subnet {
        id,
        name,
        cidr,
        gateway_ip,
        allocation_pools,
    })
}
