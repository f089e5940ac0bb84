//! What a new load balancer is made of: provider, flavor and availability zone (contract 2.1, VIP
//! rule 6), found before its transaction begins.

use lb_model::{
    availability_zone::AvailabilityZoneFact, enums::Topology, flavor::FlavorFact, provider,
    request::LoadBalancerCreate, resource::Placement,
};

use crate::{error::ApiError, state::ApiState};

/// What was decided.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) provider: String,
    pub(crate) topology: Topology,
    pub(crate) placement: Placement,
    /// Networks that the zone allows for VIPs; `None`: the configured ones.
    pub(crate) vip_networks: Option<Vec<String>>,
}

impl ApiState {
    /// Decides for a request.
    pub(crate) async fn placement(&self, request: &LoadBalancerCreate) -> Result<Made, ApiError> {
        let config = self.config();
        let mut made = Made {
            provider: String::new(),
            topology: config.topology,
            placement: Placement {
                flavor_id: request.flavor_id,
                availability_zone: request.availability_zone.clone(),
                ..Placement::default()
            },
            vip_networks: None,
        };
        let mut flavor_provider = None;
        if let Some(id) = request.flavor_id {
            let found = self.store().flavor_fact(id).await?;
            let (fact, data) = FlavorFact::usable(found, id)?;
            made.topology = data.loadbalancer_topology.unwrap_or(config.topology);
            made.placement.vip_vnic_type = data.vip_vnic_type();
            made.placement.member_sriov = data.allow_member_sriov;
            made.placement.forwarding_mode = data.forwarding_mode;
            made.placement.l4_path = data.l4_path;
            flavor_provider = Some(fact.profile.provider_name);
        }
        if let Some(name) = &request.availability_zone {
            let found = self.store().availability_zone_fact(name).await?;
            let (_, data) = AvailabilityZoneFact::usable(found, name)?;
            made.vip_networks = data.valid_vip_networks;
        }
        made.provider = provider::choose(
            request.provider.as_deref(),
            flavor_provider.as_deref(),
            &config.default_provider,
            &config.providers,
        )?;
        Ok(made)
    }
}
