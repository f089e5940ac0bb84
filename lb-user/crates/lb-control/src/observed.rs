//! Writes down counters and members' health beside the path on which someone waits for ACTIVE: a
//! commit costs as much as the disk is busy.
//!
//! What is told faster than it is written is merged: the newest of each load balancer counts.
//! Counters are running totals, so what is left out, or lost with the process, comes again.

use std::{collections::HashMap, sync::Arc};

use lb_model::{id::LoadBalancerId, spec::LoadBalancerReport};
use tokio_util::sync::CancellationToken;

use crate::controller::Controller;

/// Not yet written: per host, the newest report of each load balancer.
pub(crate) type Unwritten = HashMap<String, HashMap<LoadBalancerId, LoadBalancerReport>>;

impl Controller {
    /// Takes reports of a host; returns at once.
    pub(crate) fn observe(&self, host: &str, reports: Vec<LoadBalancerReport>) {
        if reports.is_empty() {
            return;
        }
        let mut memory = self.memory();
        let unwritten = memory.unwritten.entry(host.to_owned()).or_default();
        unwritten.extend(reports.into_iter().map(|report| (report.id, report)));
        drop(memory);
        self.to_write.notify_one();
    }

    /// Part of the reconciler: writes down what agents told this process; runs until `shutdown`.
    pub async fn write_observed(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.to_write.notified() => {}
            }
            let taken = std::mem::take(&mut self.memory().unwritten);
            for (host, reports) in taken {
                let reports: Vec<_> = reports.into_values().collect();
                if let Err(error) = self.store.record_reports(&host, &reports).await {
                    tracing::warn!(host, %error, "counters were not written; they come again");
                }
            }
        }
    }
}
