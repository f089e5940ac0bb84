//! The amphora's sign of life: a deadline in shared memory, renewed from the workers' own runtimes,
//! so that a worker that hangs is noticed (lb_common::heartbeat has the rule).
//!
//! Every worker stamps the same word, the newest wins. Without carrier on the amphora's own link
//! nobody stamps: an amphora that cannot be reached must look dead.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lb_common::heartbeat::{BUSY_FOR_NS, BUSY_PERIOD_NS, IDLE_PERIOD_NS};
use lb_sys::{carrier::Carrier, clock::monotonic_ns, heartbeat::HeartbeatWriter};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::counters::Connections;

/// The amphora's link to the edge (its first; the VIP's network).
const LINK: &str = "eth0";

/// Stamps for one process.
#[derive(Debug)]
pub(crate) struct Pulse {
    page: Option<HeartbeatWriter>,
    connections: Arc<Connections>,
    quickened: Notify,
    link: Mutex<Link>,
}

#[derive(Debug)]
struct Link {
    carrier: Option<Carrier>,
    /// Before the link was ever there, its absence says nothing.
    seen: bool,
}

impl Pulse {
    pub(crate) fn new(page: Option<HeartbeatWriter>, connections: Arc<Connections>) -> Self {
        let carrier = match Carrier::watch(LINK) {
            Ok(carrier) => Some(carrier),
            Err(error) => {
                tracing::warn!(%error, "the link is not watched");
                None
            }
        };
        Self {
            page,
            connections,
            quickened: Notify::new(),
            link: Mutex::new(Link {
                carrier,
                seen: false,
            }),
        }
    }

    /// A connection has come: stamp in busy pace at once.
    pub(crate) fn quicken(&self) {
        if self.page.is_some() && self.connections.open() == 1 {
            self.quickened.notify_one();
        }
    }

    /// Stamps for ever.
    pub(crate) async fn run(&self) {
        let Some(page) = &self.page else {
            return;
        };
        loop {
            let now = monotonic_ns();
            let busy = self.is_busy(page, now);
            if self.has_carrier() {
                page.stamp(now, busy);
            }
            if busy {
                sleep(Duration::from_nanos(BUSY_PERIOD_NS)).await;
            } else {
                let idle = Duration::from_nanos(IDLE_PERIOD_NS);
                // Either way it is time for the next stamp.
                drop(timeout(idle, self.quickened.notified()).await);
            }
        }
    }

    fn is_busy(&self, page: &HeartbeatWriter, now: u64) -> bool {
        let traffic = page.traffic_ns();
        self.connections.open() > 0
            || traffic != 0 && now.wrapping_sub(traffic).cast_signed() < BUSY_FOR_NS.cast_signed()
    }

    fn has_carrier(&self) -> bool {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let running = link.carrier.as_ref().map(Carrier::is_running);
        match running {
            Some(Some(running)) => {
                link.seen = true;
                running
            }
            // There is no such link (any more).
            Some(None) => !link.seen,
            None => true,
        }
    }
}
