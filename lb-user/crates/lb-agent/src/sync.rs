//! What the server wants comes in, what the host carries goes out.
//!
//! The server is not needed for anything that is already known: every loop here only tries again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lb_model::capability::CapabilitySet;
use lb_wire::{
    client::SyncClient,
    message::{PROTOCOL_VERSION, ReportRequest, SyncRequest},
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{fleet::Fleet, host::Host};

/// Everything is reported this often, changes at once.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Before the next attempt after an answer that was no use; connecting has its own back-off.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks for changes until told to stop.
pub(crate) async fn ask(
    client: Arc<SyncClient>,
    host: Arc<Host>,
    fleet: Arc<Fleet>,
    shutdown: CancellationToken,
) {
    let mut reachable = true;
    let mut described = Vec::new();
    loop {
        let (known, removing) = fleet.known().await;
        let request = SyncRequest {
            version: PROTOCOL_VERSION,
            host: host.config.host.clone(),
            host_addresses: host.addresses_of_host.clone(),
            known,
            since: None,
            dropped: BTreeSet::new(),
            removing,
            capabilities: CapabilitySet::data_path().names(),
            described: described.clone(),
        };
        let answer = tokio::select! {
            () = shutdown.cancelled() => return,
            answer = client.sync(&request) => answer,
        };
        match answer {
            Ok(answer) => {
                if !reachable {
                    tracing::info!("the server answers again");
                }
                reachable = true;
                described = fleet.describe(&answer.describe).await;
                let mut all_taken = true;
                for spec in answer.changed {
                    let id = spec.id;
                    let taken = fleet.put(spec).await.unwrap_or_else(|error| {
                        tracing::error!(load_balancer = %id, %error, "cannot be kept");
                        false
                    });
                    all_taken &= taken;
                }
                for id in answer.gone {
                    fleet.remove(id).await;
                }
                if !all_taken {
                    // Otherwise what cannot be done now would be asked for without a pause.
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(error) => {
                if reachable {
                    tracing::warn!(%error, "the server does not answer, everything goes on");
                }
                reachable = false;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reports until told to stop.
pub(crate) async fn report(client: Arc<SyncClient>, host: Arc<Host>, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (load_balancers, removed) = tokio::select! {
            () = shutdown.cancelled() => return,
            () = host.reports.changed() => host.reports.take_changed(),
            _ = tick.tick() => host.reports.all(),
        };
        let request = ReportRequest {
            version: PROTOCOL_VERSION,
            host: host.config.host.clone(),
            load_balancers,
            removed,
        };
        let sent = tokio::select! {
            () = shutdown.cancelled() => return,
            sent = client.report(&request) => sent,
        };
        match sent {
            Ok(()) => host.reports.removal_told(&request.removed),
            // Everything is told again with the next tick.
            Err(error) => tracing::debug!(%error, "report not taken"),
        }
    }
}
