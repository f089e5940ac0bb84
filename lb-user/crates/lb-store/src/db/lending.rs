//! Connections that are lent and come back.
//!
//! Why not sqlx's own pool: it asks the database after every use whether the connection is still
//! there, in a task of its own. That is as much work as a short statement, for both sides. Here a
//! connection is asked only when its last user went away in the middle; one that broke is noticed by
//! who used it, and dropped.
//!
//! Invariants: never more than `limit` connections; who waits is served in order and told after `wait`
//! that there is none; nobody gets a connection with another's transaction or another's answers
//! in it.

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgConnection, SqliteConnection,
    migrate::{Migrate, Migrator},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

use crate::{error::StoreError, sql::is_broken};

/// A connection is not used for longer: memory of the other side grows with what it remembers.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);
/// One that nobody needed for so long is not trusted: what is between may have forgotten it.
const IDLE_MAX: Duration = Duration::from_secs(10 * 60);
/// Before the next attempt to reach a database that is just starting; twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What is said outside of prepared statements, the same for both engines.
pub(crate) trait Raw: Connection + Sized {
    /// Runs a text without parameters or answer.
    fn raw(
        &mut self,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;
}

impl Raw for PgConnection {
    async fn raw(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(self).await.map(drop)
    }
}

impl Raw for SqliteConnection {
    async fn raw(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(self).await.map(drop)
    }
}

/// Connections to one database.
pub(crate) struct Lender<O: ConnectOptions<Connection: Raw>> {
    options: O,
    limit: u32,
    wait: Duration,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Kept<O::Connection>>>,
    is_closed: AtomicBool,
}

impl<O: ConnectOptions<Connection: Raw>> std::fmt::Debug for Lender<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options may hold a password.
        f.debug_struct("Lender")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A connection nobody uses.
struct Kept<C> {
    connection: C,
    made: Instant,
    since: Instant,
}

/// A connection that is used by one. It comes back when this is dropped.
pub(crate) struct Lent<O: ConnectOptions<Connection: Raw>> {
    connection: Option<O::Connection>,
    made: Instant,
    /// Something was asked and perhaps not all of the answer was taken.
    is_asked: bool,
    /// A transaction is open.
    is_begun: bool,
    /// Nobody gets it after this one.
    is_last: bool,
    lender: Arc<Lender<O>>,
    slot: Option<OwnedSemaphorePermit>,
}

impl<O: ConnectOptions<Connection: Raw>> std::fmt::Debug for Lent<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent")
            .field("is_asked", &self.is_asked)
            .field("is_begun", &self.is_begun)
            .finish_non_exhaustive()
    }
}

impl<O: ConnectOptions<Connection: Raw>> Lender<O> {
    /// Connections are made when they are needed.
    pub(crate) fn new(options: O, limit: u32, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            options,
            limit,
            wait,
            slots: Arc::new(Semaphore::new(limit as usize)),
            idle: Mutex::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    pub(crate) const fn options(&self) -> &O {
        &self.options
    }

    pub(crate) const fn wait(&self) -> Duration {
        self.wait
    }

    pub(crate) async fn lend(self: &Arc<Self>) -> Result<Lent<O>, sqlx::Error> {
        let deadline = Instant::now() + self.wait;
        let slot = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => timeout_at(deadline, Arc::clone(&self.slots).acquire_owned())
                .await
                .map_err(|_elapsed| sqlx::Error::PoolTimedOut)?
                .map_err(|_closed| sqlx::Error::PoolClosed)?,
        };
        if self.is_closed.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let (connection, made) = match self.kept() {
            Some(kept) => (kept.connection, kept.made),
            // Seldom, and large.
            None => (Box::pin(self.connect(deadline)).await?, Instant::now()),
        };
        Ok(Lent {
            connection: Some(connection),
            made,
            is_asked: false,
            is_begun: false,
            is_last: false,
            lender: Arc::clone(self),
            slot: Some(slot),
        })
    }

    /// The one that came back last, so that those that are not needed grow old.
    fn kept(&self) -> Option<Kept<O::Connection>> {
        loop {
            let kept = self.idle().pop()?;
            if kept.since.elapsed() < IDLE_MAX && kept.made.elapsed() < AGE_MAX {
                return Some(kept);
            }
            lb_telemetry::task::spawn("database connection", async move {
                if let Err(error) = kept.connection.close().await {
                    tracing::debug!(%error, "an old connection was not closed properly");
                }
            });
        }
    }

    /// Waits for a database that is just starting.
    async fn connect(&self, deadline: Instant) -> Result<O::Connection, sqlx::Error> {
        let mut pause = PAUSE_FIRST;
        loop {
            let connected = timeout_at(deadline, self.options.connect()).await;
            match connected.map_err(|_elapsed| sqlx::Error::PoolTimedOut)? {
                Err(error) if is_starting(&error) => {}
                other => return other,
            }
            if Instant::now() + pause >= deadline {
                return Err(sqlx::Error::PoolTimedOut);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits for those that are lent, and closes all.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let all = self.slots.acquire_many(self.limit).await;
        let idle = std::mem::take(&mut *self.idle());
        for kept in idle {
            if let Err(error) = kept.connection.close().await {
                tracing::debug!(%error, "a connection was not closed properly");
            }
        }
        drop(all);
    }

    fn take_back(&self, connection: O::Connection, made: Instant) {
        let since = Instant::now();
        self.idle().push(Kept {
            connection,
            made,
            since,
        });
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept<O::Connection>>> {
        // Every change of it is whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refused, or not ready to serve yet.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

impl<O: ConnectOptions<Connection: Raw>> Lent<O> {
    /// The connection, to ask it something; [`Lent::answered`] says what came of it.
    pub(crate) fn ask(&mut self) -> Result<&mut O::Connection, sqlx::Error> {
        self.is_asked = true;
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    pub(crate) fn answered<T>(&mut self, done: &Result<T, sqlx::Error>) {
        self.is_last |= is_broken(done);
        // After any other error it is not known how much of the answer was taken.
        let whole = matches!(
            done,
            Ok(_) | Err(sqlx::Error::Database(_) | sqlx::Error::RowNotFound)
        );
        self.is_asked &= !whole;
    }

    /// Begins a transaction, which is undone unless [`Lent::commit`] ends it.
    pub(crate) async fn begin(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.is_begun = true;
        let begun = self.ask()?.raw(sql).await;
        self.answered(&begun);
        begun
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await?;
        if self.is_last
            && let Some(connection) = self.connection.take()
        {
            connection.close().await?;
        }
        Ok(())
    }

    /// Takes steps of the schema as part of the transaction that is begun.
    pub(crate) async fn migrate(&mut self, steps: &Migrator) -> Result<(), StoreError>
    where
        O::Connection: Migrate,
    {
        // sqlx does not know that a transaction is begun, and would begin and commit one for each step.
        // It takes this for one, so its own become savepoints in it. It must never end it.
        if !std::mem::replace(&mut self.is_last, true) {
            let begun = self.ask()?.begin_with("SAVEPOINT schema").await?;
            let _never_ended = ManuallyDrop::new(begun);
        }
        steps.run_direct(None, self.ask()?, false).await?;
        self.is_asked = false;
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        let ended = self.ask()?.raw(sql).await;
        self.answered(&ended);
        self.is_begun = ended.is_err();
        ended
    }
}

impl<O: ConnectOptions<Connection: Raw>> Drop for Lent<O> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.is_last {
            return;
        }
        if !self.is_asked && !self.is_begun {
            self.lender.take_back(connection, self.made);
            return;
        }
        if tokio::runtime::Handle::try_current().is_err() {
            // Everything ends, and with the connection what was not committed.
            return;
        }
        let (lender, slot, made) = (Arc::clone(&self.lender), self.slot.take(), self.made);
        let is_begun = self.is_begun;
        lb_telemetry::task::spawn("database connection", async move {
            let settled = if is_begun {
                connection.raw("ROLLBACK").await
            } else {
                connection.ping().await
            };
            match settled {
                Ok(()) => lender.take_back(connection, made),
                Err(error) => tracing::debug!(%error, "a connection is given up"),
            }
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Row as _, sqlite::SqliteConnectOptions};

    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn lender(dir: &std::path::Path, limit: u32) -> Arc<Lender<SqliteConnectOptions>> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("file.db"))
            .create_if_missing(true);
        Lender::new(options, limit, WAIT)
    }

    async fn run(
        lent: &mut Lent<SqliteConnectOptions>,
        sql: &'static str,
    ) -> Result<(), sqlx::Error> {
        let done = lent.ask()?.raw(sql).await;
        lent.answered(&done);
        done
    }

    async fn count(lent: &mut Lent<SqliteConnectOptions>) -> i64 {
        let row = sqlx::query("SELECT count(*) FROM it")
            .fetch_one(lent.ask().unwrap())
            .await;
        lent.answered(&row);
        row.unwrap().get(0)
    }

    #[tokio::test]
    async fn no_more_are_lent_than_the_limit_and_who_waits_gets_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let lender = lender(dir.path(), 1);
        let first = lender.lend().await.unwrap();
        assert!(matches!(
            lender.lend().await.unwrap_err(),
            sqlx::Error::PoolTimedOut
        ));
        let (next, ()) = tokio::join!(lender.lend(), async { drop(first) });
        next.unwrap();
        lender.close().await;
        assert!(matches!(
            lender.lend().await.unwrap_err(),
            sqlx::Error::PoolClosed
        ));
    }

    #[tokio::test]
    async fn what_was_not_committed_is_undone_before_the_next_one_gets_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let lender = lender(dir.path(), 1);
        let mut lent = lender.lend().await.unwrap();
        run(&mut lent, "CREATE TABLE it (n)").await.unwrap();
        lent.begin("BEGIN").await.unwrap();
        run(&mut lent, "INSERT INTO it VALUES (1)").await.unwrap();
        drop(lent);
        let mut lent = lender.lend().await.unwrap();
        assert_eq!(count(&mut lent).await, 0);
        lent.begin("BEGIN").await.unwrap();
        run(&mut lent, "INSERT INTO it VALUES (1)").await.unwrap();
        lent.commit().await.unwrap();
        assert_eq!(count(&mut lender.lend().await.unwrap()).await, 1);
    }

    #[tokio::test]
    async fn a_connection_serves_on_after_its_user_went_away_in_the_middle() {
        let dir = tempfile::tempdir().unwrap();
        let lender = lender(dir.path(), 1);
        let mut lent = lender.lend().await.unwrap();
        run(&mut lent, "CREATE TABLE it (n)").await.unwrap();
        drop(lent);
        for _again in 0..50 {
            let mut lent = lender.lend().await.unwrap();
            let asked = tokio::time::timeout(
                Duration::from_micros(20),
                run(&mut lent, "SELECT count(*) FROM it"),
            );
            drop(asked.await);
            drop(lent);
        }
        assert_eq!(count(&mut lender.lend().await.unwrap()).await, 0);
    }
}
