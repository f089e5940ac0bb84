//! The amphora's sign of life: a deadline in shared memory, renewed by a thread that does nothing
//! else (lb_common::heartbeat has the rule).
//!
//! A thread of its own, because the deadline of a busy amphora is 60 ms away and a worker may be at
//! work for longer than that on a machine that is short of processors (a handshake, a large
//! configuration), which is no reason to fail over. The thread stamps only while every worker has
//! come round within [`HUNG_AFTER_NS`]: one that hangs makes the amphora look dead. Without carrier
//! on the amphora's own link nothing is stamped either: who cannot be reached must look dead.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use lb_common::heartbeat::{BUSY_FOR_NS, BUSY_PERIOD_NS, IDLE_PERIOD_NS};
use lb_sys::{carrier::Carrier, clock::monotonic_ns, heartbeat::HeartbeatWriter};
use tokio::time::sleep;

use crate::counters::Connections;

/// The amphora's link to the edge (its first; the VIP's network).
const LINK: &str = "eth0";

/// Between a worker's signs to the thread that stamps.
const ROUND: Duration = Duration::from_millis(500);

/// A worker that has not come round for this long hangs.
const HUNG_AFTER_NS: u64 = 2_000_000_000;

/// Stamps for one process.
#[derive(Debug)]
pub(crate) struct Pulse {
    connections: Arc<Connections>,
    /// When each worker last came round.
    rounds: Vec<AtomicU64>,
    /// Set when there is a page to stamp.
    stamping: OnceLock<Thread>,
}

impl Pulse {
    /// For `workers` workers, which all count as having come round now.
    pub(crate) fn new(workers: usize, connections: Arc<Connections>) -> Self {
        let now = monotonic_ns();
        Self {
            connections,
            rounds: (0..workers).map(|_| AtomicU64::new(now)).collect(),
            stamping: OnceLock::new(),
        }
    }

    /// Stamps `page` from now on, until the process ends.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(self: &Arc<Self>, page: HeartbeatWriter) -> io::Result<()> {
        let pulse = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || pulse.stamp(&page))?;
        // Only the first would be set; there is one page.
        drop(self.stamping.set(thread.thread().clone()));
        Ok(())
    }

    /// A connection has come: stamp in busy pace at once.
    pub(crate) fn quicken(&self) {
        if self.connections.open() == 1
            && let Some(thread) = self.stamping.get()
        {
            thread.unpark();
        }
    }

    /// Runs on worker `index` for ever, as a sign that it does not hang.
    pub(crate) async fn come_round(&self, index: usize) {
        loop {
            if let Some(round) = self.rounds.get(index) {
                round.store(monotonic_ns(), Ordering::Relaxed);
            }
            sleep(ROUND).await;
        }
    }

    fn stamp(&self, page: &HeartbeatWriter) {
        let mut link = Link::watch();
        loop {
            let now = monotonic_ns();
            let busy = self.is_busy(page, now);
            if link.has_carrier() && self.all_come_round(now) {
                page.stamp(now, busy);
            }
            let period = if busy { BUSY_PERIOD_NS } else { IDLE_PERIOD_NS };
            // Ends sooner when a connection comes.
            thread::park_timeout(Duration::from_nanos(period));
        }
    }

    fn is_busy(&self, page: &HeartbeatWriter, now: u64) -> bool {
        let traffic = page.traffic_ns();
        self.connections.open() > 0
            || traffic != 0 && now.wrapping_sub(traffic).cast_signed() < BUSY_FOR_NS.cast_signed()
    }

    fn all_come_round(&self, now: u64) -> bool {
        self.rounds
            .iter()
            .all(|round| now.saturating_sub(round.load(Ordering::Relaxed)) < HUNG_AFTER_NS)
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
    fn one_worker_that_hangs_is_enough_to_look_dead() {
        let pulse = Pulse::new(2, Arc::new(Connections::default()));
        let now = monotonic_ns();
        assert!(pulse.all_come_round(now));
        pulse.rounds[1].store(now - HUNG_AFTER_NS, Ordering::Relaxed);
        assert!(!pulse.all_come_round(now));
    }
}
