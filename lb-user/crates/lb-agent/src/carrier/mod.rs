//! The carrier of one load balancer: the task that makes the host carry it.
//!
//! It owns the load balancer's state on this host and does nothing slow itself: networks and maps
//! are prepared by a job beside it, so that a process that ended or a link that went down is
//! answered within a millisecond or two. What must be done is always found by comparing; inputs
//! only say when to look.

mod amphorae;
mod inputs;
mod job;
mod report;
mod slot;
mod steer;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::maps::SteerWord;
use lb_model::{
    id::{AmphoraId, ListenerId},
    spec::{ListenerReport, LoadBalancerSpec},
};
use lb_plan::datapath::Health;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    failover::Planned,
    host::{Host, Places},
    supervisor,
};

use job::Outcome;
use slot::Slot;

/// Between looks at heartbeats and at what is overdue.
const TICK: Duration = Duration::from_millis(250);
/// Before a change that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a carrier is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// Carry this from now on.
    Spec(Arc<LoadBalancerSpec>),
    /// What became of an interface.
    Link {
        /// Which.
        index: u32,
        /// Whether packets get through.
        usable: bool,
    },
    /// XDP has something to say about this load balancer.
    Look,
    /// A job has prepared networks, or the whole.
    Job(Outcome),
    /// Take it down, and say when that is done.
    Remove(oneshot::Sender<()>),
}

/// One load balancer on this host.
#[derive(Debug)]
pub(crate) struct Carrier {
    host: Arc<Host>,
    spec: Arc<LoadBalancerSpec>,
    slots: Vec<Slot>,
    places: Option<Places>,
    steer: SteerWord,
    planned: Option<Planned>,
    /// Planned failovers carried out.
    failovers: u64,
    /// Newest generation whose networks are there.
    networks_generation: u64,
    /// Newest generation whose maps are written.
    maps_generation: u64,
    /// Newest generation that was applied as a whole.
    applied: u64,
    error: Option<String>,
    health: Health,
    /// Health the maps were written with.
    mapped_health: Health,
    /// Counters of processes that ended.
    base: BTreeMap<ListenerId, ListenerReport>,
    job_runs: bool,
    job_wanted: bool,
    retry_at: Option<Instant>,
    last_tick: Option<Instant>,
    /// It is to be taken down.
    removing: Option<oneshot::Sender<()>>,
    own: mpsc::UnboundedSender<Input>,
    events: supervisor::Events,
}

/// What a former agent left behind, found before the carrier starts.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) networks: BTreeMap<AmphoraId, Network>,
    pub(crate) mapped: bool,
}

pub(crate) use job::ensure;
pub(crate) use slot::Network;

/// Starts carrying.
pub(crate) fn start(
    host: Arc<Host>,
    spec: Arc<LoadBalancerSpec>,
    found: Found,
) -> mpsc::UnboundedSender<Input> {
    let (own, inbox) = mpsc::unbounded_channel();
    let (events, told) = supervisor::events();
    let failovers = host.disk.failovers(spec.id);
    let counters = host.disk.counters(spec.id).into_iter();
    // Those that were asked for before this host knew of it were not asked of this host.
    let failovers = failovers.unwrap_or(spec.failover_count);
    let health = host.disk.health(spec.id);
    let mut carrier = Carrier {
        host,
        spec,
        slots: Vec::new(),
        places: None,
        steer: SteerWord::default(),
        planned: None,
        failovers,
        networks_generation: 0,
        maps_generation: 0,
        applied: 0,
        error: None,
        mapped_health: health.clone(),
        health,
        base: counters.map(|counters| (counters.id, counters)).collect(),
        job_runs: false,
        job_wanted: true,
        retry_at: None,
        last_tick: None,
        removing: None,
        own: own.clone(),
        events,
    };
    lb_telemetry::task::spawn("carrier", async move {
        carrier.begin(found).await;
        carrier.run(inbox, told).await;
    });
    own
}

impl Carrier {
    async fn begin(&mut self, found: Found) {
        self.note_failovers();
        self.match_slots();
        for slot in &mut self.slots {
            slot.network = found.networks.get(&slot.id).cloned();
        }
        if found.mapped {
            match self.host.places(&self.spec).await {
                Ok(places) => {
                    self.placed(places);
                    self.networks_generation = self.spec.generation;
                    self.maps_generation = self.spec.generation;
                }
                Err(error) => tracing::error!(%error, "a load balancer was lost"),
            }
        }
        self.watch_links();
        self.configure();
    }

    async fn run(
        &mut self,
        mut inbox: mpsc::UnboundedReceiver<Input>,
        mut told: mpsc::Receiver<(AmphoraId, supervisor::Told)>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = told.recv() => if let Some((id, event)) = event {
                    self.amphora_told(id, event);
                },
                input = inbox.recv() => match input {
                    None => return,
                    Some(input) => self.take(input).await,
                },
                _ = tick.tick() => self.tick(),
            }
            // Not while a job makes what we remove.
            if !self.job_runs
                && let Some(done) = self.removing.take()
            {
                self.take_down(&mut told).await;
                // Whoever asked may have gone.
                let heard = done.send(()).is_ok();
                tracing::info!(load_balancer = %self.spec.id, heard, "load balancer removed");
                return;
            }
            self.settle();
            self.start_stopped();
            self.start_job();
            self.publish();
        }
    }
}
