//! Verbs of the load balancer itself (contract 2.1, 4.1).

use crate::{
    capability,
    ctx::Ctx,
    enums::{OperatingStatus, Topology},
    fault::{Fault, ResourceKind},
    id::LoadBalancerId,
    quota::QuotaClass,
    request::{LoadBalancerCreate, LoadBalancerUpdate},
    resource::{LoadBalancer, Placement, Vip, VipOptions},
    status::Event,
    tree::{Tree, begin, new_common},
};

/// What the caller decided about a load balancer before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLoadBalancer {
    /// Its id: the VIP port was made for it.
    pub id: LoadBalancerId,
    /// Owner.
    pub project_id: String,
    /// Its provider ([`crate::provider::choose`]).
    pub provider: String,
    /// What its flavor and availability zone decided.
    pub placement: Placement,
    /// How many amphorae.
    pub topology: Topology,
    /// The address that was taken.
    pub vip: Vip,
    /// Further addresses, in the order asked for.
    pub additional_vips: Vec<Vip>,
}

impl Tree {
    /// A new load balancer, with the listeners and pools of a single-call create (contract 6.1).
    /// Everything is PENDING_CREATE.
    pub fn create(
        request: LoadBalancerCreate,
        new: NewLoadBalancer,
        ctx: &mut Ctx<'_>,
    ) -> Result<Self, Fault> {
        ctx.quota.take(QuotaClass::LoadBalancer, 1)?;
        let mut tree = Self {
            load_balancer: LoadBalancer {
                id: new.id,
                project_id: new.project_id,
                common: new_common(request.common, OperatingStatus::Offline, ctx.now),
                vip: new.vip,
                additional_vips: new.additional_vips,
                provider: new.provider,
                topology: new.topology,
                placement: new.placement,
                vip_options: VipOptions::default(),
                generation: 1,
                failover_count: 0,
            },
            listeners: Vec::new(),
            pools: Vec::new(),
        };
        tree.set_vip_options(request.vip_options, ctx.facts.vip_options)?;
        request.tree.plant(&mut tree, ctx)?;
        capability::placement(&tree.load_balancer.placement, ctx.facts)?;
        Ok(tree)
    }

    /// PUT on the load balancer.
    pub fn update_load_balancer(
        &mut self,
        request: LoadBalancerUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            tree.begin_own(Event::Change, ctx)?;
            request.common.apply(&mut tree.load_balancer.common);
            tree.set_vip_options(request.vip_options, ctx.facts.vip_options)
        })
    }

    /// DELETE on the load balancer. Children need `cascade`.
    pub fn delete_load_balancer(&mut self, cascade: bool, ctx: &mut Ctx<'_>) -> Result<(), Fault> {
        self.atomically(|tree| {
            let children = !tree.listeners.is_empty() || !tree.pools.is_empty();
            if children && !cascade {
                return Err(Fault::invalid(format!(
                    "Validation failure: Cannot delete Load Balancer {} - it has children",
                    tree.id()
                )));
            }
            tree.begin_own(Event::Delete, ctx)
        })
    }

    /// A planned failover.
    pub fn failover_load_balancer(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Fault> {
        self.atomically(|tree| {
            tree.begin_own(Event::Repair, ctx)?;
            let count = &mut tree.load_balancer.failover_count;
            *count = count.saturating_add(1);
            Ok(())
        })
    }

    /// Starts one of the load balancer's own verbs; its 409 names the state.
    fn begin_own(&mut self, event: Event, ctx: &Ctx<'_>) -> Result<(), Fault> {
        let id = self.load_balancer.id;
        begin(&mut self.load_balancer.common, event, ctx.now).map_err(|state| {
            Fault::Immutable {
                resource: ResourceKind::LoadBalancer,
                id: id.to_string(),
                state: Some(state),
            }
        })?;
        self.load_balancer.generation = self.load_balancer.generation.saturating_add(1);
        Ok(())
    }
}
