//! What a carrier tells about its load balancer.

use std::collections::BTreeMap;

use lb_common::maps::live;
use lb_model::{
    id::ListenerId,
    spec::{AmphoraReport, ListenerFailure, ListenerPath, ListenerReport, LoadBalancerReport},
};

use super::{Carrier, Slot, slot::FIRST_START};
use crate::supervisor::State;

impl Carrier {
    /// Tells how things stand.
    pub(super) fn publish(&mut self) {
        self.judge();
        let active = self.steer.active;
        let carries = |slot: &Slot| active != 0 && slot.index == Some(active);
        let amphorae = self.slots.iter().map(|slot| AmphoraReport {
            id: slot.id,
            active: carries(slot),
            ready: slot.state.serves() && slot.applied >= self.spec.generation,
            pid: slot.pid,
        });
        let members = self.slots.iter().find(|slot| carries(slot));
        let report = LoadBalancerReport {
            id: self.spec.id,
            applied_generation: self.applied,
            failover_count: self.failovers,
            error: self.error.clone().or_else(|| self.refused()),
            failed_listeners: self.failed_listeners(),
            amphorae: amphorae.collect(),
            listeners: self.counters(),
            members: members.map(|slot| slot.members.clone()).unwrap_or_default(),
        };
        self.host.reports.put(self.steer.epoch, report);
    }

    /// Whether the newest generation is applied as a whole: in the maps, and served by every
    /// amphora that is up. One that is dead does not block, it gets it with its start.
    fn judge(&mut self) {
        let generation = self.spec.generation;
        let serves = |slot: &Slot| slot.state.serves() && slot.applied >= generation;
        let blocks = |slot: &Slot| match slot.state {
            State::Ready | State::Draining => slot.applied < generation,
            // A new pair is whole before it is said to be there.
            State::Starting => slot.starts <= 1 && slot.age().is_some_and(|age| age < FIRST_START),
            State::Stopped => slot.starts == 0,
            State::Dying => false,
        };
        if self.maps_generation >= generation
            && self.steer.active != 0
            && self.slots.iter().any(serves)
            && !self.slots.iter().any(blocks)
            && self.refused().is_none()
        {
            self.applied = generation;
        }
    }

    /// Listeners that no amphora will serve as they are: the rest of the load balancer is served.
    fn failed_listeners(&self) -> Vec<ListenerFailure> {
        let failures = self.slots.iter().flat_map(|slot| &slot.failures);
        let mut failed: BTreeMap<ListenerId, &ListenerFailure> = BTreeMap::new();
        for failure in failures.filter(|failure| failure.permanent) {
            failed.entry(failure.listener_id).or_insert(failure);
        }
        failed.into_values().cloned().collect()
    }

    /// Listeners that an amphora could not open.
    fn refused(&self) -> Option<String> {
        let failures = self.slots.iter().flat_map(|slot| &slot.failures);
        let mut told: Vec<String> = failures
            .filter(|failure| !failure.permanent)
            .map(|failure| format!("listener {}: {}", failure.listener_id, failure.reason))
            .collect();
        told.dedup();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Adds what a process counted that ended, so that counters never go back.
    pub(super) fn keep_counters(&mut self, counters: &[ListenerReport]) {
        for counters in counters {
            let base = self.base.entry(counters.id);
            add(base.or_insert_with(|| none(counters.id)), counters);
        }
        let spec = &self.spec;
        let exists = |id| spec.listeners.iter().any(|listener| listener.id == id);
        self.base.retain(|id, base| {
            base.active_connections = 0;
            exists(*id)
        });
        let kept: Vec<&ListenerReport> = self.base.values().collect();
        if let Err(error) = self.host.disk.put_counters(self.spec.id, &kept) {
            tracing::warn!(%error, "counters of an amphora may be lost");
        }
    }

    /// Counters of every listener since it was made on this host.
    fn counters(&self) -> Vec<ListenerReport> {
        let mut all: BTreeMap<ListenerId, ListenerReport> = BTreeMap::new();
        for listener in &self.spec.listeners {
            let entry = all.entry(listener.id).or_insert_with(|| none(listener.id));
            if let Some(base) = self.base.get(&listener.id) {
                add(entry, base);
            }
            for slot in &self.slots {
                let counters = slot.listeners.iter().filter(|c| c.id == listener.id);
                counters.for_each(|counters| add(entry, counters));
            }
            if listener.path == ListenerPath::Xdp {
                self.add_hashed(listener.id, entry);
            }
        }
        all.into_values().collect()
    }

    fn add_hashed(&self, id: ListenerId, entry: &mut ListenerReport) {
        let places = self.places.as_ref();
        let Some(index) = places.and_then(|places| places.listeners.get(&id)) else {
            return;
        };
        match self.host.datapath.view().listener_counters(*index) {
            Ok(counters) => {
                entry.bytes_in += counters.bytes_in;
                entry.bytes_out += counters.bytes_out;
                entry.total_connections += counters.flows;
                entry.request_errors += counters.errors;
                let live = self.host.datapath.view().flows_of_listener(*index);
                entry.active_connections += u64::from(live::active(live));
            }
            Err(error) => tracing::warn!(%error, "cannot read counters"),
        }
    }
}

/// No counters yet.
const fn none(id: ListenerId) -> ListenerReport {
    ListenerReport {
        id,
        bytes_in: 0,
        bytes_out: 0,
        active_connections: 0,
        total_connections: 0,
        request_errors: 0,
    }
}

/// Adds `more` to `sum`.
fn add(sum: &mut ListenerReport, more: &ListenerReport) {
    sum.bytes_in += more.bytes_in;
    sum.bytes_out += more.bytes_out;
    sum.active_connections += more.active_connections;
    sum.total_connections += more.total_connections;
    sum.request_errors += more.request_errors;
}
