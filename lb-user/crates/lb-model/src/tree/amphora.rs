//! What an operator asks of a load balancer's amphorae (contract 2.12), and of a load balancer that is
//! stuck.

use crate::{
    ctx::Ctx,
    enums::ProvisioningStatus,
    fault::Fault,
    resource::Common,
    status::Event,
    tree::{Tree, begin},
};

impl Tree {
    /// Replaces an amphora. The load balancer must be ACTIVE (its own failover may also begin in
    /// ERROR). Its amphorae are replaced one after the other without a gap, the one asked for among
    /// them: a standby that was just started anew is what the active one can be left for.
    pub fn failover_amphora(&mut self, ctx: &Ctx<'_>) -> Result<(), Fault> {
        let id = self.id();
        let owner = &mut self.load_balancer;
        begin(&mut owner.common, Event::Change, ctx.now).map_err(|_state| id.immutable())?;
        owner.generation = owner.generation.saturating_add(1);
        owner.failover_count = owner.failover_count.saturating_add(1);
        Ok(())
    }

    /// Has the hosts configure the amphorae anew. No status changes.
    pub fn configure_amphorae(&mut self) {
        let owner = &mut self.load_balancer;
        owner.generation = owner.generation.saturating_add(1);
    }

    /// An operator says where the load balancer stands, because by itself it does not get there. What
    /// is PENDING_* below it is taken along, and with ACTIVE also what is in ERROR. It is a new
    /// generation: hosts are asked again, and what they report counts again from here on.
    pub fn reset_status(&mut self, to: ProvisioningStatus, ctx: &Ctx<'_>) -> Result<(), Fault> {
        if !matches!(to, ProvisioningStatus::Active | ProvisioningStatus::Error) {
            return Err(Fault::option(
                "provisioning_status",
                to,
                "Value should be one of: ACTIVE, ERROR",
            ));
        }
        let set = |common: &mut Common| {
            if common.provisioning_status != to {
                common.provisioning_status = to;
                common.updated_at = Some(ctx.now);
            }
        };
        set(&mut self.load_balancer.common);
        for common in self.commons_mut().into_iter().skip(1) {
            let status = common.provisioning_status;
            if status.is_pending() || status == ProvisioningStatus::Error {
                set(common);
            }
        }
        let owner = &mut self.load_balancer;
        owner.generation = owner.generation.saturating_add(1);
        Ok(())
    }
}
