//! Another flavor for a load balancer that exists (Octavia's specification `version15.0/resize`): a
//! failover onto amphorae of the new flavor.

use crate::{
    ctx::Ctx,
    enums::Topology,
    fault::{Fault, ResourceKind},
    resource::Placement,
    status::Event,
    tree::{Tree, begin},
};

impl Tree {
    /// Takes over what the new flavor decides. What cannot change under a load balancer in use is
    /// refused: how many amphorae it has, and the kind of its VIP's port.
    pub fn resize(
        &mut self,
        placement: Placement,
        topology: Topology,
        ctx: &Ctx<'_>,
    ) -> Result<(), Fault> {
        let id = self.id();
        let owner = &mut self.load_balancer;
        if topology != owner.topology {
            return Err(Fault::option(
                "new_flavor_id",
                placement
                    .flavor_id
                    .map(|id| id.to_string())
                    .unwrap_or_default(),
                format!(
                    "The flavor's topology is {topology}, the load balancer's is {}.",
                    owner.topology
                ),
            ));
        }
        if placement.vip_vnic_type != owner.placement.vip_vnic_type {
            return Err(Fault::invalid(
                "The flavor asks for another kind of VIP port than the load balancer has.",
            ));
        }
        begin(&mut owner.common, Event::Repair, ctx.now).map_err(|state| Fault::Immutable {
            resource: ResourceKind::LoadBalancer,
            id: id.to_string(),
            state: Some(state),
        })?;
        owner.placement = placement;
        owner.generation = owner.generation.saturating_add(1);
        owner.failover_count = owner.failover_count.saturating_add(1);
        Ok(())
    }
}
