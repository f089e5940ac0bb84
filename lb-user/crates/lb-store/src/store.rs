//! The store: one per server process.
//!
//! Every write is one transaction on the one writing connection. It is committed by a task of its
//! own, so that a caller that goes away in the middle cannot lose the wake-up of what was committed.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex},
};

use lb_model::{id::SubnetId, time::Timestamp};
use tokio::sync::watch;

use crate::{
    capability::Remembered,
    db::{Database, Transaction, query},
    error::StoreError,
    lock::StateLock,
    network::NetworkDriver,
    secret::{opened::Opened, seal::SealKey},
};

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
    pub(crate) opened: Opened,
    pub(crate) capabilities: Remembered,
    changes: watch::Sender<u64>,
    _lock: StateLock,
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

impl Store {
    /// Opens the store of a state directory, made if missing, for this process working as `role`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open; anything that keeps the files from
    /// being used.
    pub async fn open(
        state_dir: &Path,
        role: &str,
        networks: Arc<dyn NetworkDriver>,
    ) -> Result<Self, StoreError> {
        make_private_dir(state_dir)?;
        let lock = StateLock::acquire(state_dir, role)?;
        let seal = SealKey::load_or_create(state_dir)?;
        let database = Database::open(state_dir).await?;
        let inner = Inner {
            database,
            networks,
            seal,
            last_given: Mutex::default(),
            opened: Opened::default(),
            capabilities: Remembered::default(),
            changes: watch::Sender::new(0),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Wakes after every committed change of a tree, amphora or port. A hint: what changed is read
    /// with [`Store::generations`]; the number means nothing but "again".
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
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
        self.inner.database.read.close().await;
        self.inner.database.write.close().await;
    }

    pub(crate) async fn begin_write(&self) -> Result<Transaction, StoreError> {
        self.inner.database.write.begin().await
    }

    pub(crate) async fn begin_read(&self) -> Result<Transaction, StoreError> {
        self.inner.database.read.begin_read().await
    }

    /// Commits and wakes, also when the caller is dropped meanwhile.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let commit = lb_telemetry::task::spawn("store commit", async move {
            let done = transaction.commit().await;
            inner
                .changes
                .send_modify(|count| *count = count.wrapping_add(1));
            done
        });
        match commit.await {
            Ok(Some(done)) => done,
            Ok(None) | Err(_) => Err(StoreError::Internal("the commit was not finished")),
        }
    }
}

fn make_private_dir(path: &Path) -> Result<(), StoreError> {
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
