//! What a simulated host says it carries, and what of it the server has not been told yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lb_model::{
    id::LoadBalancerId,
    spec::{AmphoraReport, ListenerReport, LoadBalancerReport, LoadBalancerSpec, MemberReport},
};
use lb_wire::message::Description;
use tokio::sync::Notify;

/// Shared by the loop that asks and the one that tells.
#[derive(Debug, Default)]
pub(super) struct Carried {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    reports: BTreeMap<LoadBalancerId, LoadBalancerReport>,
    /// Of each of those, for a server that does not know it.
    descriptions: BTreeMap<LoadBalancerId, Description>,
    /// To be told: changed, or due for a refresh.
    dirty: BTreeSet<LoadBalancerId>,
    /// Nothing is left of these, and the server has not been told.
    removed: BTreeSet<LoadBalancerId>,
    /// Where the refresh goes on behind.
    refreshed: Option<LoadBalancerId>,
}

impl Carried {
    /// Generations, and what is being taken down.
    pub(super) fn known(&self) -> (BTreeMap<LoadBalancerId, u64>, BTreeSet<LoadBalancerId>) {
        let inner = self.lock();
        let reports = inner.reports.values();
        (
            reports
                .map(|report| (report.id, report.applied_generation))
                .collect(),
            inner.removed.clone(),
        )
    }

    /// Tells of what the server does not know.
    pub(super) fn describe(&self, ids: &[LoadBalancerId]) -> Vec<Description> {
        let inner = self.lock();
        let told = ids.iter().filter_map(|id| inner.descriptions.get(id));
        told.cloned().collect()
    }

    /// Carries out an answer of the server.
    pub(super) fn take(&self, changed: &[LoadBalancerSpec], gone: &[LoadBalancerId]) {
        if changed.is_empty() && gone.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for spec in changed {
            tracing::debug!(load_balancer = %spec.id, generation = spec.generation, "simulated");
            inner.removed.remove(&spec.id);
            inner.reports.insert(spec.id, report(spec));
            inner.descriptions.insert(spec.id, Description::of(spec));
            inner.dirty.insert(spec.id);
        }
        for id in gone {
            inner.reports.remove(id);
            inner.descriptions.remove(id);
            inner.dirty.remove(id);
            inner.removed.insert(*id);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits for something that must be told at once.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Everything must be told.
    pub(super) fn tell_all(&self) {
        let mut inner = self.lock();
        inner.dirty = inner.reports.keys().copied().collect();
        drop(inner);
        self.changed.notify_one();
    }

    /// What was to be told was not taken: another attempt is due.
    pub(super) fn again(&self) {
        self.changed.notify_one();
    }

    /// The next of `slices` parts must be told.
    pub(super) fn refresh(&self, slices: usize) {
        let mut inner = self.lock();
        let count = inner.reports.len().div_ceil(slices.max(1));
        let after = inner.refreshed.map_or(Bound::Unbounded, Bound::Excluded);
        let due: Vec<LoadBalancerId> = inner
            .reports
            .range((after, Bound::Unbounded))
            .take(count)
            .map(|(id, _)| *id)
            .collect();
        // Behind the last one it begins anew with the next slice.
        inner.refreshed = if due.len() < count {
            None
        } else {
            due.last().copied()
        };
        inner.dirty.extend(due);
    }

    /// What must be told, at most `max` load balancers; it stays to be told until [`Self::told`].
    pub(super) fn to_tell(&self, max: usize) -> (Vec<LoadBalancerReport>, Vec<LoadBalancerId>) {
        let inner = self.lock();
        let dirty = inner.dirty.iter().take(max);
        (
            dirty
                .filter_map(|id| inner.reports.get(id).cloned())
                .collect(),
            inner.removed.iter().take(max).copied().collect(),
        )
    }

    /// The server took these.
    pub(super) fn told(&self, reports: &[LoadBalancerReport], removed: &[LoadBalancerId]) {
        let mut inner = self.lock();
        for report in reports {
            // One that changed while it was told must be told again.
            if inner.reports.get(&report.id) == Some(report) {
                inner.dirty.remove(&report.id);
            }
        }
        for id in removed {
            inner.removed.remove(id);
        }
        let more = !inner.dirty.is_empty() || !inner.removed.is_empty();
        drop(inner);
        if more {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of it is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As an agent would tell that had carried `spec` out, with every probe answered.
fn report(spec: &LoadBalancerSpec) -> LoadBalancerReport {
    // Each planned failover hands over to the other one of a pair.
    let count = u64::try_from(spec.amphorae.len()).unwrap_or(1).max(1);
    let active = spec.failover_count % count;
    let amphorae = (0_u64..)
        .zip(&spec.amphorae)
        .map(|(index, amphora)| AmphoraReport {
            id: amphora.id,
            active: index == active,
            ready: true,
            pid: None,
        });
    let listeners = spec.listeners.iter().map(|listener| ListenerReport {
        id: listener.id,
        bytes_in: 0,
        bytes_out: 0,
        active_connections: 0,
        total_connections: 0,
        request_errors: 0,
    });
    let members = spec.pools.iter().flat_map(|pool| {
        pool.members.iter().map(|member| MemberReport {
            pool_id: pool.id,
            member_id: member.id,
            up: pool.health_monitor.is_some().then_some(true),
        })
    });
    LoadBalancerReport {
        id: spec.id,
        applied_generation: spec.generation,
        failover_count: spec.failover_count,
        error: None,
        failed_listeners: Vec::new(),
        amphorae: amphorae.collect(),
        listeners: listeners.collect(),
        members: members.collect(),
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{enums::Topology, id::AmphoraId, spec::AmphoraSpec};
    use uuid::Uuid;

    use super::*;

    fn spec(generation: u64) -> LoadBalancerSpec {
        let amphora = || AmphoraSpec {
            id: AmphoraId(Uuid::new_v4()),
            ports: Vec::new(),
        };
        LoadBalancerSpec {
            generation,
            amphorae: vec![amphora(), amphora()],
            ..LoadBalancerSpec::new(LoadBalancerId(Uuid::new_v4()), Topology::ActiveStandby)
        }
    }

    #[test]
    fn what_changed_while_it_was_told_is_told_again() {
        let carried = Carried::default();
        let mut spec = spec(1);
        carried.take(std::slice::from_ref(&spec), &[]);
        let (first, _) = carried.to_tell(10);
        spec.generation = 2;
        carried.take(std::slice::from_ref(&spec), &[]);
        carried.told(&first, &[]);
        let (second, _) = carried.to_tell(10);
        assert_eq!(second[0].applied_generation, 2);
        carried.told(&second, &[]);
        assert!(carried.to_tell(10).0.is_empty());
    }

    #[test]
    fn what_is_gone_is_being_removed_until_the_server_took_it() {
        let carried = Carried::default();
        let spec = spec(1);
        carried.take(std::slice::from_ref(&spec), &[]);
        carried.take(&[], &[spec.id]);
        assert_eq!(
            carried.known(),
            (BTreeMap::new(), BTreeSet::from([spec.id]))
        );
        let (reports, removed) = carried.to_tell(10);
        assert_eq!((reports.len(), &*removed), (0, &[spec.id][..]));
        carried.told(&reports, &removed);
        assert_eq!(carried.known().1, BTreeSet::new());
    }

    #[test]
    fn a_refresh_in_slices_reaches_everything_once_a_round() {
        let carried = Carried::default();
        let specs: Vec<_> = (0..25).map(|_| spec(1)).collect();
        carried.take(&specs, &[]);
        let (all, _) = carried.to_tell(100);
        carried.told(&all, &[]);
        let mut seen = Vec::new();
        for _ in 0..12 {
            carried.refresh(12);
            let (slice, _) = carried.to_tell(100);
            assert!(slice.len() <= 3);
            seen.extend(slice.iter().map(|report| report.id));
            carried.told(&slice, &[]);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 25);
    }

    #[test]
    fn a_failover_hands_over_to_the_other_amphora() {
        let mut spec = spec(1);
        let active = |spec: &LoadBalancerSpec| {
            let report = report(spec);
            report.amphorae.iter().position(|one| one.active)
        };
        assert_eq!(active(&spec), Some(0));
        spec.failover_count = 1;
        assert_eq!(active(&spec), Some(1));
    }
}
