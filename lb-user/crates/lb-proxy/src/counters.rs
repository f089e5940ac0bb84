//! Counters. Each worker writes its own; the control thread adds them up.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lb_model::{id::ListenerId, spec::ListenerReport};
use tokio::sync::Notify;

/// Of one listener in one worker.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    active: AtomicU64,
    total: AtomicU64,
    errors: AtomicU64,
}

impl ListenerCounters {
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A request that could not be answered properly.
    pub(crate) fn request_failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}

/// Client connections of the whole process.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicU64,
    /// Woken when the last one has gone.
    pub(crate) none_left: Notify,
}

impl Connections {
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends when there is no connection.
    pub(crate) async fn all_closed(&self) {
        loop {
            let mut none_left = pin!(self.none_left.notified());
            none_left.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            none_left.await;
        }
    }
}

/// Counts one connection as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    listener: Arc<ListenerCounters>,
    process: Arc<Connections>,
}

impl OpenConnection {
    pub(crate) fn count(listener: &Arc<ListenerCounters>, process: &Arc<Connections>) -> Self {
        listener.total.fetch_add(1, Ordering::Relaxed);
        listener.active.fetch_add(1, Ordering::Relaxed);
        process.open.fetch_add(1, Ordering::Relaxed);
        Self {
            listener: Arc::clone(listener),
            process: Arc::clone(process),
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.listener.active.fetch_sub(1, Ordering::Relaxed);
        if self.process.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Workers that wait for their end, and the control thread whenever it looks next.
            self.process.none_left.notify_waiters();
            self.process.none_left.notify_one();
        }
    }
}

/// Every listener's counters, kept across changes of configuration.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    listeners: HashMap<ListenerId, Vec<Arc<ListenerCounters>>>,
}

impl Registry {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            listeners: HashMap::new(),
        }
    }

    /// These listeners exist from now on; what others counted is forgotten.
    pub(crate) fn keep(&mut self, ids: &[ListenerId]) {
        self.listeners.retain(|id, _| ids.contains(id));
        for id in ids {
            self.listeners.entry(*id).or_insert_with(|| {
                std::iter::repeat_with(Arc::default)
                    .take(self.workers)
                    .collect()
            });
        }
    }

    /// The counters that `worker` writes.
    pub(crate) fn of_worker(&self, worker: usize) -> HashMap<ListenerId, Arc<ListenerCounters>> {
        self.listeners
            .iter()
            .filter_map(|(id, workers)| Some((*id, Arc::clone(workers.get(worker)?))))
            .collect()
    }

    /// Sums over workers, in order of ids.
    pub(crate) fn reports(&self) -> Vec<ListenerReport> {
        let mut reports: Vec<_> = self
            .listeners
            .iter()
            .map(|(id, workers)| {
                let sum = |pick: fn(&ListenerCounters) -> &AtomicU64| {
                    workers
                        .iter()
                        .map(|counters| pick(counters).load(Ordering::Relaxed))
                        .sum()
                };
                ListenerReport {
                    id: *id,
                    bytes_in: sum(|counters| &counters.bytes_in),
                    bytes_out: sum(|counters| &counters.bytes_out),
                    active_connections: sum(|counters| &counters.active),
                    total_connections: sum(|counters| &counters.total),
                    request_errors: sum(|counters| &counters.errors),
                }
            })
            .collect();
        reports.sort_unstable_by_key(|report| report.id);
        reports
    }
}
