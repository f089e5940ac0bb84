//! The agent as a whole: start, run until told to stop, take everything down.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lb_common::maps::event_kind;
use lb_model::id::AmphoraId;
use lb_wire::client::SyncClient;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    AgentConfig, Error, Origin, Result,
    bpf::Datapath,
    desired::Disk,
    edge::{self, Netlink, Sysctls},
    fleet::Fleet,
    host::Host,
    spares,
    supervisor::{Files, kill_strays},
    sync,
};

/// Between looks for places that no flow names any more.
const RECLAIM_EVERY: Duration = Duration::from_secs(5);

/// Carries what the server asks for (and, before it is reached, what is on disk) until `shutdown`.
/// Stopping leaves XDP, maps, addresses and amphorae as they are: a new agent adopts them.
///
/// The process must be in the edge namespace already ([`Origin::enter_edge`]).
///
/// # Errors
/// When the data path cannot be loaded, an interface is missing or the state directory cannot be
/// used. A load balancer that cannot be carried is reported to the server instead.
pub async fn run(config: AgentConfig, origin: Origin, shutdown: CancellationToken) -> Result<()> {
    let client = connect(&config, &origin)?;
    let host = Arc::new(Host::prepare(config, &origin).await?);
    watch_edge(&host).await?;
    let fleet = Arc::new(Fleet::adopt(Arc::clone(&host)).await?);
    // Only now: what XDP meets is complete.
    host.attach_uplinks()?;
    tracing::info!(host = host.config.host, "agent ready");
    watch_data_path(&host, &fleet, &shutdown)?;
    lb_telemetry::task::spawn("reclaim", reclaim(Arc::clone(&host), shutdown.clone()));
    if let Some(client) = client {
        let asking = sync::ask(
            Arc::clone(&client),
            Arc::clone(&host),
            Arc::clone(&fleet),
            shutdown.clone(),
        );
        lb_telemetry::task::spawn("sync", asking);
        lb_telemetry::task::spawn(
            "report",
            sync::report(client, Arc::clone(&host), shutdown.clone()),
        );
    }
    let kept = spares::keep(Arc::clone(&host), shutdown.clone());
    let kept = lb_telemetry::task::spawn("spares", kept);
    shutdown.cancelled().await;
    if kept.await.is_err() {
        tracing::warn!("spare amphorae were not kept");
    }
    spares::close(&host).await;
    tracing::info!("agent stops; what it made goes on");
    Ok(())
}

fn connect(config: &AgentConfig, origin: &Origin) -> Result<Option<Arc<SyncClient>>> {
    let Some(server) = &config.server else {
        return Ok(None);
    };
    let credentials = lb_wire::ca::read_agent_credentials(&config.credentials)?;
    let client = SyncClient::new(&credentials, server, Arc::new(origin.clone()))?;
    Ok(Some(Arc::new(client)))
}

/// Passes on what the kernel tells of interfaces and neighbours.
async fn watch_edge(host: &Arc<Host>) -> Result<()> {
    let (links, mut link_events) = mpsc::unbounded_channel();
    let (neighbours, mut neighbour_events) = mpsc::unbounded_channel();
    edge::watch(links, neighbours).await?;
    let listener = Arc::clone(host);
    lb_telemetry::task::spawn("links", async move {
        while let Some(edge::LinkEvent { ifindex, usable }) = link_events.recv().await {
            listener.link_changed(ifindex, usable);
        }
    });
    let listener = Arc::clone(host);
    lb_telemetry::task::spawn("neighbours", async move {
        while let Some(event) = neighbour_events.recv().await {
            listener.neighbour(event).await;
        }
    });
    Ok(())
}

/// Passes on what XDP tells.
fn watch_data_path(
    host: &Arc<Host>,
    fleet: &Arc<Fleet>,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut events = host.datapath.events()?;
    let datapath = Arc::clone(&host.datapath);
    lb_telemetry::task::spawn("data-path-log", async move {
        if let Err(error) = datapath.tell_log_lines().await {
            tracing::warn!(%error, "lines of the kernel programs are lost");
        }
    });
    let (fleet, shutdown) = (Arc::clone(fleet), shutdown.clone());
    lb_telemetry::task::spawn("data-path-events", async move {
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Ok(event) if event.kind == event_kind::FAILED_OVER => {
                    tracing::warn!(?event, "XDP failed over");
                    fleet.look(event.lb).await;
                }
                Ok(event) => tracing::debug!(?event, "event of the data path"),
                Err(error) => {
                    // Latches are looked at with every tick as well.
                    tracing::error!(%error, "no more events of the data path");
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Frees what no flow names any more.
async fn reclaim(host: Arc<Host>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RECLAIM_EVERY) => {}
        }
        if let Err(error) = reclaim_once(&host).await {
            tracing::warn!(%error, "places of what is gone cannot be freed");
        }
    }
}

async fn reclaim_once(host: &Host) -> Result<()> {
    let version = host.planner.lock().await.version();
    let datapath = Arc::clone(&host.datapath);
    let in_use = tokio::task::spawn_blocking(move || datapath.view().in_use())
        .await
        .map_err(|error| Error::Other(error.to_string()))?;
    let mut planner = host.planner.lock().await;
    planner.reclaim(&host.disk, version, &in_use).await
}

/// Removes everything an agent of this configuration ever made on this host: amphorae, namespaces,
/// veths, addresses, XDP and maps; puts switches of interfaces back. The specs on disk stay.
///
/// # Errors
/// The first thing that could not be removed; the rest is removed all the same.
pub async fn teardown(config: &AgentConfig) -> Result<()> {
    let disk = Disk::open(config.agent_dir())?;
    let edge = Netlink::here()?;
    let mut outcome = Ok(());
    let mut note = |done: Result<()>| {
        if let Err(error) = done {
            tracing::error!(%error, "teardown");
            if outcome.is_ok() {
                outcome = Err(error);
            }
        }
    };
    note(Datapath::remove(&config.bpf_dir).map_err(Error::from));
    for id in amphorae(config, &disk) {
        let name = edge::netns_name(id);
        let killed = tokio::task::spawn_blocking(move || kill_strays(&name)).await;
        note(killed.map_err(|error| Error::Other(error.to_string())));
        note(edge::remove_amphora(&edge, id).await);
        Files::new(config, id).remove();
    }
    // Their links have gone with the data path.
    note(spares::remove_left(config, &edge, |_| Ok(())).await);
    note(edge::remove_addresses(config, &edge).await);
    match Sysctls::open(disk.sysctls_path()) {
        Ok(sysctls) => note(sysctls.restore()),
        Err(error) => note(Err(error)),
    }
    outcome
}

/// Every amphora there may be something of: of the specs on disk, and of those that left files.
fn amphorae(config: &AgentConfig, disk: &Disk) -> BTreeSet<AmphoraId> {
    let specs = disk.specs().unwrap_or_default();
    let known = specs.values().flat_map(|spec| &spec.amphorae);
    let mut all: BTreeSet<AmphoraId> = known.map(|amphora| amphora.id).collect();
    if let Ok(entries) = std::fs::read_dir(config.amphorae_dir()) {
        all.extend(entries.filter_map(|entry| -> Option<AmphoraId> {
            entry.ok()?.file_name().to_str()?.parse().ok()
        }));
    }
    all
}
