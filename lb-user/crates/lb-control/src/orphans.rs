//! What a host carries and the database does not know: after the database was restored from a
//! backup.
//!
//! It is kept, for it may serve somebody, and written down for an operator, who confirms that it may
//! go (`lbaas orphans`); only then is the host told to take it down. The host is asked whose it is and
//! which addresses it has, so that nobody else is given them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_model::id::LoadBalancerId;
use lb_store::OrphanFacts;
use lb_wire::message::{SyncRequest, SyncResponse};
use tokio::time::Instant;

use crate::{
    controller::{Controller, Memory},
    error::ControlError,
};

/// Most of them that a host is asked about at once.
const DESCRIBED_AT_ONCE: usize = 256;
/// Before a host is asked again that has not told.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Memory {
    pub(crate) fn has_orphans(&self, host: &str) -> bool {
        self.orphans.get(host).is_some_and(|them| !them.is_empty())
    }
}

impl Controller {
    /// Notes what a host tells of its orphans.
    pub(crate) async fn note_descriptions(
        &self,
        request: &SyncRequest,
    ) -> Result<(), ControlError> {
        for told in &request.described {
            let addresses = told.addresses.iter();
            let facts = OrphanFacts {
                id: told.id,
                project_id: told.project_id.clone(),
                addresses: addresses
                    .map(|one| (one.network_id, one.subnet_id, one.address))
                    .collect(),
            };
            self.store.describe_orphan(&facts).await?;
            let key = (request.host.clone(), told.id);
            self.memory().asked_of.insert(key, None);
        }
        Ok(())
    }

    /// What the host is told of its orphans: which may go, and which it is to tell of.
    pub(crate) async fn orphans(
        &self,
        request: &SyncRequest,
    ) -> Result<SyncResponse, ControlError> {
        let orphans = self.orphans_of(request).await?;
        self.write_down(&request.host, &orphans).await?;
        let mut response = SyncResponse::default();
        if orphans.is_empty() {
            return Ok(response);
        }
        let confirmed = self.store.confirmed_orphans(&request.host).await?;
        let due = confirmed
            .into_iter()
            .filter(|id| request.known.contains_key(id));
        response.gone.extend(due);
        let mut memory = self.memory();
        for id in orphans.keys() {
            let key = (request.host.clone(), *id);
            // An answer may be lost on its way, and an agent of an older version never tells.
            let asked = memory.asked_of.get(&key);
            let due = match asked {
                None => true,
                Some(asked) => asked.is_some_and(|asked| asked.elapsed() >= ASK_AGAIN),
            };
            if due && response.describe.len() < DESCRIBED_AT_ONCE {
                response.describe.push(*id);
                memory.asked_of.insert(key, Some(Instant::now()));
            }
        }
        Ok(response)
    }

    /// Nothing is left of these on the host, and the database knows none of them.
    pub(crate) async fn orphans_removed(
        &self,
        host: &str,
        ids: &[LoadBalancerId],
    ) -> Result<(), ControlError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.store.forget_orphans(host, ids).await?;
        if let Some(them) = self.memory().orphans.get_mut(host) {
            them.retain(|id, _| !ids.contains(id));
        }
        Ok(())
    }

    /// What the host has of load balancers that are not in the database, or is still taking down.
    async fn orphans_of(
        &self,
        request: &SyncRequest,
    ) -> Result<BTreeMap<LoadBalancerId, u64>, ControlError> {
        let unknown = self.compare(request).await?.unknown;
        let mut orphans = BTreeMap::new();
        if !unknown.is_empty() {
            // Read, not remembered: another server may have made it a moment ago.
            let heads = self.store.heads_of(&unknown).await?;
            let there: BTreeSet<LoadBalancerId> = heads.iter().map(|head| head.id).collect();
            let unknown = unknown.iter().filter(|id| !there.contains(id));
            orphans.extend(unknown.filter_map(|id| Some((*id, *request.known.get(id)?))));
        }
        let memory = self.memory();
        if let Some(before) = memory.orphans.get(&request.host) {
            let leaving = before
                .iter()
                .filter(|(id, _)| request.removing.contains(id));
            orphans.extend(leaving);
        }
        Ok(orphans)
    }

    /// Writes them down when they are others than the last time, or this server never did.
    async fn write_down(
        &self,
        host: &str,
        orphans: &BTreeMap<LoadBalancerId, u64>,
    ) -> Result<(), ControlError> {
        let before = self.memory().orphans.get(host).cloned();
        if before.as_ref() == Some(orphans) {
            return Ok(());
        }
        self.store.note_orphans(host, orphans).await?;
        let before = before.unwrap_or_default();
        for (id, generation) in orphans {
            if !before.contains_key(id) {
                tracing::warn!(
                    load_balancer = %id, host, generation,
                    "carried, but not in the database: kept until `lbaas orphans confirm`"
                );
            }
        }
        for id in before.keys().filter(|id| !orphans.contains_key(id)) {
            tracing::info!(load_balancer = %id, host, "no longer carried without being known");
        }
        let mut memory = self.memory();
        memory
            .asked_of
            .retain(|(of, id), _| of != host || orphans.contains_key(id));
        memory.orphans.insert(host.to_owned(), orphans.clone());
        Ok(())
    }
}
