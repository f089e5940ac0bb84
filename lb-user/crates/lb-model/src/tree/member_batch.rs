//! PUT on a pool's members: what the list says is what the pool holds (contract 2.4).
//!
//! Members are matched by (address, protocol_port). What is new is created, what is known is
//! updated, what is missing is deleted unless the request is additive. All or nothing.

use std::collections::HashSet;

use super::{
    Tree, begin,
    member::{check_new, check_sriov},
};
use crate::{
    capability,
    ctx::Ctx,
    defaults,
    fault::{Fault, ResourceKind},
    id::{MemberId, PoolId},
    limits,
    quota::QuotaClass,
    request::{Given, MemberBatch, MemberCreate},
    resource::Member,
    status::Event,
};

impl Tree {
    /// PUT the members of a pool. `additive` leaves members alone that the list does not name. An
    /// empty list on an empty pool changes nothing, not even a status.
    pub fn batch_members(
        &mut self,
        pool_id: PoolId,
        request: MemberBatch,
        additive: bool,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| tree.apply_batch(pool_id, request, additive, ctx))
    }

    fn apply_batch(
        &mut self,
        pool_id: PoolId,
        request: MemberBatch,
        additive: bool,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        for item in &request.members {
            check_new(item, &self.load_balancer.project_id, ctx.facts)?;
        }
        let plan = self.sort_batch(pool_id, request, additive)?;
        if plan.is_empty() {
            return Ok(());
        }
        let added = plan.new.len().saturating_sub(plan.gone.len());
        ctx.quota.take(QuotaClass::Member, added)?;
        for item in &plan.new {
            check_sriov(item, self)?;
        }
        // What the batch deletes makes room for what it creates.
        let count = self.member_count().saturating_sub(plan.gone.len());
        limits::room(
            count.saturating_add(plan.new.len()).saturating_sub(1),
            limits::MEMBERS_MAX,
            ResourceKind::Member,
        )?;
        self.lock_pool(pool_id, ctx.now)?;
        for (id, item) in plan.known {
            let mut member = self.member(pool_id, id)?.clone();
            reset(&mut member, item);
            begin(&mut member.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            capability::member(self, self.pool(pool_id)?, &member, ctx.facts)?;
            *self.member_mut(pool_id, id)? = member;
        }
        for id in plan.gone {
            begin(
                &mut self.member_mut(pool_id, id)?.common,
                Event::Delete,
                ctx.now,
            )
            .map_err(|_state| id.immutable())?;
        }
        for item in plan.new {
            self.push_member(pool_id, item, ctx)?;
        }
        Ok(())
    }

    /// Which items are known, which are new, and who is missing.
    fn sort_batch(
        &self,
        pool_id: PoolId,
        request: MemberBatch,
        additive: bool,
    ) -> Result<Plan, Fault> {
        let pool = self.pool(pool_id)?;
        let mut plan = Plan::default();
        let mut seen = HashSet::new();
        for item in request.members {
            let key = (item.address.ip(), item.protocol_port);
            let known = pool
                .members
                .iter()
                .find(|member| (member.address.ip(), member.protocol_port) == key);
            let first = seen.insert(key);
            match known {
                Some(_) if !first => {
                    return Err(Fault::invalid(format!(
                        "The member {} port {} is given more than once.",
                        item.address, item.protocol_port
                    )));
                }
                None if !first => {
                    return Err(Fault::Conflict(format!(
                        "The new member {} port {} is given more than once.",
                        item.address, item.protocol_port
                    )));
                }
                Some(member) => plan.known.push((member.id, item)),
                None => plan.new.push(item),
            }
        }
        if !additive {
            let missing = pool
                .members
                .iter()
                .filter(|member| !seen.contains(&(member.address.ip(), member.protocol_port)));
            plan.gone.extend(missing.map(|member| member.id));
        }
        Ok(plan)
    }
}

#[derive(Default)]
struct Plan {
    known: Vec<(MemberId, MemberCreate)>,
    new: Vec<MemberCreate>,
    gone: Vec<MemberId>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.new.is_empty() && self.gone.is_empty()
    }
}

/// Fields that have a default at create go back to it when the item does not name them; name, tags
/// and subnet stay.
fn reset(member: &mut Member, item: MemberCreate) {
    let mut mutable = item.mutable;
    let switched = std::mem::take(&mut mutable.common.admin_state_up);
    mutable.common.apply(&mut member.common);
    member.common.admin_state_up = switched.resolve(true, false);
    member.weight = mutable
        .weight
        .resolve(defaults::MEMBER_WEIGHT, defaults::MEMBER_WEIGHT);
    member.backup = mutable.backup.resolve(false, false);
    member.monitor_address = mutable.monitor_address.into_value();
    member.monitor_port = mutable.monitor_port.into_value();
    if let Given::Value(subnet) = item.subnet_id {
        member.subnet_id = Some(subnet);
    }
}
