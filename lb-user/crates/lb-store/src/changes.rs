//! Who wants to know that something changed, and where: in this process, and on PostgreSQL in every
//! server.
//!
//! All of it is hints. Whoever acts on them reads the database, looks at everything now and then, and
//! does so at once when hints were missed ([`Changed::Everything`]): the connection on which they come
//! was lost, or they came faster than they were taken.

use std::{collections::BTreeSet, fmt::Display, sync::Weak, time::Duration};

use lb_model::id::LoadBalancerId;
use sqlx::postgres::PgListener;
use tokio::sync::{
    broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
    watch,
};
use uuid::Uuid;

use crate::{db, store::Inner};

/// Hints kept for a subscriber; one more and it looks at everything.
const HINTS_KEPT: usize = 4_096;
/// Between attempts to hear other servers again.
const RETRY: Duration = Duration::from_secs(1);

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These load balancers: made, changed or gone.
    These(BTreeSet<LoadBalancerId>),
    /// Hints were missed.
    Everything,
}

#[derive(Clone, Copy, Debug)]
enum Hint {
    LoadBalancer(LoadBalancerId),
    Everything,
}

/// A subscription.
#[derive(Debug)]
pub struct Hints(broadcast::Receiver<Hint>);

impl Hints {
    /// Waits for a change; takes everything that was told by then. `None`: the store is gone.
    /// May be dropped while waiting without losing anything.
    pub async fn next(&mut self) -> Option<Changed> {
        let first = self.0.recv().await;
        let mut these = BTreeSet::new();
        let mut everything = false;
        match first {
            Ok(Hint::LoadBalancer(id)) => {
                these.insert(id);
            }
            Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => everything = true,
            Err(RecvError::Closed) => return None,
        }
        match self.take() {
            Changed::These(more) if !everything => {
                these.extend(more);
                Some(Changed::These(these))
            }
            _missed => Some(Changed::Everything),
        }
    }

    /// What was told since it was last asked; maybe nothing.
    pub fn take(&mut self) -> Changed {
        let mut these = BTreeSet::new();
        let mut everything = false;
        loop {
            match self.0.try_recv() {
                Ok(Hint::LoadBalancer(id)) => {
                    these.insert(id);
                }
                Ok(Hint::Everything) | Err(TryRecvError::Lagged(_)) => everything = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if everything {
            Changed::Everything
        } else {
            Changed::These(these)
        }
    }
}

/// Where hints come together.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Names this process among those that tell, so that it does not hear itself.
    origin: Uuid,
    hints: broadcast::Sender<Hint>,
    count: watch::Sender<u64>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self {
            origin: Uuid::new_v4(),
            hints: broadcast::Sender::new(HINTS_KEPT),
            count: watch::Sender::new(0),
        }
    }

    pub(crate) fn hints(&self) -> Hints {
        Hints(self.hints.subscribe())
    }

    pub(crate) fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// This process among others.
    pub(crate) fn origin(&self) -> String {
        self.origin.to_string()
    }

    /// A number that no other process has.
    pub(crate) fn number(&self) -> u128 {
        self.origin.as_u128()
    }

    /// What other servers are told.
    pub(crate) fn text(&self, id: impl Display) -> String {
        format!("{} {id}", self.origin)
    }

    /// Something changed, but no load balancer.
    pub(crate) fn woken(&self) {
        self.count
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn changed(&self, id: LoadBalancerId) {
        self.tell(Hint::LoadBalancer(id));
    }

    fn tell(&self, hint: Hint) {
        // Nobody listens: nobody is told.
        drop(self.hints.send(hint));
        self.woken();
    }

    fn heard(&self, text: &str) {
        match text.split_once(' ') {
            Some((origin, _)) if origin == self.origin.to_string() => {}
            Some((_, "-")) => self.woken(),
            Some((_, id)) => match id.parse() {
                Ok(id) => self.tell(Hint::LoadBalancer(id)),
                Err(_unknown) => self.tell(Hint::Everything),
            },
            None => self.tell(Hint::Everything),
        }
    }
}

/// Hears other servers until the store is gone. `listener` is the first connection.
pub(crate) async fn listen(store: Weak<Inner>, mut listener: Option<PgListener>) {
    loop {
        let heard = match &mut listener {
            Some(listener) => listener.try_recv().await,
            None => {
                let Some(inner) = store.upgrade() else { return };
                match db::listener(&inner.database).await {
                    Ok(Some(fresh)) => {
                        listener = Some(fresh);
                        tracing::info!("other servers are heard again");
                        inner.feed.tell(Hint::Everything);
                    }
                    Ok(None) => return,
                    Err(_still_away) => tokio::time::sleep(RETRY).await,
                }
                continue;
            }
        };
        let Some(inner) = store.upgrade() else { return };
        match heard {
            Ok(Some(notification)) => inner.feed.heard(notification.payload()),
            // The connection was lost and is there again: what was told meanwhile is not known.
            Ok(None) => inner.feed.tell(Hint::Everything),
            Err(error) => {
                tracing::warn!(%error, "other servers are not heard for now");
                listener = None;
            }
        }
    }
}
