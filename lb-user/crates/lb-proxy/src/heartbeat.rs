//! The amphora's sign of life: a deadline in shared memory, renewed by a thread that does nothing else
//! (lb_common::heartbeat has the rule).
//!
//! A thread beside the workers, because the deadline of a busy amphora is 60 ms away and a worker may
//! be at work for longer than that on a machine that is short of processors (a handshake, a large
//! configuration), which is no reason to fail over. It stamps only while some worker has come round
//! within [`HUNG_AFTER_NS`]: when all of them hang the amphora looks dead; one alone is told in the
//! log. Without carrier on the amphora's own link it does not stamp: who cannot be reached must look
//! dead.
//!
//! It stays on one processor, which the load balancer's id chooses, so that both amphorae of a pair
//! stamp on the same one. A processor that its hypervisor stops, or that the kernel does not give up,
//! then stops both: the standby, which proves by stamps that only the active is late, has made none, and
//! nothing fails over for a pause.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use lb_common::heartbeat::{BUSY_FOR_NS, BUSY_PERIOD_NS, IDLE_PERIOD_NS};
use lb_model::id::LoadBalancerId;
use lb_sys::{
    carrier::Carrier, clock::monotonic_ns, heartbeat::HeartbeatWriter, processor, realtime,
};
use tokio::time::sleep;

use crate::counters::Connections;

/// The amphora's link to the edge (its first; the VIP's network).
const LINK: &str = "eth0";

/// A worker that has not come round for this long hangs.
const HUNG_AFTER_NS: u64 = 2_000_000_000;

/// Between a worker's rounds.
const ROUND: Duration = Duration::from_millis(200);

/// Whoever takes over stamps in busy pace for this long, whatever there is to do: a last busy stamp of
/// the process before it may come after its own first one.
const FRESH_FOR_NS: u64 = 1_000_000_000;

/// Stamps for one process.
#[derive(Debug)]
pub(crate) struct Pulse {
    page: Option<HeartbeatWriter>,
    connections: Arc<Connections>,
    /// When each worker last came round.
    rounds: Vec<AtomicU64>,
    /// Chooses the processor, once there is a load balancer.
    belongs_to: OnceLock<LoadBalancerId>,
    /// Set when there is a page to stamp.
    stamping: OnceLock<Thread>,
    /// Only one process stamps: a successor once it serves, and then the old one no more.
    stamps: AtomicBool,
    fresh_until: AtomicU64,
}

impl Pulse {
    /// For `workers` workers, which all count as having come round now.
    pub(crate) fn new(
        page: Option<HeartbeatWriter>,
        workers: usize,
        connections: Arc<Connections>,
    ) -> Self {
        let now = monotonic_ns();
        Self {
            page,
            connections,
            rounds: (0..workers).map(|_| AtomicU64::new(now)).collect(),
            belongs_to: OnceLock::new(),
            stamping: OnceLock::new(),
            stamps: AtomicBool::new(false),
            fresh_until: AtomicU64::new(0),
        }
    }

    /// Says whose amphora this is. The first word counts: an amphora never changes its load balancer.
    pub(crate) fn belongs_to(&self, load_balancer: LoadBalancerId) {
        self.belongs_to.get_or_init(|| load_balancer);
    }

    /// Another process stamps from now on.
    pub(crate) fn cease(&self) {
        self.stamps.store(false, Ordering::Relaxed);
    }

    /// Starts the thread that stamps, once [`Self::begin`] says so: the first of the process, because it
    /// alone keeps the priority that the process began with.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        if self.page.is_some() {
            let pulse = Arc::clone(self);
            let thread = thread::Builder::new()
                .name("heartbeat".to_owned())
                .spawn(move || pulse.beside())?;
            // Only the first would be set; there is one page.
            drop(self.stamping.set(thread.thread().clone()));
        }
        realtime::give_up()
    }

    /// Stamps from now on, until the process ends or another stamps. `succeeds`: another process has
    /// stamped until now.
    pub(crate) fn begin(&self, succeeds: bool) {
        if succeeds {
            let fresh_until = monotonic_ns().wrapping_add(FRESH_FOR_NS);
            self.fresh_until.store(fresh_until, Ordering::Relaxed);
        }
        self.stamps.store(true, Ordering::Relaxed);
        if let Some(thread) = self.stamping.get() {
            thread.unpark();
        }
    }

    /// A connection has come: stamp in busy pace at once.
    pub(crate) fn quicken(&self) {
        if self.connections.open() == 1
            && let Some(thread) = self.stamping.get()
        {
            thread.unpark();
        }
    }

    /// Runs on worker `index` for ever.
    pub(crate) async fn run(&self, index: usize) {
        loop {
            if let Some(round) = self.rounds.get(index) {
                round.store(monotonic_ns(), Ordering::Relaxed);
            }
            sleep(ROUND).await;
        }
    }

    fn beside(&self) {
        if let Err(error) = realtime::keep() {
            tracing::debug!(%error, "the heartbeat has no real-time priority");
        }
        let mut link = Link::watch();
        let mut hung = 0;
        let mut is_at_home = false;
        loop {
            if !is_at_home && let Some(load_balancer) = self.belongs_to.get() {
                is_at_home = true;
                if let Err(error) = processor::stay(load_balancer.0.as_u128()) {
                    tracing::warn!(%error, "the heartbeat stays on no processor");
                }
            }
            let now = monotonic_ns();
            let hang = self.hanging(now);
            if hang != hung {
                tracing::warn!(
                    hang,
                    workers = self.rounds.len(),
                    "workers that do not come round"
                );
                hung = hang;
            }
            let period = self.stamp(&mut link, now, hang < self.rounds.len());
            // Ends sooner when a connection comes.
            thread::park_timeout(period);
        }
    }

    /// Stamps when there is reason to, and says when to come again.
    fn stamp(&self, link: &mut Link, now: u64, is_alive: bool) -> Duration {
        let busy = self.page.as_ref().is_some_and(|page| {
            let busy = self.is_busy(page, now);
            if is_alive && self.stamps.load(Ordering::Relaxed) && link.has_carrier() {
                page.stamp(now, busy);
            }
            busy
        });
        Duration::from_nanos(if busy { BUSY_PERIOD_NS } else { IDLE_PERIOD_NS })
    }

    fn is_busy(&self, page: &HeartbeatWriter, now: u64) -> bool {
        let traffic = page.traffic_ns();
        self.connections.open() > 0
            || now < self.fresh_until.load(Ordering::Relaxed)
            || traffic != 0 && now.wrapping_sub(traffic).cast_signed() < BUSY_FOR_NS.cast_signed()
    }

    /// How many workers have not come round for long.
    fn hanging(&self, now: u64) -> usize {
        let hangs =
            |round: &&AtomicU64| now.saturating_sub(round.load(Ordering::Relaxed)) >= HUNG_AFTER_NS;
        self.rounds.iter().filter(hangs).count()
    }
}

#[derive(Debug)]
struct Link {
    carrier: Option<Carrier>,
    /// Before the link was ever there, its absence says nothing.
    seen: bool,
}

impl Link {
    fn watch() -> Self {
        let carrier = Carrier::watch(LINK)
            .inspect_err(|error| tracing::warn!(%error, "the link is not watched"))
            .ok();
        Self {
            carrier,
            seen: false,
        }
    }

    fn has_carrier(&mut self) -> bool {
        match self.carrier.as_ref().map(Carrier::is_running) {
            Some(Some(running)) => {
                self.seen = true;
                running
            }
            // There is no such link (any more).
            Some(None) => !self.seen,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_do_not_come_round_hang() {
        let pulse = Pulse::new(None, 2, Arc::new(Connections::default()));
        let now = monotonic_ns();
        assert_eq!(pulse.hanging(now), 0);
        pulse.rounds[1].store(now - HUNG_AFTER_NS, Ordering::Relaxed);
        assert_eq!(pulse.hanging(now), 1);
    }
}
