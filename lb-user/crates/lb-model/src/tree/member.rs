//! Verbs of single members (contract 2.4).

use super::{Tree, begin, new_common};
use crate::{
    capability,
    ctx::{Ctx, Facts},
    defaults,
    enums::{OperatingStatus, VnicType},
    fault::{Fault, ResourceKind},
    id::{MemberId, PoolId},
    limits,
    quota::QuotaClass,
    request::{MemberCreate, MemberUpdate},
    resource::{Member, Pool},
    status::Event,
};

impl Tree {
    /// POST a member.
    pub fn create_member(
        &mut self,
        pool_id: PoolId,
        request: MemberCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<MemberId, Fault> {
        self.atomically(|tree| tree.add_member(pool_id, request, ctx))
    }

    /// PUT a member.
    pub fn update_member(
        &mut self,
        pool_id: PoolId,
        id: MemberId,
        request: MemberUpdate,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            let mut member = tree.member(pool_id, id)?.clone();
            if let Some(address) = request.monitor_address.value() {
                ctx.facts.forbidden.check("monitor_address", address.ip())?;
            }
            apply(&mut member, request);
            tree.lock_pool(pool_id, ctx.now)?;
            begin(&mut member.common, Event::Repair, ctx.now).map_err(|_state| id.immutable())?;
            capability::member(tree, tree.pool(pool_id)?, &member, ctx.facts)?;
            *tree.member_mut(pool_id, id)? = member;
            Ok(())
        })
    }

    /// DELETE a member.
    pub fn delete_member(
        &mut self,
        pool_id: PoolId,
        id: MemberId,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), Fault> {
        self.atomically(|tree| {
            tree.member(pool_id, id)?;
            tree.lock_pool(pool_id, ctx.now)?;
            begin(
                &mut tree.member_mut(pool_id, id)?.common,
                Event::Delete,
                ctx.now,
            )
            .map_err(|_state| id.immutable())
        })
    }

    pub(crate) fn add_member(
        &mut self,
        pool_id: PoolId,
        request: MemberCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<MemberId, Fault> {
        self.pool(pool_id)?;
        check_new(&request, &self.load_balancer.project_id, ctx.facts)?;
        ctx.quota.take(QuotaClass::Member, 1)?;
        check_sriov(&request, self)?;
        limits::room(
            self.member_count(),
            limits::MEMBERS_MAX,
            ResourceKind::Member,
        )?;
        self.lock_pool(pool_id, ctx.now)?;
        self.push_member(pool_id, request, ctx)
    }

    /// The part of adding a member that a batch shares.
    pub(super) fn push_member(
        &mut self,
        pool_id: PoolId,
        request: MemberCreate,
        ctx: &mut Ctx<'_>,
    ) -> Result<MemberId, Fault> {
        let pool = self.pool(pool_id)?;
        let member = new_member(ctx.id(), request, pool, ctx);
        let taken = pool.members.iter().any(|other| {
            other.address.ip() == member.address.ip() && other.protocol_port == member.protocol_port
        });
        if taken {
            return Err(Fault::Conflict(format!(
                "Another member on this pool is already using ip {} on protocol_port {}",
                member.address, member.protocol_port
            )));
        }
        capability::member(self, pool, &member, ctx.facts)?;
        let id = member.id;
        self.pool_mut(pool_id)?.members.push(member);
        Ok(id)
    }

    pub(super) fn member_mut(
        &mut self,
        pool_id: PoolId,
        id: MemberId,
    ) -> Result<&mut Member, Fault> {
        self.pool_mut(pool_id)?
            .members
            .iter_mut()
            .find(|member| member.id == id)
            .ok_or_else(|| id.not_found())
    }
}

/// What can be said of a new member before anything is locked.
pub(super) fn check_new(
    request: &MemberCreate,
    project_id: &str,
    facts: &Facts,
) -> Result<(), Fault> {
    facts.forbidden.check("address", request.address.ip())?;
    if let Some(address) = request.mutable.monitor_address.value() {
        facts.forbidden.check("monitor_address", address.ip())?;
    }
    if let Some(id) = request.subnet_id.value() {
        match facts.subnet(*id, project_id) {
            Some(subnet) if subnet.cidr.addr().is_ipv4() != request.address.is_ipv4() => {
                return Err(Fault::option(
                    "subnet_id",
                    id,
                    "The subnet's IP version must be the address's.",
                ));
            }
            Some(_) => {}
            None if facts.any_subnet => {}
            None => return Err(Fault::invalid(format!("Subnet {id} not found."))),
        }
    }
    Ok(())
}

/// An SR-IOV port is the flavor's to allow.
pub(super) fn check_sriov(request: &MemberCreate, tree: &Tree) -> Result<(), Fault> {
    if request.request_sriov && !tree.load_balancer.placement.member_sriov {
        return Err(Fault::validation(
            "The load balancer flavor does not allow SR-IOV member ports.",
        ));
    }
    Ok(())
}

fn new_member(id: MemberId, request: MemberCreate, pool: &Pool, ctx: &Ctx<'_>) -> Member {
    let operating = if pool.health_monitor.is_some() {
        OperatingStatus::Offline
    } else {
        OperatingStatus::NoMonitor
    };
    let mutable = request.mutable;
    Member {
        id,
        common: new_common(mutable.common, operating, ctx.now),
        address: request.address,
        protocol_port: request.protocol_port,
        weight: mutable
            .weight
            .resolve(defaults::MEMBER_WEIGHT, defaults::MEMBER_WEIGHT),
        backup: mutable.backup.resolve(false, false),
        subnet_id: request.subnet_id.into_value(),
        monitor_address: mutable.monitor_address.into_value(),
        monitor_port: mutable.monitor_port.into_value(),
        vnic_type: if request.request_sriov {
            VnicType::Direct
        } else {
            VnicType::Normal
        },
    }
}

fn apply(member: &mut Member, request: MemberUpdate) {
    request.common.apply(&mut member.common);
    request
        .weight
        .apply(&mut member.weight, defaults::MEMBER_WEIGHT);
    request.backup.apply(&mut member.backup, false);
    request
        .monitor_address
        .apply_option(&mut member.monitor_address, None);
    request
        .monitor_port
        .apply_option(&mut member.monitor_port, None);
}
