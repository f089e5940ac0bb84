//! Which subnet and address a VIP gets (contract 2.1, VIP rules). Pure: subnets and ports come in,
//! a choice goes out; taking the address is the store's (IPAM).

use std::net::IpAddr;

use crate::{
    ctx::SubnetInfo,
    enums::Topology,
    fault::Fault,
    id::{NetworkId, PortId, SubnetId},
    request::load_balancer::VipRequest,
};

/// Where a VIP is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipChoice {
    /// Its network.
    pub network_id: NetworkId,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// The address asked for; `None`: any free one.
    pub address: Option<IpAddr>,
    /// An existing port to use instead of a new one.
    pub port_id: Option<PortId>,
}

/// An existing port, as far as a VIP is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Identity.
    pub id: PortId,
    /// Its network.
    pub network_id: NetworkId,
    /// Who uses it; `""`: nobody.
    pub device_id: String,
    /// Its addresses.
    pub fixed_ips: Vec<(SubnetId, IpAddr)>,
}

/// What the operator allows of VIPs (contract 2.1, VIP rules 1 and 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipRules {
    /// Whether a request may name a port.
    pub allow_port_id: bool,
    /// Whether a request may name a network.
    pub allow_network_id: bool,
    /// Whether a request may name a subnet.
    pub allow_subnet_id: bool,
    /// The networks that VIPs may be in; `None`: any.
    pub valid_networks: Option<Vec<NetworkId>>,
    /// Networks that VIPs may not be in.
    pub denied_networks: Vec<NetworkId>,
}

impl Default for VipRules {
    fn default() -> Self {
        Self {
            allow_port_id: true,
            allow_network_id: true,
            allow_subnet_id: true,
            valid_networks: None,
            denied_networks: Vec::new(),
        }
    }
}

impl VipRules {
    /// Judges what a request names, before anything is looked up.
    pub fn check_request(&self, request: &VipRequest) -> Result<(), Fault> {
        let ways = [
            ("vip_port_id", self.allow_port_id, request.port_id.is_some()),
            (
                "vip_network_id",
                self.allow_network_id,
                request.network_id.is_some(),
            ),
            (
                "vip_subnet_id",
                self.allow_subnet_id,
                request.subnet_id.is_some(),
            ),
        ];
        let denied = ways.iter().find(|(_, allowed, named)| *named && !*allowed);
        let Some((field, ..)) = denied else {
            return Ok(());
        };
        let allowed = ways.iter().filter(|(_, allowed, _)| *allowed);
        let allowed: Vec<&str> = allowed.map(|(field, ..)| *field).collect();
        let instead = match allowed.as_slice() {
            [] => String::new(),
            some => format!(" VIP must contain one of: {}.", some.join(", ")),
        };
        Err(Fault::validation(format!(
            "use of {field} is disallowed by this deployment's configuration.{instead}"
        )))
    }

    /// Judges the network that was chosen. An availability zone's own list takes the place of the
    /// configured one.
    pub fn check_network(
        &self,
        id: NetworkId,
        zone_networks: Option<&[NetworkId]>,
    ) -> Result<(), Fault> {
        let valid = zone_networks.or(self.valid_networks.as_deref());
        let is_valid = valid.is_none_or(|valid| valid.contains(&id));
        if is_valid && !self.denied_networks.contains(&id) {
            return Ok(());
        }
        Err(Fault::validation(
            "Supplied VIP network_id is not allowed by the configuration of this deployment.",
        ))
    }
}

/// Chooses for the primary VIP and every further one, in that order. `port` is what was found under
/// `vip_port_id`.
pub fn choose(
    request: &VipRequest,
    topology: Topology,
    subnets: &[SubnetInfo],
    port: Option<&PortInfo>,
) -> Result<(VipChoice, Vec<VipChoice>), Fault> {
    let primary = match (request.port_id, request.network_id, request.subnet_id) {
        (Some(id), _, _) => from_port(id, request, port)?,
        (None, Some(id), _) => from_network(id, request, topology, subnets)?,
        (None, None, Some(id)) => from_subnet(find(subnets, id)?, request.address)?,
        (None, None, None) => {
            return Err(Fault::validation(
                "VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.",
            ));
        }
    };
    let mut used = vec![primary.subnet_id];
    let mut additional = Vec::with_capacity(request.additional.len());
    for vip in &request.additional {
        let subnet = find(subnets, vip.subnet_id)?;
        if used.contains(&subnet.id) {
            return Err(Fault::duplicate_subnet());
        }
        if subnet.network_id != primary.network_id {
            return Err(Fault::validation(
                "All VIP subnets must belong to the same network.",
            ));
        }
        used.push(subnet.id);
        additional.push(from_subnet(subnet, vip.address)?);
    }
    Ok((primary, additional))
}

/// Addresses that a load balancer takes from its VIP's subnet.
const fn addresses_needed(topology: Topology) -> u64 {
    match topology {
        Topology::Single => 2,
        Topology::ActiveStandby => 3,
    }
}

fn from_port(
    id: PortId,
    request: &VipRequest,
    port: Option<&PortInfo>,
) -> Result<VipChoice, Fault> {
    let port = port
        .filter(|port| port.id == id)
        .ok_or_else(|| Fault::invalid(format!("Port {id} not found.")))?;
    if !port.device_id.is_empty() {
        return Err(Fault::validation(format!(
            "Port {id} is already used by device {}",
            port.device_id
        )));
    }
    let mut fixed = port.fixed_ips.iter();
    let chosen = match (request.subnet_id, request.address) {
        (Some(subnet), _) => fixed.find(|(own, _)| *own == subnet),
        (None, Some(address)) => fixed.find(|(_, own)| *own == address),
        (None, None) if port.fixed_ips.len() == 1 => fixed.next(),
        (None, None) => None,
    };
    let (subnet_id, address) = *chosen.ok_or_else(|| {
        Fault::validation(match (request.subnet_id, request.address) {
            (Some(_), _) => {
                "No VIP address found on the specified VIP port within the specified subnet."
            }
            (None, Some(_)) => "Specified VIP address not found on the specified VIP port.",
            (None, None) => {
                "VIP port's subnet could not be determined. Please specify either a VIP subnet or \
                 address."
            }
        })
    })?;
    Ok(VipChoice {
        network_id: port.network_id,
        subnet_id,
        address: Some(address),
        port_id: Some(id),
    })
}

fn from_network(
    id: NetworkId,
    request: &VipRequest,
    topology: Topology,
    subnets: &[SubnetInfo],
) -> Result<VipChoice, Fault> {
    let own: Vec<&SubnetInfo> = subnets.iter().filter(|it| it.network_id == id).collect();
    if own.is_empty() {
        return Err(Fault::invalid(format!("Network {id} not found.")));
    }
    if let Some(subnet_id) = request.subnet_id {
        let subnet = find(subnets, subnet_id)?;
        if subnet.network_id != id {
            return Err(Fault::invalid(format!(
                "Subnet {subnet_id} does not belong to network {id}."
            )));
        }
        return from_subnet(subnet, request.address);
    }
    if let Some(address) = request.address {
        let subnet = own.iter().find(|subnet| subnet.cidr.contains(&address));
        let subnet = subnet.ok_or_else(|| {
            Fault::validation(
                "Supplied network does not contain a subnet for VIP address specified.",
            )
        })?;
        return from_subnet(subnet, Some(address));
    }
    let needed = addresses_needed(topology);
    let roomy: Vec<&&SubnetInfo> = own
        .iter()
        .filter(|subnet| subnet.free_addresses >= needed)
        .collect();
    let subnet = roomy
        .iter()
        .find(|subnet| subnet.cidr.addr().is_ipv4())
        .or_else(|| roomy.first());
    match subnet {
        Some(subnet) => from_subnet(subnet, None),
        None => Err(Fault::validation(
            "Subnet(s) in the supplied network do not contain enough available IPs.",
        )),
    }
}

fn from_subnet(subnet: &SubnetInfo, address: Option<IpAddr>) -> Result<VipChoice, Fault> {
    if let Some(address) = address
        && !subnet.cidr.contains(&address)
    {
        return Err(Fault::invalid(format!(
            "vip_address {address} is not in subnet {} ({}).",
            subnet.id, subnet.cidr
        )));
    }
    Ok(VipChoice {
        network_id: subnet.network_id,
        subnet_id: subnet.id,
        address,
        port_id: None,
    })
}

fn find(subnets: &[SubnetInfo], id: SubnetId) -> Result<&SubnetInfo, Fault> {
    subnets
        .iter()
        .find(|subnet| subnet.id == id)
        .ok_or_else(|| Fault::invalid(format!("Subnet {id} not found.")))
}
