//! Answers an agent: what its host must carry that it does not.
//!
//! The answer is the difference between the generations the host names and those stored, so it is
//! right whatever was asked or answered before. A request that differs in nothing is held; it is
//! woken by the store's commits and looks again.

use lb_model::{enums::ProvisioningStatus, id::LoadBalancerId, spec::LoadBalancerSpec};
use lb_store::Head;
use lb_wire::{
    message::{
        RESPONSE_BYTES_MAX, ReportRequest, SPECS_PER_RESPONSE_MAX, SYNC_HOLD_MAX, SyncRequest,
        SyncResponse,
    },
    server::{Handler, HandlerError},
};
use tokio::time::{Duration, Instant};

use crate::{
    controller::{Controller, Sent},
    error::ControlError,
    gather::{belongs_to, gather},
    heads::Known,
};

/// Without any wake-up a held request looks again this often: the poll is the truth, a wake-up is
/// only a hint.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The same while the host has orphans: a tool beside a server on SQLite cannot wake it.
const LOOK_AGAIN_FOR_ORPHANS: Duration = Duration::from_secs(2);
/// Half of what an answer may have: the estimate of a spec's size is rough.
const SPEC_BYTES_MAX: usize = RESPONSE_BYTES_MAX / 2;

impl Handler for Controller {
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, HandlerError> {
        self.hold(&request).await.map_err(|error| refuse(&error))
    }

    async fn report(&self, request: ReportRequest) -> Result<(), HandlerError> {
        self.fold(&request).await.map_err(|error| refuse(&error))
    }
}

fn refuse(error: &ControlError) -> HandlerError {
    tracing::warn!(%error, "an agent's request could not be served");
    HandlerError(error.to_string())
}

impl Controller {
    async fn hold(&self, request: &SyncRequest) -> Result<SyncResponse, ControlError> {
        let addresses = request.host_addresses.iter().copied().collect();
        self.heard_of(&request.host, &addresses).await?;
        self.note_capabilities(&request.host, &request.capabilities)
            .await?;
        self.memory()
            .known
            .insert(request.host.clone(), request.known.clone());
        self.note_descriptions(request).await?;
        let deadline = Instant::now() + SYNC_HOLD_MAX;
        let mut changes = self.store.changes();
        loop {
            // Marked as seen before looking: what is committed meanwhile wakes again.
            changes.borrow_and_update();
            let response = self.difference(request).await?;
            if response != SyncResponse::default() || Instant::now() >= deadline {
                return Ok(response);
            }
            let look_again = deadline.min(Instant::now() + self.look_again(&request.host));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Ok(response);
                },
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
    }

    fn look_again(&self, host: &str) -> Duration {
        if self.memory().has_orphans(host) {
            LOOK_AGAIN_FOR_ORPHANS
        } else {
            LOOK_AGAIN
        }
    }

    async fn difference(&self, request: &SyncRequest) -> Result<SyncResponse, ControlError> {
        let takes_new = self.is_placed_on(&request.host).await?;
        let mut response = self.orphans(request).await?;
        let mut bytes = 0;
        for head in self.differing(request).await? {
            if head.provisioning_status == ProvisioningStatus::PendingDelete {
                if self
                    .is_carried_by(&request.host, takes_new, head.id)
                    .await?
                {
                    response.gone.push(head.id);
                }
                continue;
            }
            let Some(spec) = self.spec_for(&request.host, takes_new, head.id).await? else {
                continue;
            };
            bytes += size(&spec);
            let (id, generation) = (spec.id, spec.generation);
            tracing::debug!(load_balancer = %id, generation, host = request.host, "sent");
            response.changed.push(spec);
            if response.changed.len() >= SPECS_PER_RESPONSE_MAX || bytes >= SPEC_BYTES_MAX {
                break;
            }
        }
        Ok(response)
    }

    /// The load balancers that stand otherwise here than the request says.
    async fn differing(&self, request: &SyncRequest) -> Result<Vec<Head>, ControlError> {
        let compared = self.compare(request).await?;
        if compared.beyond.is_empty() {
            return Ok(compared.behind);
        }
        self.outlive(request, &compared.beyond).await?;
        Ok(self.compare(request).await?.behind)
    }

    /// What the host says it has beside what is stored.
    pub(crate) async fn compare(&self, request: &SyncRequest) -> Result<Compared, ControlError> {
        let look = self.heads.look(&self.store).await?;
        Ok(Compared::of(look.known(), request))
    }

    /// Lifts load balancers above what the host has of them: the database was put back, but not by
    /// our own restore, which begins an epoch.
    async fn outlive(
        &self,
        request: &SyncRequest,
        beyond: &[LoadBalancerId],
    ) -> Result<(), ControlError> {
        // Read, not remembered: another server may have made the host's a moment ago.
        for head in self.store.heads_of(beyond).await? {
            let known = request.known.get(&head.id).copied();
            let Some(known) = known.filter(|known| *known > head.generation) else {
                continue;
            };
            if self.store.outlive(head.id, known).await? {
                tracing::warn!(
                    load_balancer = %head.id, host = request.host, known, stored = head.generation,
                    "the host was ahead of the database, which counts: it was put back"
                );
            }
        }
        Ok(())
    }

    /// Whether a load balancer is this host's.
    pub(crate) async fn is_carried_by(
        &self,
        host: &str,
        takes_new: bool,
        id: LoadBalancerId,
    ) -> Result<bool, ControlError> {
        Ok(belongs_to(&self.store.amphorae(id).await?, host, takes_new))
    }

    /// `None`: not this host's, gone, or not to be built, which settles it in ERROR.
    async fn spec_for(
        &self,
        host: &str,
        takes_new: bool,
        id: LoadBalancerId,
    ) -> Result<Option<LoadBalancerSpec>, ControlError> {
        let Some(gathered) = gather(&self.store, id).await? else {
            return Ok(None);
        };
        if !gathered.belongs_to(host, takes_new) {
            return Ok(None);
        }
        let sent = Sent {
            generation: gathered.carried.tree.load_balancer.generation,
            left_out: gathered.left_out(),
        };
        match gathered.built {
            Ok(built) => {
                let mut memory = self.memory();
                memory.sent.insert(id, sent);
                memory.unbuildable.remove(&id);
                Ok(Some(built.spec))
            }
            Err(error) => {
                let generation = gathered.carried.tree.load_balancer.generation;
                let told = self.memory().unbuildable.insert(id, generation);
                if told != Some(generation) {
                    tracing::error!(load_balancer = %id, generation, %error, "cannot be carried");
                    self.fail(id, generation).await?;
                }
                Ok(None)
            }
        }
    }
}

/// How what a host says stands to what is stored.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// The host must be told of these: newer here, or to be taken down.
    behind: Vec<Head>,
    /// The host has a generation of these that the database does not know of.
    beyond: Vec<LoadBalancerId>,
    /// The database does not know these.
    pub(crate) unknown: Vec<LoadBalancerId>,
}

impl Compared {
    /// Both sides are in the same order, so one walk along them is enough: there may be ten thousand,
    /// and this is done at every commit.
    fn of(heads: &Known, request: &SyncRequest) -> Self {
        let mut compared = Self::default();
        let mut known = request.known.iter().peekable();
        for (id, head) in heads {
            while let Some((unknown, _)) = known.next_if(|(other, _)| *other < id) {
                compared.unknown.push(*unknown);
            }
            let known = known.next_if(|(other, _)| *other == id);
            let known = known.map(|(_, generation)| *generation);
            if known.is_some_and(|known| known > head.generation) {
                compared.beyond.push(*id);
            }
            let differs = match head.provisioning_status {
                ProvisioningStatus::PendingDelete => !request.removing.contains(id),
                _kept => known.is_none_or(|known| known < head.generation),
            };
            if differs {
                compared.behind.push(head.clone());
            }
        }
        compared.unknown.extend(known.map(|(id, _)| *id));
        compared
    }
}

/// Rough size on the wire: certificates and members dominate.
fn size(spec: &LoadBalancerSpec) -> usize {
    let certificates: usize = spec
        .certificates
        .iter()
        .map(|one| one.chain_pem.len() + one.key_pem.expose().len() + 1024)
        .sum();
    let members: usize = spec.pools.iter().map(|pool| pool.members.len()).sum();
    let policies = spec
        .listeners
        .iter()
        .flat_map(|listener| &listener.l7policies);
    let rules: usize = policies.map(|policy| policy.rules.len() + 1).sum();
    4096 + certificates + (members + rules + spec.listeners.len()) * 1024
}
