//! What the gate of a connection and the service behind it tell each other.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::Refusal;

/// Shared by gate and service of one connection. Atomics only because hyper's upgrades ask for
/// `Send`; both ends run on one thread.
#[derive(Debug)]
pub(crate) struct GateState {
    refusal: AtomicU8,
    broken: AtomicBool,
    through: AtomicBool,
    /// Requests that are being answered; more than one in HTTP/2 only.
    busy: AtomicU32,
    started: Instant,
    settled_ms: AtomicU64,
}

impl GateState {
    pub(crate) fn new() -> Self {
        Self {
            refusal: AtomicU8::new(0),
            broken: AtomicBool::new(false),
            through: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            started: Instant::now(),
            settled_ms: AtomicU64::new(0),
        }
    }

    /// Why the gate let nothing more through. Requests before the refused one are not concerned.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        Refusal::from_u8(self.refusal.load(Ordering::Relaxed))
    }

    /// As [`Self::refusal`], when it was a body that broke off: the request it belongs to fails.
    pub(crate) fn broken_body(&self) -> Option<Refusal> {
        self.refusal()
            .filter(|_| self.broken.load(Ordering::Relaxed))
    }

    pub(super) fn refuse(&self, refusal: Refusal, in_body: bool) {
        self.refusal.store(refusal as u8, Ordering::Relaxed);
        self.broken.store(in_body, Ordering::Relaxed);
    }

    /// From now on the connection is a tunnel: nothing is inspected any more.
    pub(crate) fn open(&self) {
        self.through.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.through.load(Ordering::Relaxed)
    }

    /// A request is being answered: silence of the client means nothing.
    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer has gone out, or will not.
    pub(crate) fn settle(&self) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.settled_ms.store(at, Ordering::Relaxed);
        let busy = self.busy.load(Ordering::Relaxed);
        self.busy.store(busy.saturating_sub(1), Ordering::Relaxed);
    }

    /// Since when nothing is being answered; `None` while something is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        if self.busy.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.started + Duration::from_millis(self.settled_ms.load(Ordering::Relaxed)))
    }
}
