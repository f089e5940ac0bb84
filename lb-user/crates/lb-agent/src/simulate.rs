//! An agent that carries nothing and says it does: for API suites, benches and tests of scale.
//!
//! It speaks the real protocol over the real wire (long poll, reports, mTLS) and is done with every
//! generation the moment it has it; members are up, counters are zero. It touches no kernel and no
//! disk and needs no root: whatever a server asks again after a restart is given again.
//!
//! Invariants: what changed is told at once, what did not only as a slow refresh in slices, so that
//! ten thousand load balancers cost next to nothing; nothing is forgotten before the server took it.

mod carried;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use lb_model::capability::CapabilitySet;
use lb_wire::{
    client::{DirectDialer, SyncClient},
    message::{PROTOCOL_VERSION, ReportRequest, SyncRequest},
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::carried::Carried;
use crate::Result;

/// Between slices of the refresh.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// Slices until everything was told again: a minute.
const REFRESH_SLICES: usize = 12;
/// Most load balancers in one report.
const REPORT_MAX: usize = 512;
/// Before the next attempt after an answer that was no use; connecting has its own back-off.
const PAUSE: Duration = Duration::from_millis(200);

/// What a simulated agent must be told.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Names the host; the name in the agent's certificate.
    pub host: String,
    /// Where the server's `sync_listen` is reached, `host:port`.
    pub server: String,
    /// Directory with ca.pem, agent.pem and agent.key.
    pub credentials: PathBuf,
}

/// Simulates until `shutdown`; calls `ready` once the server has taken a report.
///
/// # Errors
/// Credentials that cannot be read or used.
pub async fn simulate(
    simulation: Simulation,
    ready: impl FnOnce() + Send,
    shutdown: CancellationToken,
) -> Result<()> {
    let credentials = lb_wire::ca::read_agent_credentials(&simulation.credentials)?;
    let client = SyncClient::new(&credentials, &simulation.server, Arc::new(DirectDialer))?;
    let carried = Carried::default();
    tracing::info!(
        host = simulation.host,
        "simulated agent: nothing reaches the kernel"
    );
    tokio::join!(
        ask(&client, &simulation.host, &carried, &shutdown),
        tell(&client, &simulation.host, &carried, ready, &shutdown),
    );
    Ok(())
}

/// Asks for changes until told to stop.
async fn ask(client: &SyncClient, host: &str, carried: &Carried, shutdown: &CancellationToken) {
    let mut reachable = true;
    let mut described = Vec::new();
    loop {
        let (known, removing) = carried.known();
        let request = SyncRequest {
            version: PROTOCOL_VERSION,
            host: host.to_owned(),
            // Nothing of this host can be reached through load balancers that do not exist.
            host_addresses: Vec::new(),
            known,
            since: None,
            dropped: BTreeSet::new(),
            removing,
            capabilities: CapabilitySet::all().names(),
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
                    // Another one, perhaps, which was told nothing yet.
                    carried.tell_all();
                }
                reachable = true;
                described = carried.describe(&answer.describe);
                carried.take(&answer.changed, &answer.gone);
            }
            Err(error) => {
                if reachable {
                    tracing::warn!(%error, "the server does not answer, trying again");
                }
                reachable = false;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reports until told to stop.
async fn tell(
    client: &SyncClient,
    host: &str,
    carried: &Carried,
    ready: impl FnOnce(),
    shutdown: &CancellationToken,
) {
    let mut ready = Some(ready);
    let mut tick = tokio::time::interval(REFRESH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = carried.changed() => {}
            _ = tick.tick() => carried.refresh(REFRESH_SLICES),
        }
        let (load_balancers, removed) = carried.to_tell(REPORT_MAX);
        let request = ReportRequest {
            version: PROTOCOL_VERSION,
            host: host.to_owned(),
            load_balancers,
            removed,
        };
        let sent = tokio::select! {
            () = shutdown.cancelled() => return,
            sent = client.report(&request) => sent,
        };
        match sent {
            Ok(()) => {
                carried.told(&request.load_balancers, &request.removed);
                if let Some(ready) = ready.take() {
                    ready();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "report not taken");
                tokio::time::sleep(PAUSE).await;
                carried.again();
            }
        }
    }
}
