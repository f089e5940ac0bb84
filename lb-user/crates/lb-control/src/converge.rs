//! Nothing is PENDING for ever: what no host has carried out by its deadline settles in ERROR.
//!
//! Input-less: woken by the store's commits and by the clock, it reads what is pending and since
//! when, and acts. The work itself goes on: a host that carries it out later brings the load
//! balancer back by its report.

use std::{sync::Arc, time::Duration};

use lb_model::{enums::ProvisioningStatus, tree::Tree};
use lb_store::{Head, now};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{controller::Controller, error::ControlError};

/// With nothing pending it looks again this often: the poll is the truth, a wake-up is only a hint.
const PERIOD: Duration = Duration::from_secs(30);
/// After the store failed.
const RETRY: Duration = Duration::from_secs(1);

impl Controller {
    /// Housekeeping's work; runs until `shutdown`.
    pub async fn watch_deadlines(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changes = self.store.changes();
        loop {
            changes.borrow_and_update();
            let wait = match self.settle_overdue().await {
                Ok(next) => next.min(PERIOD),
                Err(error) => {
                    tracing::warn!(%error, "cannot look for overdue changes, trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Settles what is overdue; says when the next one will be.
    async fn settle_overdue(&self) -> Result<Duration, ControlError> {
        let mut next = PERIOD;
        for head in self.store.heads().await? {
            if !head.provisioning_status.is_pending() {
                self.memory().pending.remove(&head.id);
                continue;
            }
            if head.provisioning_status == ProvisioningStatus::PendingDelete
                && self.nobody_ever_asked().await?
            {
                self.end(head.id).await?;
                tracing::info!(load_balancer = %head.id, "load balancer deleted, no host had it");
                continue;
            }
            let Some(tree) = self.store.read_tree(head.id).await? else {
                continue;
            };
            match self.time_left(&tree) {
                Some(left) => next = next.min(left),
                None => self.settle_one(&head).await?,
            }
        }
        Ok(next)
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
                let overdue = pending.is_pending() && self.time_left(tree).is_none();
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
    fn time_left(&self, tree: &Tree) -> Option<Duration> {
        let common = &tree.load_balancer.common;
        let since = match common.provisioning_status {
            ProvisioningStatus::PendingCreate => common.created_at,
            _ => common.updated_at.unwrap_or(common.created_at),
        };
        let stored = Duration::from_micros(u64::try_from(now().0 - since.0).unwrap_or(0));
        // `updated_at` moves with operating statuses too, which must not put the deadline off.
        let generation = tree.load_balancer.generation;
        let watched = {
            let mut memory = self.memory();
            let entry = memory
                .pending
                .entry(tree.id())
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
