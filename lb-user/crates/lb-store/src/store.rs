//! The store: one per server process.
//!
//! Every write is one transaction. It is committed by a task of its own, so that a caller that goes
//! away in the middle cannot lose the wake-up of what was committed.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lb_model::{
    id::{LoadBalancerId, SubnetId},
    time::Timestamp,
};
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    boxed::Boxed,
    capability::Remembered,
    changes::{self, Feed, Hints},
    db::{self, Database, DatabaseSettings, Transaction, query},
    error::StoreError,
    lock::StateLock,
    network::NetworkDriver,
    notify::Teller,
    secret::{KeySource, seal::SealKey},
};

/// Events are numbered after so many changes, if nobody reads them before.
const EVENTS_NUMBERED_EVERY: u64 = 256;

/// A handle on the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) networks: Arc<dyn NetworkDriver>,
    pub(crate) seal: SealKey,
    /// Last address given out per subnet. Search goes on behind it, so that an address that was just
    /// freed is the last to be given out again.
    pub(crate) last_given: Mutex<HashMap<SubnetId, u128>>,
    pub(crate) capabilities: Remembered,
    pub(crate) feed: Feed,
    /// Where other servers are told; `None` on SQLite, which has none.
    teller: Option<Teller>,
    /// How many changes were committed.
    changes: AtomicU64,
    listening: Mutex<Option<AbortHandle>>,
    /// On SQLite one process has the state directory; on PostgreSQL several may share it.
    _lock: Option<StateLock>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("networks", &self.inner.networks)
            .finish_non_exhaustive()
    }
}

/// The time now, as the model counts it.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

impl Inner {
    fn listening(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        // Replaced as a whole, so never half.
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.listening().take() {
            task.abort();
        }
    }
}

impl Store {
    /// Opens the store of a state directory, made if missing, for this process working as `role`:
    /// with SQLite.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open; anything that keeps the files from
    /// being used.
    pub async fn open(
        state_dir: &Path,
        role: &str,
        networks: Arc<dyn NetworkDriver>,
    ) -> Result<Self, StoreError> {
        Self::open_on(&DatabaseSettings::default(), state_dir, role, networks).await
    }

    /// Opens the store on a database; keys and what else is no rows are in the state directory.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::Unavailable`] when the database does not answer.
    pub async fn open_on(
        settings: &DatabaseSettings,
        state_dir: &Path,
        role: &str,
        networks: Arc<dyn NetworkDriver>,
    ) -> Result<Self, StoreError> {
        make_private_dir(state_dir)?;
        let lock = match &settings.url {
            Some(_several_processes) => None,
            None => Some(StateLock::acquire(state_dir, role)?),
        };
        let database = Database::open(settings, state_dir).await?;
        let seal = seal_key(&database, settings, state_dir).await?;
        let listener = db::listener(&database).await?;
        let inner = Inner {
            teller: db::forgetful(&database).map(Teller::new),
            database,
            networks,
            seal,
            last_given: Mutex::default(),
            changes: AtomicU64::new(0),
            capabilities: Remembered::default(),
            feed: Feed::new(),
            listening: Mutex::default(),
            _lock: lock,
        };
        let inner = Arc::new(inner);
        if listener.is_some() {
            let listen = changes::listen(Arc::downgrade(&inner), listener);
            let task = lb_telemetry::task::spawn("changes", listen);
            *inner.listening() = Some(task.abort_handle());
        }
        Ok(Self { inner })
    }

    /// Wakes after every committed change of a tree, amphora or port, whichever server made it. A
    /// hint: what changed is read; the number means nothing but "again".
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.feed.count()
    }

    /// As [`Store::changes`], with the load balancers that it is about.
    #[must_use]
    pub fn hints(&self) -> Hints {
        self.inner.feed.hints()
    }

    /// The networks addresses are taken from.
    #[must_use]
    pub fn networks(&self) -> &dyn NetworkDriver {
        self.inner.networks.as_ref()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What it answers instead.
    pub async fn ping(&self) -> Result<(), StoreError> {
        query("SELECT 1").execute(&self.inner.database.read).await?;
        Ok(())
    }

    /// Closes the database: waits for what runs, then writes the log back into the file.
    pub async fn close(&self) {
        if let Some(task) = self.inner.listening().take() {
            task.abort();
        }
        self.inner.database.read.close().await;
        self.inner.database.write.close().await;
    }

    pub(crate) async fn begin_write(&self) -> Result<Transaction, StoreError> {
        self.inner.database.write.begin().await
    }

    pub(crate) async fn begin_read(&self) -> Result<Transaction, StoreError> {
        self.inner.database.read.begin_read().await
    }

    /// Commits what is nobody's concern who converges: no load balancer changed by it.
    pub(crate) fn commit<'f>(
        &'f self,
        transaction: Transaction,
    ) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move { self.commit_and_tell(transaction, |_feed| {}, None).await })
    }

    /// Commits what somebody may wait for though no load balancer changed, and wakes.
    pub(crate) async fn commit_and_wake(&self, transaction: Transaction) -> Result<(), StoreError> {
        let others = self.inner.feed.text("-");
        self.commit_and_tell(transaction, Feed::woken, Some(others))
            .await
    }

    /// Commits a change of a load balancer and wakes whoever waits for one, in every server, also
    /// when the caller is dropped meanwhile.
    pub(crate) fn commit_change<'f>(
        &'f self,
        transaction: Transaction,
        id: LoadBalancerId,
    ) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let changes = self.inner.changes.fetch_add(1, Ordering::Relaxed);
            if changes % EVENTS_NUMBERED_EVERY == EVENTS_NUMBERED_EVERY - 1 {
                let store = self.clone();
                lb_telemetry::task::spawn("number events", async move {
                    if let Err(error) = store.number_events().await {
                        tracing::warn!(%error, "events are not numbered yet");
                    }
                });
            }
            let others = self.inner.feed.text(id);
            self.commit_and_tell(transaction, move |feed| feed.changed(id), Some(others))
                .await
        })
    }

    async fn commit_and_tell(
        &self,
        transaction: Transaction,
        tell: impl FnOnce(&Feed) + Send + 'static,
        others: Option<String>,
    ) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let commit = lb_telemetry::task::spawn("store commit", async move {
            let done = transaction.commit().await;
            tell(&inner.feed);
            if let (Ok(()), Some(teller), Some(text)) = (&done, &inner.teller, others) {
                teller.tell(text).await;
            }
            done
        });
        match commit.await {
            Ok(Some(done)) => done,
            Ok(None) | Err(_) => Err(StoreError::Internal("the commit was not finished")),
        }
    }
}

/// The key of the secrets. Of several servers on one database one may have been started without the
/// others' key, which nobody configured: it does everything else.
async fn seal_key(
    database: &Database,
    settings: &DatabaseSettings,
    state_dir: &Path,
) -> Result<SealKey, StoreError> {
    let source = &settings.secrets_key;
    match SealKey::open_for(database, source, state_dir).await {
        Err(error @ (StoreError::WrongKey(_) | StoreError::File { .. }))
            if settings.url.is_some() && *source == KeySource::StateDir =>
        {
            tracing::error!(%error, "this server cannot open secrets");
            Ok(SealKey::absent(state_dir))
        }
        other => other,
    }
}

pub(crate) fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;

    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })
}
