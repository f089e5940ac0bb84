//! Reserves the addresses that clients will use. Which they are is lb-model's choice
//! ([`lb_model::vip::choose`]); here it gets the networks and ports to choose from, and what was
//! chosen is taken in the same transaction.
//!
//! A port that a user made keeps its address; it is only marked as used.

use std::sync::Arc;

use lb_model::{
    enums::Topology,
    fault::Fault,
    id::{LoadBalancerId, PortId, SubnetId},
    request::load_balancer::VipRequest,
    resource::Vip,
    vip::{PortInfo, VipChoice, choose},
};

use crate::{
    boxed::Boxed,
    db::Connection,
    error::StoreError,
    host::HostAddresses,
    ipam::Claim,
    network::{Near, Place},
    ports::{Port, PortPurpose},
    store::Store,
    user_port,
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
    pub(crate) fn reserve_vips<'f>(
        &'f self,
        connection: &'f mut Connection,
        owner: LoadBalancerId,
        project_id: &'f str,
        request: &'f VipRequest,
        topology: Topology,
        hosts: &'f mut HostAddresses,
    ) -> Boxed<'f, Result<Vips, StoreError>> {
        Box::pin(async move {
            let port = match request.port_id {
                Some(id) => self.port_info(connection, id, request, project_id).await?,
                None => None,
            };
            let places = self.places(request, project_id, port.as_ref()).await?;
            let mut subnets = Vec::with_capacity(places.len());
            // Only the choice among a network's subnets asks how much is left in each.
            let by_room = request.port_id.is_none() && request.subnet_id.is_none();
            for place in &places {
                let free = if by_room && request.address.is_none() {
                    self.free_in(connection, place).await?
                } else {
                    0
                };
                subnets.push(place.info(free));
            }
            let (primary, additional) = choose(request, topology, &subnets, port.as_ref())?;
            let mut take = async |choice: &VipChoice, purpose| {
                if let (Some(id), Some(address)) = (choice.port_id, choice.address)
                    && !self.inner.networks.makes_everything_up()
                {
                    if !user_port::occupy(connection, id, owner).await? {
                        return Err(Fault::invalid(format!("Port {id} is already used.")).into());
                    }
                    return Ok(Vip {
                        address,
                        port_id: id,
                        subnet_id: choice.subnet_id,
                        network_id: choice.network_id,
                    });
                }
                let claim = Claim {
                    load_balancer_id: Some(owner),
                    project_id,
                    purpose,
                    amphora_id: None,
                    subnet_id: choice.subnet_id,
                    near: Near {
                        network_id: Some(choice.network_id),
                        subnet_id: None,
                        address: choice.address,
                    },
                    wanted: choice.address,
                    port_id: choice.port_id,
                };
                Ok::<_, StoreError>(vip(&self.take(connection, &claim, hosts).await?))
            };
            let mut vips = Vips {
                vip: take(&primary, PortPurpose::Vip).await?,
                additional: Vec::with_capacity(additional.len()),
            };
            for choice in &additional {
                let vip = take(choice, PortPurpose::AdditionalVip).await?;
                vips.additional.push(vip);
            }
            Ok(vips)
        })
    }

    /// What is known of a port that the project may use.
    async fn port_info(
        &self,
        connection: &mut Connection,
        id: PortId,
        request: &VipRequest,
        project_id: &str,
    ) -> Result<Option<PortInfo>, StoreError> {
        let near = Near {
            network_id: request.network_id,
            subnet_id: request.subnet_id,
            address: request.address,
        };
        if let Some(port) = user_port::load_one(connection, id).await? {
            return Ok((port.project_id == project_id).then(|| port.info()));
        }
        if let Some(port) = self.inner.networks.port(id, near).await? {
            return Ok(Some(port));
        }
        // A load balancer's own.
        let port = self.port(id).await?;
        let port = port.filter(|port| port.project_id == project_id);
        Ok(port.map(|port| PortInfo {
            id,
            network_id: port.network_id,
            device_id: "lb".to_owned(),
            fixed_ips: vec![(port.subnet_id, port.address)],
        }))
    }

    /// Every subnet that the request means, as far as the project may use it: another project's is as
    /// absent as one that does not exist.
    async fn places(
        &self,
        request: &VipRequest,
        project_id: &str,
        port: Option<&PortInfo>,
    ) -> Result<Vec<Place>, StoreError> {
        let mut places: Vec<Place> = Vec::new();
        let mut near = Near {
            network_id: port.map(|port| port.network_id).or(request.network_id),
            subnet_id: None,
            address: request.address,
        };
        if let Some(id) = near.network_id
            && let Some(network) = self.inner.networks.network(id, near).await?
            && network.is_visible_to(project_id)
        {
            places.extend(network.subnets.iter().map(|subnet| Place {
                network: Arc::clone(&network),
                subnet: subnet.clone(),
            }));
        }
        if let Some(id) = request.subnet_id
            && places.iter().all(|place| place.subnet.id != id)
            && let Some(place) = self.named(id, near, project_id).await?
        {
            near.network_id = near.network_id.or(Some(place.network.id));
            places.push(place);
        }
        for vip in &request.additional {
            near.address = vip.address;
            if places.iter().all(|place| place.subnet.id != vip.subnet_id)
                && let Some(place) = self.named(vip.subnet_id, near, project_id).await?
            {
                places.push(place);
            }
        }
        Ok(places)
    }

    async fn named(
        &self,
        id: SubnetId,
        near: Near,
        project_id: &str,
    ) -> Result<Option<Place>, StoreError> {
        let place = self.inner.networks.subnet(id, near).await?;
        Ok(place.filter(|place| place.network.is_visible_to(project_id)))
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
