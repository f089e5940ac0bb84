//! What a host's report means for the statuses of a load balancer.
//!
//! Pure, and the same report may be folded in any number of times, in any order with older ones:
//! an older generation never settles a newer one, and operating statuses follow what is observed.

use std::collections::{BTreeMap, BTreeSet};

use lb_model::{
    enums::{AmphoraRole, AmphoraStatus, ProvisioningStatus, Topology},
    id::{ListenerId, MemberId, PoolId},
    rollup::{ListenerObservation, Observations},
    spec::{AmphoraReport, ListenerPath, LoadBalancerReport},
    time::Timestamp,
    tree::Tree,
};

use crate::spec::path;

#[cfg(test)]
mod tests;

/// What is known beside the report itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Listeners that were left out of the specification (a certificate that cannot be read).
    pub broken: &'a BTreeSet<ListenerId>,
    /// Newest generation that the host is known to have received: only then is its complaint about
    /// the newest one.
    pub received_generation: u64,
    /// The time of the report.
    pub now: Timestamp,
}

/// Settles what the report says is done, or cannot be done, and shows what is observed. Says
/// whether anything changed.
///
/// A load balancer that is being deleted is left alone: it ends when its host says that nothing is
/// left of it.
pub fn fold(tree: &mut Tree, report: &LoadBalancerReport, known: Circumstances<'_>) -> bool {
    let owner = &mut tree.load_balancer;
    if owner.common.provisioning_status == ProvisioningStatus::PendingDelete {
        return false;
    }
    // More than were ever asked for: a restored database has forgotten some. The next one counts on.
    let forgotten = report.failover_count > owner.failover_count;
    owner.failover_count = owner.failover_count.max(report.failover_count);
    let (generation, failovers) = (owner.generation, owner.failover_count);
    let applied = report.applied_generation >= generation && report.failover_count >= failovers;
    let refused = report.error.is_some() && known.received_generation >= generation;
    let settled = if applied {
        tree.settle_applied(report.applied_generation, known.broken, known.now)
    } else if refused {
        tree.settle_failed(known.now)
    } else {
        false
    };
    // Without an amphora that carries traffic there is nobody to believe: what was known stays.
    let carried = report.amphorae.iter().any(|one| one.active && one.ready);
    let shown = carried && {
        let seen = observations(tree, report, known.broken);
        tree.roll_up(&seen, known.now)
    };
    settled || shown || forgotten
}

/// What an amphora's row says of it.
#[must_use]
pub const fn amphora_row(
    topology: Topology,
    report: &AmphoraReport,
) -> (AmphoraRole, AmphoraStatus) {
    let role = match (topology, report.active) {
        (Topology::Single, _) => AmphoraRole::Standalone,
        (Topology::ActiveStandby, true) => AmphoraRole::Master,
        (Topology::ActiveStandby, false) => AmphoraRole::Backup,
    };
    let status = if report.ready {
        AmphoraStatus::Allocated
    } else {
        AmphoraStatus::Booting
    };
    (role, status)
}

fn observations(
    tree: &Tree,
    report: &LoadBalancerReport,
    broken: &BTreeSet<ListenerId>,
) -> Observations {
    let mut listeners = BTreeMap::new();
    for listener in &tree.listeners {
        let told = report.listeners.iter().any(|one| one.id == listener.id);
        // In the data path there is nothing that could fail to listen.
        let served = told || path(tree, listener).path() == ListenerPath::Xdp;
        if served && !broken.contains(&listener.id) {
            // Never full: connection limits are refused until they are enforced.
            listeners.insert(listener.id, ListenerObservation::Open);
        }
    }
    let members: BTreeMap<(PoolId, MemberId), bool> = report
        .members
        .iter()
        .filter_map(|one| Some(((one.pool_id, one.member_id), one.up?)))
        .collect();
    Observations {
        generation: report.applied_generation,
        listeners,
        members,
    }
}
