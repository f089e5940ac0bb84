//! Reserves the addresses that clients will use. Which they are is lb-model's choice
//! ([`lb_model::vip::choose`]); here it gets the networks and ports to choose from, and what was
//! chosen is taken in the same transaction.
//!
//! Left out on purpose: ports made by somebody else. The embedded driver has none, so a port that
//! exists is always in use.

use lb_model::{
    ctx::SubnetInfo,
    enums::Topology,
    id::{LoadBalancerId, PortId},
    request::load_balancer::VipRequest,
    resource::Vip,
    vip::{PortInfo, VipChoice, choose},
};

use crate::{
    db::Connection,
    error::StoreError,
    ipam::Claim,
    ports::{Port, PortPurpose},
    store::Store,
};

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
        topology: Topology,
    ) -> Result<Vips, StoreError> {
        let port = match request.port_id {
            Some(id) => self.port_info(id).await?,
            None => None,
        };
        let subnets = self.subnet_infos().await?;
        let (primary, additional) = choose(request, topology, &subnets, port.as_ref())?;
        let mut take = async |choice: &VipChoice, purpose| {
            let claim = Claim {
                load_balancer_id: owner,
                project_id,
                purpose,
                amphora_id: None,
                subnet_id: choice.subnet_id,
                wanted: choice.address,
            };
            self.take(connection, &claim).await
        };
        let mut vips = Vips {
            vip: vip(&take(&primary, PortPurpose::Vip).await?),
            additional: Vec::with_capacity(additional.len()),
        };
        for choice in &additional {
            let port = take(choice, PortPurpose::AdditionalVip).await?;
            vips.additional.push(vip(&port));
        }
        Ok(vips)
    }

    async fn port_info(&self, id: PortId) -> Result<Option<PortInfo>, StoreError> {
        let port = self.port(id).await?;
        Ok(port.map(|port| PortInfo {
            id,
            network_id: port.network_id,
            device_id: format!("lb-{}", port.load_balancer_id),
            fixed_ips: vec![(port.subnet_id, port.address)],
        }))
    }

    async fn subnet_infos(&self) -> Result<Vec<SubnetInfo>, StoreError> {
        let free = self.free_addresses().await?;
        let networks = self.inner.networks.networks().iter();
        let subnets = networks.flat_map(|network| {
            let free = &free;
            network.subnets.iter().map(move |subnet| SubnetInfo {
                id: subnet.id,
                network_id: network.id,
                cidr: subnet.cidr,
                gateway_ip: subnet.gateway_ip,
                free_addresses: free.get(&subnet.id).copied().unwrap_or(0),
            })
        });
        Ok(subnets.collect())
    }
}

fn vip(port: &Port) -> Vip {
    Vip {
        address: port.address,
        port_id: port.id,
        subnet_id: port.subnet_id,
        network_id: port.network_id,
    }
}
