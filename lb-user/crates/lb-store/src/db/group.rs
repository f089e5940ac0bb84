//! SQLite's one writing connection, which is taken by turns. What several turns wrote is made durable
//! by one commit.
//!
//! Why: a commit takes what the disk takes to be sure (`synchronous=FULL`), milliseconds, of which a
//! request's statements are a fraction. So turns that follow each other share a transaction. Each is a
//! savepoint in it, which is released when the request is done and undone when it gave up. Whoever is
//! done lets the next go on and waits for the commit, which queues up for the connection behind those
//! who were waiting then. With nobody waiting it comes at once, so that nobody waits for company.
//!
//! Invariants: nobody is told of a commit before it is on disk, and nobody else sees it before; a turn
//! that gave up, or whose caller went away, leaves nothing; where the commit fails, everyone in it is
//! told so. There is always a savepoint to go back to: the end of one is the beginning of the next.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex as Queue, OwnedMappedMutexGuard, OwnedMutexGuard, oneshot};

use crate::error::StoreError;

const OPEN: &str = "BEGIN IMMEDIATE; SAVEPOINT turn";
const KEEP: &str = "RELEASE turn; SAVEPOINT turn";
const UNDO: &str = "ROLLBACK TO turn";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// The connection and who waits for it, first come, first served.
pub(crate) struct Group {
    options: SqliteConnectOptions,
    connection: Arc<Queue<Option<SqliteConnection>>>,
    batch: Mutex<Batch>,
    /// How many wait for their turn.
    queued: AtomicUsize,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Batch {
    stage: Stage,
    /// A turn may have written something that it has not kept.
    is_dirty: bool,
    /// The connection answered with an error that only a new one may not have.
    is_broken: bool,
    /// A commit is queued already.
    is_ending: bool,
    /// Nobody gets a turn any more.
    is_closed: bool,
    /// Whose turns are in the transaction, and wait for its commit.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Closed,
    /// Begun, but whether the database knows is not known.
    Opening,
    Open,
}

/// One turn with the connection. Undone unless it is committed.
pub(crate) struct Turn {
    group: Arc<Group>,
    connection: OwnedMappedMutexGuard<Option<SqliteConnection>, SqliteConnection>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

/// Counts one who waits, also when it stops waiting.
struct Queued<'g>(&'g AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Group {
    /// On a connection that is open already.
    pub(crate) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Arc<Self> {
        Arc::new(Self {
            options,
            connection: Arc::new(Queue::new(Some(connection))),
            batch: Mutex::default(),
            queued: AtomicUsize::new(0),
        })
    }

    /// Waits for the connection.
    pub(crate) async fn turn(self: &Arc<Self>) -> Result<Turn, StoreError> {
        let mut turn = self.queue().await?;
        turn.recover().await;
        turn.open().await?;
        Ok(turn)
    }

    /// Commits what is open and closes the connection.
    pub(crate) async fn close(self: &Arc<Self>) {
        if let Ok(mut turn) = self.queue().await {
            turn.end().await;
        }
        self.batch().is_closed = true;
        let connection = self.connection.lock().await.take();
        if let Some(connection) = connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database was not closed properly");
        }
    }

    async fn queue(self: &Arc<Self>) -> Result<Turn, StoreError> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let queued = Queued(&self.queued);
        let mut guard = Arc::clone(&self.connection).lock_owned().await;
        drop(queued);
        if self.batch().is_closed {
            return Err(StoreError::Unavailable(sqlx::Error::PoolClosed));
        }
        if std::mem::take(&mut self.batch().is_broken) {
            *guard = None;
        }
        let connection = match OwnedMutexGuard::try_map(guard, Option::as_mut) {
            Ok(connection) => connection,
            Err(mut guard) => {
                *guard = Some(self.options.connect().await?);
                OwnedMutexGuard::try_map(guard, Option::as_mut)
                    .map_err(|_none| StoreError::Internal("the connection is gone"))?
            }
        };
        Ok(Turn {
            group: Arc::clone(self),
            connection,
        })
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        // Every field says what it says after any single step.
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the transaction ends, whoever comes or does not come.
    fn end_soon(self: &Arc<Self>) {
        if std::mem::replace(&mut self.batch().is_ending, true) {
            return;
        }
        if tokio::runtime::Handle::try_current().is_err() {
            // Everything ends, and with the connection what was not committed.
            return;
        }
        let group = Arc::clone(self);
        lb_telemetry::task::spawn("database commit", async move {
            let turn = group.queue().await;
            group.batch().is_ending = false;
            match turn {
                Ok(mut turn) => turn.end().await,
                Err(error) => group.batch().fail(&error.to_string()),
            }
        });
    }
}

impl Batch {
    /// What the turn wrote is part of the transaction.
    fn keep(&mut self, waiting: oneshot::Sender<Result<(), String>>) {
        self.is_dirty = false;
        self.waiting.push(waiting);
    }

    /// Nothing of the transaction is left.
    fn fail(&mut self, why: &str) {
        self.stage = Stage::Closed;
        self.is_dirty = false;
        for waiting in self.waiting.drain(..) {
            // One who went away need not be told.
            drop(waiting.send(Err(why.to_owned())));
        }
    }
}

impl Turn {
    /// Waits until what this turn wrote is on disk. Goes on when the caller does not wait.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let kept = lb_telemetry::task::spawn("database turn", self.keep());
        match kept.await {
            Ok(Some(done)) => done,
            Ok(None) | Err(_) => Err(StoreError::Internal("the commit was not finished")),
        }
    }

    /// Undoes it now.
    pub(crate) async fn rollback(mut self) {
        self.recover().await;
    }

    async fn keep(mut self) -> Result<(), StoreError> {
        let (sender, committed) = oneshot::channel();
        if self.group.queued.load(Ordering::Relaxed) == 0 {
            self.group.batch().keep(sender);
            self.end().await;
        } else {
            if let Err(error) = self.run(KEEP).await {
                self.give_up(&error).await;
                return Err(error.into());
            }
            self.group.batch().keep(sender);
        }
        // Whoever is next may go on; if nobody is, the transaction still ends.
        drop(self);
        match committed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(StoreError::Database(sqlx::Error::Protocol(why))),
            Err(_dropped) => Err(StoreError::Internal("the commit was not finished")),
        }
    }

    /// Undoes what a turn before this one left behind.
    async fn recover(&mut self) {
        let (stage, is_dirty) = {
            let batch = self.group.batch();
            (batch.stage, batch.is_dirty)
        };
        let undone = match stage {
            Stage::Closed => Ok(()),
            Stage::Open if is_dirty => self.run(UNDO).await,
            Stage::Open => Ok(()),
            Stage::Opening => {
                // It may not have begun, and then there is nothing to roll back.
                drop(self.run(ROLLBACK).await);
                self.group.batch().stage = Stage::Closed;
                Ok(())
            }
        };
        match undone {
            Ok(()) => self.group.batch().is_dirty = false,
            Err(error) => self.give_up(&error).await,
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        let begin = {
            let mut batch = self.group.batch();
            let begin = batch.stage == Stage::Closed;
            if begin {
                batch.stage = Stage::Opening;
            }
            begin
        };
        if begin && let Err(error) = self.run(OPEN).await {
            self.give_up(&error).await;
            return Err(error.into());
        }
        let mut batch = self.group.batch();
        batch.stage = Stage::Open;
        batch.is_dirty = true;
        Ok(())
    }

    /// Commits what was kept.
    async fn end(&mut self) {
        self.recover().await;
        if self.group.batch().stage != Stage::Open {
            return;
        }
        match self.run(COMMIT).await {
            Ok(()) => {
                let mut batch = self.group.batch();
                batch.stage = Stage::Closed;
                for waiting in batch.waiting.drain(..) {
                    // One who went away need not be told.
                    drop(waiting.send(Ok(())));
                }
            }
            Err(error) => self.give_up(&error).await,
        }
    }

    /// The transaction cannot be saved: everyone in it is told.
    async fn give_up(&mut self, error: &sqlx::Error) {
        tracing::warn!(%error, "changes were not committed");
        let is_broken = self.run(ROLLBACK).await.is_err();
        let mut batch = self.group.batch();
        batch.is_broken = is_broken;
        batch.fail(&error.to_string());
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(&mut *self.connection).await?;
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let ends = self.group.batch().stage != Stage::Closed;
        if ends {
            self.group.end_soon();
        }
    }
}

impl Deref for Turn {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    async fn group(dir: &std::path::Path) -> Arc<Group> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("test.db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)")
            .execute(&mut connection)
            .await
            .unwrap();
        Group::new(options, connection)
    }

    async fn insert(turn: &mut Turn, n: i64) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO t (n) VALUES ($1)").bind(n);
        insert.execute(&mut **turn).await.map(|_done| ())
    }

    /// What another connection sees.
    async fn stored(group: &Group) -> Vec<i64> {
        let mut reader = group.options.connect().await.unwrap();
        let rows = sqlx::query("SELECT n FROM t ORDER BY n");
        let rows = rows.fetch_all(&mut reader).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_told_of_a_commit_finds_it_stored() {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path()).await;
        let all: Vec<_> = (0..40)
            .map(|n| {
                let group = Arc::clone(&group);
                lb_telemetry::task::spawn("turn", async move {
                    let mut turn = group.turn().await.unwrap();
                    insert(&mut turn, n).await.unwrap();
                    match n % 4 {
                        0 => turn.rollback().await,
                        1 => drop(turn),
                        _kept => {
                            turn.commit().await.unwrap();
                            assert!(stored(&group).await.contains(&n));
                        }
                    }
                })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
        let expected: Vec<i64> = (0..40).filter(|n| n % 4 > 1).collect();
        assert_eq!(stored(&group).await, expected);
    }

    #[tokio::test]
    async fn a_turn_that_fails_takes_nobody_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path()).await;
        let mut first = group.turn().await.unwrap();
        insert(&mut first, 1).await.unwrap();
        // Somebody waits, so the first is not committed alone.
        let second = lb_telemetry::task::spawn("turn", {
            let group = Arc::clone(&group);
            async move {
                let mut turn = group.turn().await.unwrap();
                insert(&mut turn, 2).await.unwrap();
                insert(&mut turn, 1).await.unwrap_err();
            }
        });
        while group.queued.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        first.commit().await.unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(stored(&group).await, [1]);
    }

    #[tokio::test]
    async fn a_transaction_that_is_lost_is_told_to_everyone_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path()).await;
        let mut first = group.turn().await.unwrap();
        insert(&mut first, 1).await.unwrap();
        let second = lb_telemetry::task::spawn("turn", {
            let group = Arc::clone(&group);
            async move {
                let mut turn = group.turn().await.unwrap();
                // As the database does itself when the disk is full.
                turn.run(ROLLBACK).await.unwrap();
                turn.commit().await
            }
        });
        while group.queued.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let (first, second) = (first.commit().await, second.await.unwrap().unwrap());
        assert!(first.is_err() && second.is_err(), "{first:?} {second:?}");
        assert_eq!(stored(&group).await, Vec::<i64>::new());
        let mut third = group.turn().await.unwrap();
        insert(&mut third, 3).await.unwrap();
        third.commit().await.unwrap();
        assert_eq!(stored(&group).await, [3]);
    }

    #[tokio::test]
    async fn a_turn_whose_caller_goes_away_while_it_begins_leaves_the_next_one_well() {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path()).await;
        for _again in 0..50 {
            // Polled once or twice, then dropped.
            let begun = tokio::time::timeout(std::time::Duration::from_micros(20), group.turn());
            drop(begun.await);
        }
        let mut turn = group.turn().await.unwrap();
        insert(&mut turn, 1).await.unwrap();
        turn.commit().await.unwrap();
        assert_eq!(stored(&group).await, [1]);
    }
}
