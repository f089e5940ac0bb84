//! Tells the other servers on a PostgreSQL what was committed.
//!
//! `NOTIFY` inside the transaction that it tells of would make all commits of the database wait for
//! each other: PostgreSQL orders notifications by a lock that is held until the commit is on disk. So
//! it is said right after, on a connection of its own that does not wait for the disk (there is nothing
//! of it to keep), for all commits since the last time at once.
//!
//! Whoever committed waits until it is said: what was acknowledged, others were told. A server that
//! ends between the two has acknowledged nothing; the others find what it did when they look next.

use lb_telemetry::task;
use tokio::sync::{mpsc, oneshot};

use crate::db::{self, Pool};

/// Commits whose telling may be outstanding before the next one waits for room.
const OUTSTANDING_MAX: usize = 1_024;
/// Texts in one statement.
const TOLD_AT_ONCE: usize = 128;

type Telling = (String, oneshot::Sender<()>);

/// Where commits are told; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Teller(mpsc::Sender<Telling>);

impl Teller {
    /// On a connection of its own.
    pub(crate) fn new(pool: Pool) -> Self {
        let (sender, outstanding) = mpsc::channel(OUTSTANDING_MAX);
        task::spawn("tell other servers", tell_all(pool, outstanding));
        Self(sender)
    }

    /// Returns when the other servers have been told, or cannot be.
    pub(crate) async fn tell(&self, text: String) {
        let (sender, told) = oneshot::channel();
        if self.0.send((text, sender)).await.is_ok() {
            // Dropped: it could not be said, which was logged. It is a hint.
            drop(told.await);
        }
    }
}

/// Ends with the last [`Teller`].
async fn tell_all(pool: Pool, mut outstanding: mpsc::Receiver<Telling>) {
    let mut some = Vec::with_capacity(TOLD_AT_ONCE);
    while outstanding.recv_many(&mut some, TOLD_AT_ONCE).await > 0 {
        let (texts, waiting): (Vec<String>, Vec<_>) = some.drain(..).unzip();
        if let Err(error) = db::notify(&pool, &texts).await {
            tracing::warn!(%error, "other servers were not told of a change");
        }
        for one in waiting {
            // Whoever went away need not be told.
            one.send(()).unwrap_or_default();
        }
    }
}
