//! The health manager: notices hosts that fell silent and hosts that came back.
//!
//! A host that is silent keeps its load balancers: its data path goes on without anyone. Only what
//! cannot be true any more without being told again, its open connections, is taken back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lb_model::time::Timestamp;
use lb_store::now;
use lb_wire::message::SYNC_HOLD_MAX;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{controller::Controller, error::ControlError};

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Silent for longer: twice what a healthy agent's question is held, and some.
const SILENT_AFTER: Duration = Duration::from_secs(2 * SYNC_HOLD_MAX.as_secs() + 40);

impl Controller {
    /// The health manager's work; runs until `shutdown`.
    pub async fn watch_hosts(self: Arc<Self>, shutdown: CancellationToken) {
        let mut silent = BTreeSet::new();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.look_at_hosts(now(), &mut silent).await {
                tracing::warn!(%error, "cannot look at hosts, trying again");
            }
        }
    }

    /// `silent`: hosts whose silence was noticed.
    pub(crate) async fn look_at_hosts(
        &self,
        now: Timestamp,
        silent: &mut BTreeSet<String>,
    ) -> Result<(), ControlError> {
        let limit = i64::try_from(SILENT_AFTER.as_micros()).unwrap_or(i64::MAX);
        for host in self.store.hosts().await? {
            // A server's own entry is no agent's.
            if lb_wire::ca::check_host(&host.name).is_err() {
                continue;
            }
            if now.0.saturating_sub(host.last_seen.0) < limit {
                if silent.remove(&host.name) {
                    tracing::info!(host = host.name, "host is heard of again");
                }
                continue;
            }
            if !silent.contains(&host.name) {
                self.store.forget_connections(&host.name).await?;
                tracing::warn!(host = host.name, "host is silent; what it carries goes on");
                silent.insert(host.name);
            }
        }
        Ok(())
    }
}
