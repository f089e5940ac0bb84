//! Folds what hosts report into statuses: settles what is done, shows what is observed, takes away
//! what is gone.
//!
//! Most reports say nothing new. One that was folded in without changing anything is remembered and
//! costs nothing until it, or the load balancer, differs.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use lb_model::{
    enums::ProvisioningStatus,
    id::{AmphoraId, ListenerId, LoadBalancerId},
    spec::{ListenerFailure, LoadBalancerReport},
};
use lb_plan::fold::{self, Circumstances};
use lb_store::{AmphoraUpdate, Carried, EventKind, Head, NewEvent, StoreError, now};
use lb_wire::message::ReportRequest;

use crate::{
    controller::Controller,
    error::ControlError,
    gather::{belongs_to, gather},
    heads::Known,
};

/// Specifications remembered before those of load balancers that are not pending are forgotten.
const SENT_MAX: usize = 256;
/// Reports folded side by side: each waits for the database most of the time.
const FOLDED_AT_ONCE: usize = 8;

impl Controller {
    /// Takes in a whole report. Statuses first: someone may wait for ACTIVE, nobody for counters.
    pub(crate) async fn fold(&self, request: &ReportRequest) -> Result<(), ControlError> {
        let takes_new = self.is_placed_on(&request.host).await?;
        // Another server may have been asked for the end a moment ago: read, not remembered.
        let ending = self.store.heads_of(&request.removed).await?;
        for head in &ending {
            self.removed(&request.host, takes_new, head).await?;
        }
        let mut unknown = request.removed.clone();
        unknown.retain(|id| ending.iter().all(|head| head.id != *id));
        self.orphans_removed(&request.host, &unknown).await?;
        let heads = self.heads_reported(request).await?;
        let mut carried = Vec::with_capacity(request.load_balancers.len());
        for some in request.load_balancers.chunks(FOLDED_AT_ONCE) {
            let folds = some.iter().filter_map(|report| {
                let Some(head) = heads.get(&report.id) else {
                    tracing::debug!(load_balancer = %report.id, host = request.host, "carried, but not known here");
                    return None;
                };
                let fold = self.fold_one(&request.host, takes_new, head, report);
                Some(async move { fold.await.map(|ours| ours.then(|| report.clone())) })
            });
            for folded in join_all(folds).await {
                carried.extend(folded?);
            }
        }
        self.observe(&request.host, carried);
        Ok(())
    }

    /// Where the load balancers of a report stand; forgets what was remembered of those that are
    /// gone.
    async fn heads_reported(&self, request: &ReportRequest) -> Result<Known, ControlError> {
        let look = self.heads.look(&self.store).await?;
        let known = look.known();
        let mut memory = self.memory();
        // Not with every report: there may be as many as there are load balancers.
        if memory.folded.len() > known.len() {
            memory.folded.retain(|id, _| known.contains_key(id));
        }
        if memory.unbuildable.len() > known.len() {
            memory.unbuildable.retain(|id, _| known.contains_key(id));
        }
        if memory.sent.len() > SENT_MAX {
            memory.sent.retain(|id, _| {
                let head = known.get(id);
                head.is_some_and(|head| head.provisioning_status.is_pending())
            });
        }
        let reported = request.load_balancers.iter();
        let heads = reported.filter_map(|report| known.get(&report.id));
        Ok(heads.map(|head| (head.id, head.clone())).collect())
    }

    /// `false`: it is not this host's.
    async fn fold_one(
        &self,
        host: &str,
        takes_new: bool,
        head: &Head,
        report: &LoadBalancerReport,
    ) -> Result<bool, ControlError> {
        let essence = essence(report);
        let received = {
            let memory = self.memory();
            let known = memory.known.get(host);
            let received = known.and_then(|known| known.get(&head.id)).copied();
            if memory.folded.get(&head.id) == Some(&(head.clone(), essence.clone(), received)) {
                return Ok(true);
            }
            received
        };
        let Some(mut broken) = self.not_served(host, takes_new, head).await? else {
            return Ok(false);
        };
        let failed = report.failed_listeners.iter().map(|one| one.listener_id);
        broken.extend(failed);
        let known = Circumstances {
            broken: &broken,
            received_generation: received.unwrap_or(0),
            now: now(),
        };
        let folded = self.store.change_carried(head.id, |carried| {
            if !belongs_to(&carried.amphorae, host, takes_new) {
                return Ok((None, Vec::new()));
            }
            let tree = &mut carried.tree;
            let before = tree.load_balancer.common.provisioning_status;
            let changed = fold::fold(tree, report, known);
            let after = tree.load_balancer.common.provisioning_status;
            let updates = amphora_updates(host, carried, report);
            Ok((Some((before, after, changed)), updates))
        });
        match folded.await?.flatten() {
            None => return Ok(false),
            Some((before, after, true)) if before != after => {
                tell(head.id, before, after, report);
                if let Some(error) = &report.error {
                    self.note_failure(head, error).await?;
                }
                for ListenerFailure {
                    listener_id,
                    reason,
                    ..
                } in &report.failed_listeners
                {
                    let error = format!("listener {listener_id} is not served: {reason}");
                    self.note_failure(head, &error).await?;
                }
            }
            Some((_, _, true)) => {}
            Some((_, _, false)) => {
                let entry = (head.clone(), essence, received);
                self.memory().folded.insert(head.id, entry);
            }
        }
        Ok(true)
    }

    /// The listeners that the specification leaves out; `None`: the load balancer is not this host's.
    ///
    /// While a change is pending it is the specification that was sent for it, which is remembered: to
    /// build it again costs as much as all the rest.
    async fn not_served(
        &self,
        host: &str,
        takes_new: bool,
        head: &Head,
    ) -> Result<Option<BTreeSet<ListenerId>>, ControlError> {
        if head.provisioning_status.is_pending() {
            let memory = self.memory();
            let sent = memory.sent.get(&head.id);
            if let Some(sent) = sent.filter(|sent| sent.generation == head.generation) {
                return Ok(Some(sent.left_out.clone()));
            }
        }
        let Some(gathered) = gather(&self.store, head.id).await? else {
            return Ok(None);
        };
        if !gathered.belongs_to(host, takes_new) {
            return Ok(None);
        }
        Ok(Some(gathered.left_out()))
    }

    /// Tells whoever watches why a change was not carried out.
    pub(crate) async fn note_failure(&self, head: &Head, reason: &str) -> Result<(), ControlError> {
        let event = NewEvent {
            project_id: head.project_id.clone(),
            kind: EventKind::Failure,
            load_balancer_id: Some(head.id),
            message: format!("The change could not be carried out: {reason}."),
            data: serde_json::json!({"generation": head.generation}),
        };
        Ok(self.store.record_event(&event).await?)
    }

    /// Nothing is left of a load balancer on its host. Only one that is being deleted ends so.
    async fn removed(&self, host: &str, takes_new: bool, head: &Head) -> Result<(), ControlError> {
        if head.provisioning_status != ProvisioningStatus::PendingDelete
            || !self.is_carried_by(host, takes_new, head.id).await?
        {
            return Ok(());
        }
        if self.end(head.id).await? {
            tracing::info!(load_balancer = %head.id, host, "load balancer deleted");
        }
        Ok(())
    }

    /// Takes a load balancer that is being deleted away for good.
    pub(crate) async fn end(&self, id: LoadBalancerId) -> Result<bool, ControlError> {
        let ended = self
            .change(id, |tree| {
                let status = tree.load_balancer.common.provisioning_status;
                let generation = tree.load_balancer.generation;
                status == ProvisioningStatus::PendingDelete
                    && tree.settle_applied(generation, &BTreeSet::new(), now())
            })
            .await?;
        Ok(ended == Some(true))
    }

    /// What was asked for cannot be done; says nothing when something else is asked for by now.
    pub(crate) async fn fail(
        &self,
        id: LoadBalancerId,
        generation: u64,
    ) -> Result<(), ControlError> {
        self.change(id, |tree| {
            tree.load_balancer.generation == generation && tree.settle_failed(now())
        })
        .await?;
        Ok(())
    }

    /// Changes a tree; `None` when there is none any more.
    pub(crate) async fn change<T: Send>(
        &self,
        id: LoadBalancerId,
        mut change: impl FnMut(&mut lb_model::tree::Tree) -> T + Send,
    ) -> Result<Option<T>, ControlError> {
        match self.store.change_tree(id, |tree| Ok(change(tree))).await {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::Refused(_) | StoreError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a report makes of the amphorae's rows.
fn amphora_updates(
    host: &str,
    carried: &Carried,
    report: &LoadBalancerReport,
) -> Vec<(AmphoraId, AmphoraUpdate)> {
    let topology = carried.tree.load_balancer.topology;
    let mut updates = Vec::new();
    for row in &carried.amphorae {
        let Some(told) = report.amphorae.iter().find(|one| one.id == row.amphora.id) else {
            continue;
        };
        let (role, status) = fold::amphora_row(topology, told);
        let now = &row.amphora;
        if now.host == host && now.role == role && now.status == status {
            continue;
        }
        if now.role != role {
            tracing::info!(
                load_balancer = %report.id, amphora = %now.id, %role, "amphora's role changed"
            );
        }
        let host = host.to_owned();
        updates.push((now.id, AmphoraUpdate { host, role, status }));
    }
    updates
}

/// A report without its counters, which change all the time and settle nothing; except whether a
/// listener is there.
fn essence(report: &LoadBalancerReport) -> LoadBalancerReport {
    let mut essence = report.clone();
    for listener in &mut essence.listeners {
        listener.bytes_in = 0;
        listener.bytes_out = 0;
        listener.active_connections = 0;
        listener.total_connections = 0;
        listener.request_errors = 0;
    }
    essence
}

fn tell(
    id: LoadBalancerId,
    before: ProvisioningStatus,
    after: ProvisioningStatus,
    report: &LoadBalancerReport,
) {
    let generation = report.applied_generation;
    match &report.error {
        Some(error) if after == ProvisioningStatus::Error => {
            tracing::error!(load_balancer = %id, %before, %after, error, "could not be applied");
        }
        Some(error) => {
            tracing::warn!(load_balancer = %id, %before, %after, error, "could not be applied");
        }
        None => tracing::info!(load_balancer = %id, %before, %after, generation, "applied"),
    }
}
