//! Connections and transactions of either engine, as one type each.
//!
//! What holds a connection says nothing of the engine; only [`On`], which a query is run on, does.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{
    SqliteConnection, migrate::Migrator, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};

use super::{
    group::{Group, Turn},
    lending::{Lender, Lent},
};
use crate::{
    boxed::Boxed,
    error::StoreError,
    sql::{ATTEMPTS_MAX, is_broken},
};

/// A transaction that reads sees one moment, also over several statements. SQLite's always do.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Connections to one database.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(Arc<Lender<SqliteConnectOptions>>),
    /// The one that writes, for all of the server.
    SqliteTurns(Arc<Group>),
    Postgres(Arc<Lender<PgConnectOptions>>),
}

impl Pool {
    pub(crate) fn acquire(&self) -> Boxed<'_, Result<Connection, StoreError>> {
        Box::pin(async {
            Ok(Connection(match self {
                Self::Sqlite(pool) => Link::Sqlite(pool.lend().await?),
                Self::SqliteTurns(group) => Link::SqliteTurn(group.turn().await?),
                Self::Postgres(pool) => Link::Postgres(pool.lend().await?),
            }))
        })
    }

    /// A transaction that writes. It sees what others committed meanwhile, statement by statement:
    /// what must not move is locked first ([`crate::sql::Query::locking`]).
    pub(crate) fn begin(&self) -> Boxed<'_, Result<Transaction, StoreError>> {
        self.begin_with("BEGIN")
    }

    /// A transaction that only reads, as of one moment.
    pub(crate) fn begin_read(&self) -> Boxed<'_, Result<Transaction, StoreError>> {
        self.begin_with(BEGIN_READ)
    }

    fn begin_with(&self, sql: &'static str) -> Boxed<'_, Result<Transaction, StoreError>> {
        Box::pin(async move {
            Ok(Transaction(Connection(match self {
                Self::Sqlite(pool) => {
                    let mut lent = pool.lend().await?;
                    lent.begin("BEGIN").await?;
                    Link::Sqlite(lent)
                }
                Self::SqliteTurns(group) => Link::SqliteTurn(group.turn().await?),
                Self::Postgres(pool) => Link::Postgres(begin(pool, sql).await?),
            })))
        })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::SqliteTurns(group) => group.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Begins on a connection that is not broken.
async fn begin(
    pool: &Arc<Lender<PgConnectOptions>>,
    sql: &'static str,
) -> Result<Lent<PgConnectOptions>, StoreError> {
    let mut attempts = 1;
    loop {
        let mut lent = pool.lend().await?;
        let begun = lent.begin(sql).await;
        if !is_broken(&begun) || attempts >= ATTEMPTS_MAX {
            begun?;
            return Ok(lent);
        }
        attempts += 1;
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection(Link);

#[derive(Debug)]
enum Link {
    Sqlite(Lent<SqliteConnectOptions>),
    SqliteTurn(Turn),
    Postgres(Lent<PgConnectOptions>),
}

/// A connection in a transaction, which is undone unless it is committed.
#[derive(Debug)]
pub(crate) struct Transaction(Connection);

impl Connection {
    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.0, Link::Postgres(_))
    }
}

impl Transaction {
    /// Takes steps of the schema as part of it.
    pub(crate) async fn migrate(&mut self, steps: &Migrator) -> Result<(), StoreError> {
        match &mut self.0.0 {
            Link::Sqlite(lent) => lent.migrate(steps).await?,
            Link::SqliteTurn(turn) => steps.run_direct(None, &mut **turn, false).await?,
            Link::Postgres(lent) => lent.migrate(steps).await?,
        }
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.0.0 {
            Link::Sqlite(lent) => lent.commit().await?,
            Link::SqliteTurn(turn) => turn.commit().await?,
            Link::Postgres(lent) => lent.commit().await?,
        }
        Ok(())
    }

    /// Undoes it now, not when its connection is next used.
    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        match self.0.0 {
            Link::Sqlite(lent) => lent.rollback().await?,
            Link::SqliteTurn(turn) => turn.rollback().await,
            Link::Postgres(lent) => lent.rollback().await?,
        }
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// What a query runs on.
#[derive(Debug)]
pub(crate) enum On<'c> {
    Sqlite(&'c mut Lent<SqliteConnectOptions>),
    SqliteTurn(&'c mut SqliteConnection),
    SqlitePool(&'c Arc<Lender<SqliteConnectOptions>>),
    SqliteTurns(&'c Arc<Group>),
    Postgres(&'c mut Lent<PgConnectOptions>),
    PostgresPool(&'c Arc<Lender<PgConnectOptions>>),
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        match &mut connection.0 {
            Link::Sqlite(lent) => Self::Sqlite(lent),
            Link::SqliteTurn(turn) => Self::SqliteTurn(turn),
            Link::Postgres(lent) => Self::Postgres(lent),
        }
    }
}

impl<'c> From<&'c mut Transaction> for On<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        Self::from(&mut transaction.0)
    }
}

/// One statement on its own: one round trip.
impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        match pool {
            Pool::Sqlite(pool) => Self::SqlitePool(pool),
            Pool::SqliteTurns(group) => Self::SqliteTurns(group),
            Pool::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}
