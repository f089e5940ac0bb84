//! Operating statuses from what is observed (contract 4.2). Pure: the same observations give the
//! same statuses, in whatever order reports came.
//!
//! A listener is never lowered by its pool; only pool and load balancer are. A load balancer in the
//! worst case of several is ERROR before DEGRADED before ONLINE, and OFFLINE only when switched off.
//! Drained members (weight 0) serve nobody new: a TCP-family or HTTP pool that has only those is
//! down, a UDP or SCTP pool is not.
//!
//! Octavia shows a listener that is missing from a heartbeat OFFLINE while its load balancer is not
//! ACTIVE. Here it keeps what it had until the newest generation is served: a change of one listener
//! never makes another one blink.

use std::collections::BTreeMap;

use crate::{
    enums::{
        OperatingStatus::{self, Degraded, Draining, Error, NoMonitor, Offline, Online},
        PoolProtocol, ProvisioningStatus,
    },
    id::{ListenerId, MemberId, PoolId},
    resource::{Common, Listener, Member, Pool},
    spec::LoadBalancerReport,
    time::Timestamp,
    tree::Tree,
};

/// A listener, as the place that carries traffic sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerObservation {
    /// Takes connections.
    Open,
    /// At its connection limit.
    Full,
}

/// What was observed of one load balancer, at the place that carries its traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// Generation that was served when this was observed.
    pub generation: u64,
    /// Listeners that are served.
    pub listeners: BTreeMap<ListenerId, ListenerObservation>,
    /// Probed members; `false`: down. Members that no probe has judged yet are not here.
    pub members: BTreeMap<(PoolId, MemberId), bool>,
}

impl From<&LoadBalancerReport> for Observations {
    /// A listener that is reported is open: connection limits are not enforced yet.
    fn from(report: &LoadBalancerReport) -> Self {
        let listeners = report.listeners.iter();
        let members = report.members.iter();
        Self {
            generation: report.applied_generation,
            listeners: listeners
                .map(|listener| (listener.id, ListenerObservation::Open))
                .collect(),
            members: members
                .filter_map(|member| Some(((member.pool_id, member.member_id), member.up?)))
                .collect(),
        }
    }
}

impl Tree {
    /// Sets every operating status from what is observed. Says whether anything changed. Objects
    /// that are not yet (or no longer) in the data path keep what they have.
    pub fn roll_up(&mut self, seen: &Observations, now: Timestamp) -> bool {
        let enabled = self.load_balancer.common.admin_state_up;
        // Before the newest generation is served, a missing listener is no wonder.
        let current = seen.generation >= self.load_balancer.generation;
        let attached: Vec<PoolId> = self.attached_pools();
        let mut changed = false;
        let mut lowered = Vec::new();
        for listener in &mut self.listeners {
            let status = listener_status(listener, enabled, current, seen);
            lowered.extend((status == Degraded).then_some(Degraded));
            changed |= show(&mut listener.common, status, now);
        }
        for pool in &mut self.pools {
            let served = enabled && pool.common.admin_state_up && attached.contains(&pool.id);
            for member in &mut pool.members {
                let up = seen.members.get(&(pool.id, member.id)).copied();
                let monitored = is_monitored(pool.health_monitor.as_ref().map(|it| &it.common));
                let status = member_status(member, served, monitored, up);
                changed |= show(&mut member.common, status, now);
            }
            let status = if served { pool_status(pool) } else { Offline };
            lowered.extend((served && status != Online).then_some(status));
            changed |= show(&mut pool.common, status, now);
        }
        let status = load_balancer_status(enabled, &lowered);
        changed | show(&mut self.load_balancer.common, status, now)
    }

    /// Pools that an enabled listener sends requests to.
    fn attached_pools(&self) -> Vec<PoolId> {
        let pools = self.pools.iter().map(|pool| pool.id);
        pools
            .filter(|id| {
                self.listeners_using(*id).any(|listener| {
                    listener.common.admin_state_up
                        && listener.common.provisioning_status != ProvisioningStatus::PendingDelete
                })
            })
            .collect()
    }
}

/// ERROR before DEGRADED before ONLINE; OFFLINE only when switched off.
#[must_use]
pub fn load_balancer_status(enabled: bool, lowered: &[OperatingStatus]) -> OperatingStatus {
    if !enabled {
        Offline
    } else if lowered.contains(&Error) {
        Error
    } else if lowered.contains(&Degraded) {
        Degraded
    } else {
        Online
    }
}

/// A listener. `current`: the observation is of the newest generation.
#[must_use]
pub fn listener_status(
    listener: &Listener,
    load_balancer_enabled: bool,
    current: bool,
    seen: &Observations,
) -> OperatingStatus {
    if !load_balancer_enabled || !listener.common.admin_state_up {
        return Offline;
    }
    if listener.common.provisioning_status == ProvisioningStatus::Error {
        return Error;
    }
    match seen.listeners.get(&listener.id) {
        Some(ListenerObservation::Open) => Online,
        Some(ListenerObservation::Full) => Degraded,
        None if current && listener.common.provisioning_status == ProvisioningStatus::Active => {
            Error
        }
        None => listener.common.operating_status,
    }
}

/// A member. `served`: its pool is in the data path; `up`: the newest verdict of the probes.
#[must_use]
pub fn member_status(
    member: &Member,
    served: bool,
    monitored: bool,
    up: Option<bool>,
) -> OperatingStatus {
    let previous = member.common.operating_status;
    if !member.common.admin_state_up {
        return Offline;
    }
    if !monitored {
        return NoMonitor;
    }
    if !served {
        return if previous == NoMonitor {
            NoMonitor
        } else {
            Offline
        };
    }
    match up {
        Some(true) if member.weight == 0 => Draining,
        Some(true) => Online,
        Some(false) => Error,
        // No verdict yet: what was known stays known.
        None => previous,
    }
}

/// A pool that is in the data path, from its members' new statuses.
#[must_use]
pub fn pool_status(pool: &Pool) -> OperatingStatus {
    let datagram = matches!(pool.protocol, PoolProtocol::Udp | PoolProtocol::Sctp);
    // A member nobody has judged yet is used, as a server is that has just been added.
    let usable = |member: &Member| {
        member.common.admin_state_up
            && member.common.operating_status != Error
            && (datagram || member.weight > 0)
    };
    if !pool.members.is_empty() && !pool.members.iter().any(usable) {
        return Error;
    }
    let failing = |member: &Member| member.common.operating_status == Error;
    if pool.members.iter().any(failing) {
        Degraded
    } else {
        Online
    }
}

fn is_monitored(monitor: Option<&Common>) -> bool {
    monitor.is_some_and(|monitor| monitor.admin_state_up)
}

fn show(common: &mut Common, status: OperatingStatus, now: Timestamp) -> bool {
    if common.operating_status == status {
        return false;
    }
    common.operating_status = status;
    common.updated_at = Some(now);
    true
}
