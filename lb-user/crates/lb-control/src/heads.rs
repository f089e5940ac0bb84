//! Every load balancer in short, as the store last had it.
//!
//! Ten thousand of them are compared with what hosts know at every commit, and read at none: what a
//! commit was about is told ([`lb_store::Hints`]) and only that is read again. Everything is read when
//! hints were missed, after a failure, and now and then, because hints are only hints.
//!
//! Brought up to date by whoever looks, so it is never behind what this process was told.

use std::{collections::BTreeMap, time::Duration};

use lb_model::id::LoadBalancerId;
use lb_store::{Changed, Head, Hints, Store};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use crate::error::ControlError;

/// Without any hint everything is read again this often.
const READ_ALL_EVERY: Duration = Duration::from_secs(30);

/// What is known.
pub(crate) type Known = BTreeMap<LoadBalancerId, Head>;

#[derive(Debug)]
pub(crate) struct Heads(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    hints: Hints,
    known: Known,
    /// When everything was read last; `None`: it must be.
    complete: Option<Instant>,
}

/// Looked at while nobody else does.
pub(crate) struct Look<'h>(MutexGuard<'h, Inner>);

impl Look<'_> {
    pub(crate) fn known(&self) -> &Known {
        &self.0.known
    }
}

impl Heads {
    pub(crate) fn new(store: &Store) -> Self {
        Self(Mutex::new(Inner {
            hints: store.hints(),
            known: Known::new(),
            complete: None,
        }))
    }

    /// Every load balancer as of now. Not to be held while waiting for anything.
    pub(crate) async fn look(&self, store: &Store) -> Result<Look<'_>, ControlError> {
        let mut inner = self.0.lock().await;
        let changed = inner.hints.take();
        // Until the reading below has succeeded, what the hints said is not known.
        let complete = inner.complete.take();
        let fresh = complete.filter(|since| since.elapsed() < READ_ALL_EVERY);
        match (fresh, changed) {
            (Some(_), Changed::These(ids)) if ids.is_empty() => inner.complete = complete,
            (Some(_), Changed::These(ids)) => {
                let ids: Vec<LoadBalancerId> = ids.into_iter().collect();
                let heads = store.heads_of(&ids).await?;
                for id in ids {
                    inner.known.remove(&id);
                }
                inner
                    .known
                    .extend(heads.into_iter().map(|head| (head.id, head)));
                inner.complete = complete;
            }
            _incomplete => {
                let now = Instant::now();
                let heads = store.heads().await?;
                inner.known = heads.into_iter().map(|head| (head.id, head)).collect();
                inner.complete = Some(now);
            }
        }
        Ok(Look(inner))
    }
}
