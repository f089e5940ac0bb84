//! Who changes a load balancer next.
//!
//! A burst of changes of one load balancer is carried out one after another, first come, first
//! served: each waits for its turn, and the one whose turn it is waits for the load balancer to
//! settle. Nobody can be overtaken for ever.
//!
//! The wait is bounded by what is under way, not by how many wait: it ends when for `settle_wait`
//! nothing was done, so that the last of a burst gets through while changes of one that is stuck are
//! answered at once after the bound. [`WAIT_MAX`] bounds it in any case.
//!
//! Left out on purpose: other servers' requests, which are met as collisions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use lb_model::id::LoadBalancerId;
use tokio::{
    sync::{Mutex as Queue, MutexGuard},
    time::{Instant, timeout_at},
};

/// Longest anybody waits, below the time-outs of clients.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Load balancers remembered before those nobody waits for are forgotten.
const REMEMBERED_MAX: usize = 256;

/// The queues of all load balancers that are being changed.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<LoadBalancerId, Weak<Turn>>>);

/// One load balancer's queue.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Queue<()>,
    /// When a change was last carried out.
    progress: Mutex<Instant>,
}

/// How long one request waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    since: Instant,
    wait: Duration,
    limit: Duration,
}

impl Turns {
    pub(crate) fn of(&self, id: LoadBalancerId) -> Arc<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = all.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn {
            queue: Queue::default(),
            progress: Mutex::new(Instant::now()),
        });
        all.insert(id, Arc::downgrade(&turn));
        turn
    }
}

impl Turn {
    /// Waits for the turn; `None`: patience ended first.
    pub(crate) async fn take(&self, patience: Patience) -> Option<MutexGuard<'_, ()>> {
        if let Ok(turn) = self.queue.try_lock() {
            return Some(turn);
        }
        // One future for the whole wait: it is its place in the queue.
        let mut place = std::pin::pin!(self.queue.lock());
        loop {
            let deadline = self.deadline(patience);
            match timeout_at(deadline, &mut place).await {
                Ok(turn) => return Some(turn),
                Err(_) if self.deadline(patience) <= Instant::now() => return None,
                Err(_) => {}
            }
        }
    }

    /// A change was carried out: whoever waits has reason to wait on.
    pub(crate) fn progressed(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When patience ends, as things stand.
    pub(crate) fn deadline(&self, patience: Patience) -> Instant {
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = patience.since + patience.limit;
        (patience.since.max(progress) + patience.wait).min(latest)
    }
}

impl Patience {
    /// From now on.
    pub(crate) fn new(wait: Duration) -> Self {
        Self {
            since: Instant::now(),
            wait,
            limit: WAIT_MAX.max(wait),
        }
    }

    /// Whether there is any.
    pub(crate) const fn is_none(self) -> bool {
        self.wait.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const WAIT: Duration = Duration::from_millis(200);

    fn turn() -> Arc<Turn> {
        Turns::default().of(LoadBalancerId(Uuid::from_u128(1)))
    }

    #[tokio::test]
    async fn without_progress_patience_ends_after_the_bound() {
        let turn = turn();
        let started = Instant::now();
        let _held = turn.take(Patience::new(WAIT)).await.unwrap();
        assert!(turn.take(Patience::new(WAIT)).await.is_none());
        assert!(started.elapsed() >= WAIT);
    }

    #[tokio::test]
    async fn a_long_queue_is_served_in_order_while_it_moves() {
        let turn = turn();
        let order = Arc::new(Mutex::new(Vec::new()));
        let held = turn.take(Patience::new(WAIT)).await.unwrap();
        let waiters: Vec<_> = (0..10)
            .map(|number| {
                let (turn, order) = (Arc::clone(&turn), Arc::clone(&order));
                async move {
                    // Half of the bound each: the last waits five times the bound.
                    let _turn = turn.take(Patience::new(WAIT)).await.unwrap();
                    tokio::time::sleep(WAIT / 2).await;
                    turn.progressed();
                    order.lock().unwrap().push(number);
                }
            })
            .collect();
        drop(held);
        for_all(waiters).await;
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_limit() {
        let turn = turn();
        let started = Instant::now();
        let _held = turn.take(Patience::new(WAIT)).await.unwrap();
        let limited = Patience {
            limit: WAIT * 3,
            ..Patience::new(WAIT)
        };
        let moving = async {
            loop {
                tokio::time::sleep(WAIT / 4).await;
                turn.progressed();
            }
        };
        tokio::select! {
            () = moving => {}
            got = turn.take(limited) => assert!(got.is_none()),
        }
        assert!(started.elapsed() >= WAIT * 3);
    }

    #[test]
    fn what_nobody_waits_for_is_forgotten() {
        let turns = Turns::default();
        for number in 0..10_000_u128 {
            drop(turns.of(LoadBalancerId(Uuid::from_u128(number))));
        }
        assert!(turns.0.lock().unwrap().len() <= REMEMBERED_MAX);
    }

    async fn for_all<F: Future<Output = ()>>(futures: Vec<F>) {
        futures_util::future::join_all(futures).await;
    }
}
