//! How what was asked for ends: applied, or failed (contract 4.1).
//!
//! Reconcilers call this when hosts have reported a generation, could not carry it out, or the
//! deadline of a PENDING_* state has passed. Deadline and failure are the same to a tree: the object
//! that was changed goes to ERROR, what it hangs on goes back to ACTIVE, so that the tenant can
//! repair or delete it; a failure of the load balancer itself leaves the load balancer in ERROR.
//!
//! Invariants: after settling nothing is PENDING_*. An applied generation also brings back what an
//! earlier failure had put in ERROR: what a host serves is not in ERROR.

use std::collections::BTreeSet;

use crate::{
    enums::{
        OperatingStatus,
        ProvisioningStatus::{self, Deleted, Error, PendingDelete},
    },
    id::ListenerId,
    resource::{Common, Listener, Pool},
    status::Event,
    time::Timestamp,
    tree::Tree,
};

impl Tree {
    /// Whether anything waits to be settled.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.load_balancer.common.provisioning_status.is_pending()
    }

    /// Every carrying host serves `generation`, but for the listeners in `broken` (a certificate
    /// that cannot be used), which go to ERROR. Does nothing, and says so with `false`, when a newer
    /// generation has been asked for meanwhile or nothing changes.
    ///
    /// A deleted load balancer is left DELETED; the caller takes the tree away.
    pub fn settle_applied(
        &mut self,
        generation: u64,
        broken: &BTreeSet<ListenerId>,
        now: Timestamp,
    ) -> bool {
        if generation < self.load_balancer.generation || self.is_deleted() {
            return false;
        }
        let before = self.clone();
        if self.load_balancer.common.provisioning_status == PendingDelete {
            for common in self.commons_mut() {
                set(common, Deleted, now);
            }
            return true;
        }
        self.remove_deleted();
        for common in self.commons_mut() {
            advance(common, Event::Applied, now);
        }
        self.show_switches();
        for listener in &mut self.listeners {
            if broken.contains(&listener.id) {
                set(&mut listener.common, Error, now);
                listener.common.operating_status = OperatingStatus::Error;
            }
        }
        // Settling again at the same generation must be silent: times alone are no change.
        let changed = !same_but_for_times(&before, self);
        if !changed {
            *self = before;
        }
        changed
    }

    /// What was asked for could not be done, or not within its deadline. Does nothing, and says so
    /// with `false`, when nothing is pending.
    ///
    /// A deletion that failed is taken back: the object is wanted again, which is a new generation.
    pub fn settle_failed(&mut self, now: Timestamp) -> bool {
        if !self.is_pending() {
            return false;
        }
        let own = self.load_balancer.common.provisioning_status
            != ProvisioningStatus::PendingUpdate
            || !self.children_pending();
        let mut restored = self.load_balancer.common.provisioning_status == PendingDelete;
        for listener in &mut self.listeners {
            restored |= fail_listener(listener, &self.pools, now);
        }
        for pool in &mut self.pools {
            restored |= fail_pool(pool, now);
        }
        let event = if own { Event::Failed } else { Event::Applied };
        advance(&mut self.load_balancer.common, event, now);
        if restored {
            self.load_balancer.generation = self.load_balancer.generation.saturating_add(1);
        }
        true
    }

    /// Whether the load balancer is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.load_balancer.common.provisioning_status == Deleted
    }

    fn children_pending(&mut self) -> bool {
        self.commons_mut()
            .iter()
            .skip(1)
            .any(|common| common.provisioning_status.is_pending())
    }

    /// Takes PENDING_DELETE objects out, and what pointed to them.
    fn remove_deleted(&mut self) {
        fn stays(common: &Common) -> bool {
            common.provisioning_status != PendingDelete
        }
        self.listeners.retain(|listener| stays(&listener.common));
        self.pools.retain(|pool| stays(&pool.common));
        let pools: BTreeSet<_> = self.pools.iter().map(|pool| pool.id).collect();
        for listener in &mut self.listeners {
            listener.default_pool_id = listener.default_pool_id.filter(|id| pools.contains(id));
            listener.l7policies.retain(|policy| stays(&policy.common));
            for policy in &mut listener.l7policies {
                policy.rules.retain(|rule| stays(&rule.common));
            }
        }
        for pool in &mut self.pools {
            pool.members.retain(|member| stays(&member.common));
            let monitored = pool.health_monitor.is_some();
            pool.health_monitor = pool.health_monitor.take().filter(|it| stays(&it.common));
            if monitored && pool.health_monitor.is_none() {
                for member in &mut pool.members {
                    member.common.operating_status = OperatingStatus::NoMonitor;
                }
            }
        }
    }

    /// Monitors, policies and rules are ONLINE when they are switched on, and OFFLINE otherwise;
    /// nothing else ever changes that (contract 4.2).
    fn show_switches(&mut self) {
        let policies = self
            .listeners
            .iter_mut()
            .flat_map(|listener| &mut listener.l7policies);
        for policy in policies {
            show_switch(&mut policy.common);
            policy
                .rules
                .iter_mut()
                .for_each(|rule| show_switch(&mut rule.common));
        }
        for monitor in self
            .pools
            .iter_mut()
            .filter_map(|pool| pool.health_monitor.as_mut())
        {
            show_switch(&mut monitor.common);
        }
    }
}

/// Fails a listener or what is below it. `true`: a deletion was taken back.
fn fail_listener(listener: &mut Listener, pools: &[Pool], now: Timestamp) -> bool {
    let below = listener
        .l7policies
        .iter()
        .any(|policy| policy.common.provisioning_status.is_pending())
        || pools.iter().any(|pool| {
            pool.common.provisioning_status.is_pending()
                && crate::tree::uses_pool(listener, pool.id)
        });
    let mut restored = fail(&mut listener.common, below, now);
    for policy in &mut listener.l7policies {
        let below = policy
            .rules
            .iter()
            .any(|rule| rule.common.provisioning_status.is_pending());
        restored |= fail(&mut policy.common, below, now);
        for rule in &mut policy.rules {
            restored |= fail(&mut rule.common, false, now);
        }
    }
    restored
}

/// Fails a pool or what is below it. `true`: a deletion was taken back.
fn fail_pool(pool: &mut Pool, now: Timestamp) -> bool {
    let monitor = pool.health_monitor.iter().map(|monitor| &monitor.common);
    let below = pool
        .members
        .iter()
        .map(|member| &member.common)
        .chain(monitor)
        .any(|common| common.provisioning_status.is_pending());
    let mut restored = fail(&mut pool.common, below, now);
    for member in &mut pool.members {
        restored |= fail(&mut member.common, false, now);
    }
    if let Some(monitor) = &mut pool.health_monitor {
        restored |= fail(&mut monitor.common, false, now);
    }
    restored
}

/// An object that waited for something below it (`PENDING_UPDATE` only) returns to ACTIVE, one that
/// was itself asked for goes to ERROR. Objects at rest stay.
fn fail(common: &mut Common, below: bool, now: Timestamp) -> bool {
    let status = common.provisioning_status;
    if !status.is_pending() {
        return false;
    }
    let waited = below && status == ProvisioningStatus::PendingUpdate;
    advance(
        common,
        if waited {
            Event::Applied
        } else {
            Event::Failed
        },
        now,
    );
    status == PendingDelete
}

fn advance(common: &mut Common, event: Event, now: Timestamp) {
    if let Ok(next) = common.provisioning_status.next(event) {
        set(common, next, now);
    }
}

fn set(common: &mut Common, status: ProvisioningStatus, now: Timestamp) {
    if common.provisioning_status != status {
        common.provisioning_status = status;
        common.updated_at = Some(now);
    }
}

fn show_switch(common: &mut Common) {
    common.operating_status = if common.admin_state_up {
        OperatingStatus::Online
    } else {
        OperatingStatus::Offline
    };
}

fn same_but_for_times(a: &Tree, b: &Tree) -> bool {
    let strip = |tree: &Tree| {
        let mut tree = tree.clone();
        for common in tree.commons_mut() {
            common.updated_at = None;
        }
        tree
    };
    strip(a) == strip(b)
}
