//! All objects of one load balancer, and what the API can do to them.
//!
//! What: the aggregate that is loaded, changed and stored as one. An operation is pure: it takes a
//! parsed request and a [`Ctx`], judges the request in the order that clients can observe (contract
//! 3.4), and sets the new values, the PENDING_* statuses of contract 4.1, `updated_at`, and the
//! load balancer's next generation.
//!
//! Invariants: after an `Err` the tree is as it was. Objects that are being deleted stay in the
//! tree, PENDING_DELETE, until [`settle`](crate::settle) takes them out.
//!
//! Left out on purpose: counting for quotas (lb-store), policy (lb-api asks it before), addresses (lb-store's IPAM).

mod amphora;
mod health_monitor;
mod l7policy;
mod l7rule;
mod listener;
mod listener_rules;
pub mod load_balancer;
mod member;
mod member_batch;
mod pool;
mod pool_rules;
mod resize;
mod vip_options;

pub use self::load_balancer::NewLoadBalancer;

use serde::{Deserialize, Serialize};

use crate::{
    enums::{L7PolicyAction, OperatingStatus, ProvisioningStatus},
    fault::Fault,
    id::{HealthMonitorId, L7PolicyId, ListenerId, LoadBalancerId, MemberId, PoolId},
    request::CommonFields,
    resource::{Common, HealthMonitor, L7Policy, Listener, LoadBalancer, Member, Pool},
    status::Event,
    time::Timestamp,
};

#[cfg(doc)]
use crate::ctx::Ctx;

/// One load balancer with everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The root, which is also the lock.
    pub load_balancer: LoadBalancer,
    /// In creation order.
    pub listeners: Vec<Listener>,
    /// In creation order.
    pub pools: Vec<Pool>,
}

impl Tree {
    /// Identity of the load balancer.
    #[must_use]
    pub const fn id(&self) -> LoadBalancerId {
        self.load_balancer.id
    }

    /// Owner of everything in it.
    #[must_use]
    pub fn project_id(&self) -> &str {
        self.load_balancer.project_id.as_str()
    }

    /// The listener with this id, or its 404.
    pub fn listener(&self, id: ListenerId) -> Result<&Listener, Fault> {
        self.listeners
            .iter()
            .find(|listener| listener.id == id)
            .ok_or_else(|| id.not_found())
    }

    /// The pool with this id, or its 404.
    pub fn pool(&self, id: PoolId) -> Result<&Pool, Fault> {
        self.pools
            .iter()
            .find(|pool| pool.id == id)
            .ok_or_else(|| id.not_found())
    }

    /// The member with this id in this pool, or its 404.
    pub fn member(&self, pool_id: PoolId, id: MemberId) -> Result<&Member, Fault> {
        self.pool(pool_id)?
            .members
            .iter()
            .find(|member| member.id == id)
            .ok_or_else(|| id.not_found())
    }

    /// The monitor with this id and its pool, or its 404.
    pub fn health_monitor(&self, id: HealthMonitorId) -> Result<(&Pool, &HealthMonitor), Fault> {
        self.pools
            .iter()
            .find_map(|pool| {
                let monitor = pool.health_monitor.as_ref()?;
                (monitor.id == id).then_some((pool, monitor))
            })
            .ok_or_else(|| id.not_found())
    }

    /// The policy with this id and its listener, or its 404.
    pub fn l7policy(&self, id: L7PolicyId) -> Result<(&Listener, &L7Policy), Fault> {
        self.listeners
            .iter()
            .find_map(|listener| {
                let policy = listener.l7policies.iter().find(|policy| policy.id == id)?;
                Some((listener, policy))
            })
            .ok_or_else(|| id.not_found())
    }

    /// Listeners that send requests to a pool: as their default, or by an enabled policy with at
    /// least one rule (contract 2.3).
    pub fn listeners_using(&self, pool_id: PoolId) -> impl Iterator<Item = &Listener> {
        self.listeners
            .iter()
            .filter(move |listener| uses_pool(listener, pool_id))
    }

    /// Runs `change` on a copy, which replaces the tree only when it succeeds.
    fn atomically<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut draft = self.clone();
        let done = change(&mut draft)?;
        *self = draft;
        Ok(done)
    }

    /// Takes the lock for a change below the load balancer.
    fn lock(&mut self, now: Timestamp) -> Result<(), Fault> {
        let id = self.load_balancer.id;
        begin(&mut self.load_balancer.common, Event::Change, now)
            .map_err(|_state| id.immutable())?;
        self.load_balancer.generation = self.load_balancer.generation.saturating_add(1);
        Ok(())
    }

    /// Takes the lock for a change below a pool. The pool is asked first.
    fn lock_pool(&mut self, pool_id: PoolId, now: Timestamp) -> Result<(), Fault> {
        let pool = self.pool_mut(pool_id)?;
        begin(&mut pool.common, Event::Change, now).map_err(|_state| pool_id.immutable())?;
        self.lock(now)?;
        self.touch_listeners_using(pool_id, now);
        Ok(())
    }

    /// Marks what forwards to a changed pool. A listener in ERROR stays in ERROR: it is not served,
    /// and the change does not repair it.
    fn touch_listeners_using(&mut self, pool_id: PoolId, now: Timestamp) {
        for listener in &mut self.listeners {
            if uses_pool(listener, pool_id) {
                touch(&mut listener.common, now);
            }
        }
    }

    fn listener_mut(&mut self, id: ListenerId) -> Result<&mut Listener, Fault> {
        self.listeners
            .iter_mut()
            .find(|listener| listener.id == id)
            .ok_or_else(|| id.not_found())
    }

    fn pool_mut(&mut self, id: PoolId) -> Result<&mut Pool, Fault> {
        self.pools
            .iter_mut()
            .find(|pool| pool.id == id)
            .ok_or_else(|| id.not_found())
    }

    fn l7policy_mut(&mut self, id: L7PolicyId) -> Result<&mut L7Policy, Fault> {
        self.listeners
            .iter_mut()
            .flat_map(|listener| &mut listener.l7policies)
            .find(|policy| policy.id == id)
            .ok_or_else(|| id.not_found())
    }

    /// The shared part of every object, the load balancer first.
    pub(crate) fn commons_mut(&mut self) -> Vec<&mut Common> {
        let mut all = vec![&mut self.load_balancer.common];
        for listener in &mut self.listeners {
            all.push(&mut listener.common);
            for policy in &mut listener.l7policies {
                all.push(&mut policy.common);
                all.extend(policy.rules.iter_mut().map(|rule| &mut rule.common));
            }
        }
        for pool in &mut self.pools {
            all.push(&mut pool.common);
            all.extend(pool.members.iter_mut().map(|member| &mut member.common));
            all.extend(
                pool.health_monitor
                    .iter_mut()
                    .map(|monitor| &mut monitor.common),
            );
        }
        all
    }
}

/// Whether a listener sends requests to a pool.
pub(crate) fn uses_pool(listener: &Listener, pool_id: PoolId) -> bool {
    listener.default_pool_id == Some(pool_id)
        || listener.l7policies.iter().any(|policy| {
            policy.common.admin_state_up
                && policy.action == L7PolicyAction::RedirectToPool
                && policy.redirect_pool_id == Some(pool_id)
                && !policy.rules.is_empty()
        })
}

/// Moves an object's status; the error is the state that does not allow it.
fn begin(common: &mut Common, event: Event, now: Timestamp) -> Result<(), ProvisioningStatus> {
    common.provisioning_status = common
        .provisioning_status
        .next(event)
        .map_err(|illegal| illegal.state)?;
    common.updated_at = Some(now);
    Ok(())
}

/// Marks an ACTIVE object as affected by a change; others stay as they are.
fn touch(common: &mut Common, now: Timestamp) {
    if begin(common, Event::Change, now).is_err() {
        common.updated_at = Some(now);
    }
}

/// The shared part of a new object.
fn new_common(fields: CommonFields, operating: OperatingStatus, now: Timestamp) -> Common {
    Common {
        name: fields.name.resolve(String::new(), String::new()),
        description: fields.description.resolve(String::new(), String::new()),
        admin_state_up: fields.admin_state_up.resolve(true, false),
        provisioning_status: ProvisioningStatus::PendingCreate,
        operating_status: operating,
        created_at: now,
        updated_at: None,
        tags: fields.tags.resolve(Vec::new(), Vec::new()),
    }
}
