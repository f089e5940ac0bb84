//! Nothing is PENDING for ever: what no host has carried out by its deadline settles in ERROR.
//!
//! Input-less: woken by the store's commits and by the clock, it reads what is pending and since
//! when, and acts. The work itself goes on: a host that carries it out later brings the load
//! balancer back by its report.

use std::{sync::Arc, time::Duration};

use lb_model::{enums::ProvisioningStatus, id::LoadBalancerId, time::Timestamp, tree::Tree};
use lb_store::{Head, now};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{controller::Controller, error::ControlError};

/// With nothing pending it looks again this often: the poll is the truth, a wake-up is only a hint.
const PERIOD: Duration = Duration::from_secs(30);
/// Held by the one server that looks.
const LEASE: &str = "housekeeping";
const LEASE_FOR: Duration = Duration::from_secs(15);
const LEASE_RENEW: Duration = Duration::from_secs(5);
/// How often what nobody uses is forgotten.
const TIDY_PERIOD: Duration = Duration::from_secs(600);
/// After the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of the lease.
#[derive(Debug, Default)]
struct Lease {
    held: bool,
    /// When it was asked for last.
    asked: Option<Instant>,
}

/// A change that is not carried out yet.
#[derive(Debug)]
struct Pending {
    id: LoadBalancerId,
    generation: u64,
    /// By the store.
    since: Timestamp,
}

impl Pending {
    fn of_head(head: &Head) -> Self {
        Self {
            id: head.id,
            generation: head.generation,
            since: head.updated_at.unwrap_or(head.created_at),
        }
    }

    fn of_tree(tree: &Tree) -> Self {
        let common = &tree.load_balancer.common;
        Self {
            id: tree.id(),
            generation: tree.load_balancer.generation,
            since: common.updated_at.unwrap_or(common.created_at),
        }
    }
}

impl Controller {
    /// Housekeeping's work; runs until `shutdown`.
    pub async fn watch_deadlines(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changes = self.store.changes();
        let mut lease = Lease::default();
        let mut tidied = Instant::now();
        loop {
            if tidied.elapsed() >= TIDY_PERIOD {
                tidied = Instant::now();
                self.forget_unused_copies().await;
            }
            changes.borrow_and_update();
            let wait = match self.settle_overdue_alone(&mut lease).await {
                Ok(next) => next.min(PERIOD),
                Err(error) => {
                    tracing::warn!(%error, "cannot look for overdue changes, trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {
                    // Another need not wait for its end; if it must, nothing is lost.
                    drop(self.store.release(LEASE).await);
                    return;
                }
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Only one of several servers looks; the others look whether it still does.
    async fn settle_overdue_alone(&self, lease: &mut Lease) -> Result<Duration, ControlError> {
        let due = lease
            .asked
            .is_none_or(|asked| asked.elapsed() >= LEASE_RENEW);
        if due {
            let epoch = self.store.lease(LEASE, LEASE_FOR).await?;
            if epoch.is_some() != lease.held {
                tracing::info!(held = epoch.is_some(), epoch, "looking for overdue changes");
            }
            lease.held = epoch.is_some();
            lease.asked = Some(Instant::now());
        }
        if !lease.held {
            return Ok(LEASE_RENEW);
        }
        Ok(self.settle_overdue().await?.min(LEASE_RENEW))
    }

    /// Copies of secrets that no load balancer came to use.
    async fn forget_unused_copies(&self) {
        match self.store.forget_unused_copies().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "unused copies of secrets forgotten"),
            Err(error) => tracing::warn!(%error, "unused copies of secrets are still there"),
        }
    }

    /// Settles what is overdue; says when the next one will be.
    async fn settle_overdue(&self) -> Result<Duration, ControlError> {
        let mut next = PERIOD;
        for head in self.pending().await? {
            if head.provisioning_status == ProvisioningStatus::PendingDelete
                && self.nobody_ever_asked().await?
            {
                self.end(head.id).await?;
                tracing::info!(load_balancer = %head.id, "load balancer deleted, no host had it");
                continue;
            }
            match self.time_left(&Pending::of_head(&head)) {
                Some(left) => next = next.min(left),
                None => self.settle_one(&head).await?,
            }
        }
        Ok(next)
    }

    /// What is pending; forgets since when of what is not.
    async fn pending(&self) -> Result<Vec<Head>, ControlError> {
        let look = self.heads.look(&self.store).await?;
        let pending = |head: &&Head| head.provisioning_status.is_pending();
        let pending: Vec<Head> = look.known().values().filter(pending).cloned().collect();
        let mut memory = self.memory();
        memory.pending.retain(|id, _| {
            let head = look.known().get(id);
            head.is_some_and(|head| head.provisioning_status.is_pending())
        });
        Ok(pending)
    }

    /// Whether no agent has ever been heard of, so that nothing can be left anywhere.
    async fn nobody_ever_asked(&self) -> Result<bool, ControlError> {
        let hosts = self.store.hosts().await?;
        Ok(!hosts
            .iter()
            .any(|host| lb_wire::ca::check_host(&host.name).is_ok()))
    }

    async fn settle_one(&self, head: &Head) -> Result<(), ControlError> {
        let id = head.id;
        let settled = self
            .change(id, |tree| {
                // Judged again inside the transaction: it may have been applied meanwhile.
                let pending = tree.load_balancer.common.provisioning_status;
                let overdue =
                    pending.is_pending() && self.time_left(&Pending::of_tree(tree)).is_none();
                (overdue && tree.settle_failed(now()))
                    .then_some((pending, tree.load_balancer.common.provisioning_status))
            })
            .await?;
        if let Some(Some((before, after))) = settled {
            tracing::error!(
                load_balancer = %id, %before, %after,
                "no host has carried out the change in time"
            );
            self.note_failure(head, "no host did so in time").await?;
        }
        Ok(())
    }

    /// `None`: the deadline has passed.
    fn time_left(&self, pending: &Pending) -> Option<Duration> {
        let passed = now().0.saturating_sub(pending.since.0);
        let stored = Duration::from_micros(u64::try_from(passed).unwrap_or(0));
        // `updated_at` moves with operating statuses too, which must not put the deadline off.
        let generation = pending.generation;
        let watched = {
            let mut memory = self.memory();
            let entry = memory
                .pending
                .entry(pending.id)
                .or_insert((generation, Instant::now()));
            if entry.0 != generation {
                *entry = (generation, Instant::now());
            }
            entry.1.elapsed()
        };
        let left = self
            .settings
            .pending_timeout
            .checked_sub(stored.max(watched))?;
        (!left.is_zero()).then_some(left)
    }
}
