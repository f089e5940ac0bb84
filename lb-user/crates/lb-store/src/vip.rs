//! Which addresses clients will use: what a load balancer's create asks for, resolved against the
//! networks (contract 2.1) and reserved in the same transaction.
//!
//! Left out on purpose: ports made by somebody else. The embedded driver has none, so a port that
//! exists is always in use.

use std::{collections::BTreeSet, net::IpAddr};

use lb_model::{
    enums::Topology,
    id::{LoadBalancerId, NetworkId, PortId, SubnetId},
    resource::Vip,
};

use crate::{
    db::Connection,
    error::{NetworkError, StoreError},
    ipam::Claim,
    network::{Network, NetworkDriver, Subnet},
    ports::{Port, PortPurpose, amphora_slots},
    store::Store,
};

/// The VIPs a create asks for. Port wins over network, network over subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipRequest {
    /// `vip_port_id`.
    pub port_id: Option<PortId>,
    /// `vip_network_id`.
    pub network_id: Option<NetworkId>,
    /// `vip_subnet_id`.
    pub subnet_id: Option<SubnetId>,
    /// `vip_address`.
    pub address: Option<IpAddr>,
    /// `additional_vips`.
    pub additional: Vec<AdditionalVipRequest>,
    /// Says how many addresses beside the VIP its subnet must have left.
    pub topology: Topology,
}

/// One of `additional_vips`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdditionalVipRequest {
    /// `subnet_id`.
    pub subnet_id: SubnetId,
    /// `ip_address`.
    pub address: Option<IpAddr>,
}

/// VIPs that are reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vips {
    /// Primary.
    pub vip: Vip,
    /// Further ones, in the order asked for.
    pub additional: Vec<Vip>,
}

impl Store {
    /// Reserves the VIPs of a load balancer that is about to be written.
    pub(crate) async fn reserve_vips(
        &self,
        connection: &mut Connection,
        owner: LoadBalancerId,
        project_id: &str,
        request: &VipRequest,
    ) -> Result<Vips, StoreError> {
        if let Some(id) = request.port_id {
            let known = self.port(id).await?.is_some();
            let error = if known {
                NetworkError::PortInUse(id)
            } else {
                NetworkError::PortNotFound(id)
            };
            return Err(error.into());
        }
        let (network_id, subnet_id) = self.vip_subnet(request).await?;
        let networks = self.inner.networks.as_ref();
        check_additional(networks, network_id, subnet_id, &request.additional)?;
        let mut claim = Claim {
            load_balancer_id: owner,
            project_id,
            purpose: PortPurpose::Vip,
            amphora_id: None,
            subnet_id,
            wanted: request.address,
        };
        let vip = vip(&self.take(connection, &claim).await?);
        let mut additional = Vec::new();
        for one in &request.additional {
            claim.purpose = PortPurpose::AdditionalVip;
            claim.subnet_id = one.subnet_id;
            claim.wanted = one.address;
            additional.push(self::vip(&self.take(connection, &claim).await?));
        }
        Ok(Vips { vip, additional })
    }

    async fn vip_subnet(&self, request: &VipRequest) -> Result<(NetworkId, SubnetId), StoreError> {
        let networks = self.inner.networks.as_ref();
        let Some(network_id) = request.network_id else {
            let id = request.subnet_id.ok_or(NetworkError::NothingNamed)?;
            let (network, subnet) = networks
                .subnet(id)
                .ok_or(NetworkError::SubnetNotFound(id))?;
            return Ok((network.id, subnet.id));
        };
        let network = networks
            .network(network_id)
            .ok_or(NetworkError::NetworkNotFound(network_id))?;
        if let Some(subnet_id) = request.subnet_id {
            if networks.subnet(subnet_id).is_none() {
                return Err(NetworkError::SubnetNotFound(subnet_id).into());
            }
            let part = network.subnets.iter().any(|subnet| subnet.id == subnet_id);
            return if part {
                Ok((network_id, subnet_id))
            } else {
                Err(NetworkError::SubnetNotInNetwork {
                    subnet: subnet_id,
                    network: network_id,
                }
                .into())
            };
        }
        if let Some(address) = request.address {
            let found = network
                .subnets
                .iter()
                .find(|subnet| subnet.cidr.contains(&address));
            let subnet = found.ok_or(NetworkError::AddressOutside(address))?;
            return Ok((network_id, subnet.id));
        }
        let free = self.free_addresses().await?;
        let needed = u64::from(amphora_slots(request.topology)) + 1;
        let roomy = |subnet: &&Subnet| free.get(&subnet.id).is_some_and(|left| *left >= needed);
        let subnet = pick(network, roomy).ok_or(NetworkError::NoUsableSubnet(network_id))?;
        Ok((network_id, subnet.id))
    }
}

/// The first IPv4 subnet that fits, else the first that fits.
fn pick(network: &Network, fits: impl Fn(&&Subnet) -> bool) -> Option<&Subnet> {
    let v4 = network
        .subnets
        .iter()
        .filter(|subnet| !subnet.is_ipv6())
        .find(&fits);
    v4.or_else(|| network.subnets.iter().find(&fits))
}

fn check_additional(
    networks: &dyn NetworkDriver,
    network_id: NetworkId,
    primary: SubnetId,
    additional: &[AdditionalVipRequest],
) -> Result<(), NetworkError> {
    let mut seen = BTreeSet::from([primary]);
    for one in additional {
        if !seen.insert(one.subnet_id) {
            return Err(NetworkError::DuplicateVipSubnet(one.subnet_id));
        }
        let (network, _subnet) = networks
            .subnet(one.subnet_id)
            .ok_or(NetworkError::SubnetNotFound(one.subnet_id))?;
        if network.id != network_id {
            return Err(NetworkError::OtherNetwork(one.subnet_id));
        }
    }
    Ok(())
}

fn vip(port: &Port) -> Vip {
    Vip {
        address: port.address,
        port_id: port.id,
        subnet_id: port.subnet_id,
        network_id: port.network_id,
    }
}
