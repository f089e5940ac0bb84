//! Counters. Each worker writes its own, with plain stores; whoever reports adds them up.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use lb_model::{
    id::{ListenerId, MemberId, PoolId},
    spec::ListenerReport,
};
use tokio::sync::Notify;

use crate::config::Snapshot;

/// A number that one thread changes and any may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A plain store: there is no other writer.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    fn raise(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }
}

/// How many there are now, were at most, and were ever.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) now: Counter,
    pub(crate) max: Counter,
    pub(crate) total: Counter,
}

impl Gauge {
    pub(crate) fn enter(&self) {
        self.now.increment();
        self.max.raise(self.now.get());
        self.total.increment();
    }

    pub(crate) fn leave(&self) {
        self.now.set(self.now.get().saturating_sub(1));
    }
}

/// Answers by class: 1xx to 5xx, then others.
#[derive(Debug, Default)]
pub(crate) struct Answers([Counter; 6]);

impl Answers {
    pub(crate) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        let index = if (1..=5).contains(&class) {
            class - 1
        } else {
            5
        };
        if let Some(counter) = self.0.get(index) {
            counter.increment();
        }
    }

    pub(crate) fn all(&self) -> [u64; 6] {
        self.0.each_ref().map(Counter::get)
    }
}

/// An average over about the last [`Self::SAMPLES`], and the largest ever; microseconds.
#[derive(Debug, Default)]
pub(crate) struct Average {
    sum: Counter,
    samples: Counter,
    pub(crate) max: Counter,
}

impl Average {
    const SAMPLES: u64 = 1024;

    pub(crate) fn note(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let samples = self.samples.get();
        if samples < Self::SAMPLES {
            self.samples.set(samples + 1);
            self.sum.add(time);
        } else {
            let sum = self.sum.get();
            self.sum.set(sum - sum / Self::SAMPLES + time);
        }
        self.max.raise(time);
    }

    pub(crate) fn value(&self) -> u64 {
        self.sum.get() / self.samples.get().max(1)
    }
}

/// Of one listener in one worker.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) connections: Gauge,
    pub(crate) errors: Counter,
    pub(crate) requests: Counter,
    pub(crate) answers: Answers,
    /// Refused by a policy.
    pub(crate) denied: Counter,
    /// Answered here, without a member.
    pub(crate) intercepted: Counter,
}

impl ListenerCounters {
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.add(bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_out.add(bytes as u64);
    }

    /// A request that could not be answered properly.
    pub(crate) fn request_failed(&self) {
        self.errors.increment();
    }
}

/// Of one member of a pool under a listener, in one worker.
#[derive(Debug, Default)]
pub(crate) struct MemberCounters {
    /// Exchanges, or connections where there is no HTTP.
    pub(crate) sessions: Gauge,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) connects: Counter,
    pub(crate) reuses: Counter,
    pub(crate) connect_errors: Counter,
    pub(crate) answer_errors: Counter,
    pub(crate) retries: Counter,
    pub(crate) redispatches: Counter,
    pub(crate) client_aborts: Counter,
    pub(crate) server_aborts: Counter,
    /// Chosen by the algorithm, not by a tie.
    pub(crate) balanced: Counter,
    pub(crate) answers: Answers,
    pub(crate) connect_time: Average,
    pub(crate) answer_time: Average,
    pub(crate) total_time: Average,
}

/// Of one pool under a listener in one worker: what concerns no member.
#[derive(Debug, Default)]
pub(crate) struct PoolCounters {
    /// Requests no member could be found for.
    pub(crate) without_member: Counter,
}

/// Room for connections of one listener, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Room {
    open: AtomicU64,
    /// Woken when one has gone, or the limit may have changed.
    pub(crate) freed: Notify,
}

impl Room {
    /// Takes a place if there are fewer than `limit` taken.
    pub(crate) fn take(&self, limit: u64) -> bool {
        let more = |open| (open < limit).then_some(open + 1);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_one();
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

/// Counts one connection, which has taken its place in `room`, as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    listener: Arc<ListenerCounters>,
    room: Arc<Room>,
    process: Arc<Connections>,
}

impl OpenConnection {
    pub(crate) fn count(
        listener: &Arc<ListenerCounters>,
        room: &Arc<Room>,
        process: &Arc<Connections>,
    ) -> Self {
        listener.connections.enter();
        process.open.fetch_add(1, Ordering::Relaxed);
        Self {
            listener: Arc::clone(listener),
            room: Arc::clone(room),
            process: Arc::clone(process),
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.listener.connections.leave();
        self.room.give_back();
        if self.process.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Workers that wait for their end, and the control thread whenever it looks next.
            self.process.none_left.notify_waiters();
            self.process.none_left.notify_one();
        }
    }
}

/// Everything that is counted, by object and worker: made by the control thread, kept across changes
/// of configuration.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) listeners: HashMap<ListenerId, ListenerMetrics>,
}

/// Of one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerMetrics {
    pub(crate) workers: Vec<Arc<ListenerCounters>>,
    pub(crate) room: Arc<Room>,
    /// A pool under two listeners is two, as in HAProxy.
    pub(crate) pools: HashMap<PoolId, PoolMetrics>,
}

/// Of one pool under a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolMetrics {
    pub(crate) workers: Vec<Arc<PoolCounters>>,
    pub(crate) members: HashMap<MemberId, Vec<Arc<MemberCounters>>>,
}

impl Metrics {
    /// For what `snapshot` serves; what is served already goes on counting, of the rest nothing is
    /// kept.
    pub(crate) fn next(&self, snapshot: &Snapshot, workers: usize) -> Self {
        let mut next = Self::default();
        for config in &snapshot.listeners {
            let before = self.listeners.get(&config.id);
            let mut listener = ListenerMetrics {
                workers: each(before.map(|before| &before.workers), workers),
                room: before
                    .map(|before| Arc::clone(&before.room))
                    .unwrap_or_default(),
                pools: HashMap::new(),
            };
            for pool in config.pools().filter_map(|id| snapshot.pools.get(&id)) {
                let before = before.and_then(|before| before.pools.get(&pool.id));
                let members = pool.members.iter().map(|member| {
                    let before = before.and_then(|before| before.members.get(&member.id));
                    (member.id, each(before, workers))
                });
                let pool_metrics = PoolMetrics {
                    workers: each(before.map(|before| &before.workers), workers),
                    members: members.collect(),
                };
                listener.pools.insert(pool.id, pool_metrics);
            }
            next.listeners.insert(config.id, listener);
        }
        next
    }

    /// Sums over workers, in order of ids.
    pub(crate) fn reports(&self) -> Vec<ListenerReport> {
        let mut reports: Vec<_> = self
            .listeners
            .iter()
            .map(|(id, listener)| {
                let sum = |pick: fn(&ListenerCounters) -> &Counter| {
                    let workers = listener.workers.iter();
                    workers.map(|counters| pick(counters).get()).sum()
                };
                ListenerReport {
                    id: *id,
                    bytes_in: sum(|counters| &counters.bytes_in),
                    bytes_out: sum(|counters| &counters.bytes_out),
                    active_connections: sum(|counters| &counters.connections.now),
                    total_connections: sum(|counters| &counters.connections.total),
                    request_errors: sum(|counters| &counters.errors),
                }
            })
            .collect();
        reports.sort_unstable_by_key(|report| report.id);
        reports
    }
}

/// One a worker: the same as before, as far as there were any.
fn each<T: Default>(before: Option<&Vec<Arc<T>>>, workers: usize) -> Vec<Arc<T>> {
    let mut all = before.cloned().unwrap_or_default();
    all.resize_with(workers, Arc::default);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_of_what_was_noted_and_follow_the_newest() {
        let average = Average::default();
        assert_eq!(average.value(), 0);
        average.note(Duration::from_micros(100));
        average.note(Duration::from_micros(300));
        assert_eq!((average.value(), average.max.get()), (200, 300));
        for _ in 0..20_000 {
            average.note(Duration::from_micros(50));
        }
        assert!((45..=55).contains(&average.value()), "{}", average.value());
    }

    #[test]
    fn a_room_holds_as_many_as_its_limit_says_now() {
        let room = Room::default();
        assert!(room.take(1) && !room.take(1) && room.take(2));
        room.give_back();
        assert!(!room.take(1) && room.take(2));
    }
}
