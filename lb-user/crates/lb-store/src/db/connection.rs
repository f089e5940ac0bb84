//! Connections and transactions of either engine, as one type each.
//!
//! What holds a connection says nothing of the engine; only [`On`], which a query is run on, does.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{
    PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, migrate::Migrator,
    pool::PoolConnection,
};

use super::group::{Group, Turn};
use crate::{
    error::StoreError,
    sql::{ATTEMPTS_MAX, is_broken},
};

/// A transaction that reads sees one moment, also over several statements. SQLite's always do.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Connections to one database.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    /// The one that writes, for all of the server.
    SqliteTurns(Arc<Group>),
    Postgres(PgPool),
}

impl Pool {
    pub(crate) async fn acquire(&self) -> Result<Connection, StoreError> {
        Ok(Connection(match self {
            Self::Sqlite(pool) => Link::Sqlite(pool.acquire().await?),
            Self::SqliteTurns(group) => Link::SqliteTurn(group.turn().await?),
            Self::Postgres(pool) => Link::Postgres(pool.acquire().await?),
        }))
    }

    /// A transaction that writes. It sees what others committed meanwhile, statement by statement:
    /// what must not move is locked first ([`crate::sql::Query::locking`]).
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction(Connection(match self {
            Self::Sqlite(pool) => Link::SqliteTransaction(pool.begin().await?),
            Self::SqliteTurns(group) => Link::SqliteTurn(group.turn().await?),
            Self::Postgres(pool) => Link::PostgresTransaction(begin(pool, "BEGIN").await?),
        })))
    }

    /// A transaction that only reads, as of one moment.
    pub(crate) async fn begin_read(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction(Connection(match self {
            Self::Sqlite(pool) => Link::SqliteTransaction(pool.begin().await?),
            Self::SqliteTurns(group) => Link::SqliteTurn(group.turn().await?),
            Self::Postgres(pool) => Link::PostgresTransaction(begin(pool, BEGIN_READ).await?),
        })))
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
    pool: &PgPool,
    sql: &'static str,
) -> Result<sqlx::Transaction<'static, Postgres>, StoreError> {
    let mut attempts = 1;
    loop {
        let begun = pool.begin_with(sql).await;
        if !is_broken(&begun) || attempts >= ATTEMPTS_MAX {
            return Ok(begun?);
        }
        attempts += 1;
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection(Link);

#[derive(Debug)]
enum Link {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTransaction(sqlx::Transaction<'static, Sqlite>),
    SqliteTurn(Turn),
    Postgres(PoolConnection<Postgres>),
    PostgresTransaction(sqlx::Transaction<'static, Postgres>),
}

/// A connection in a transaction, which is undone unless it is committed.
#[derive(Debug)]
pub(crate) struct Transaction(Connection);

impl Connection {
    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.0, Link::Postgres(_) | Link::PostgresTransaction(_))
    }
}

impl Transaction {
    /// Takes steps of the schema as part of it.
    pub(crate) async fn migrate(&mut self, steps: &Migrator) -> Result<(), StoreError> {
        match On::from(&mut *self) {
            On::Sqlite(connection) => steps.run_direct(None, connection, false).await?,
            On::Postgres(connection) => steps.run_direct(None, connection, false).await?,
            On::SqlitePool(_) | On::SqliteTurns(_) | On::PostgresPool(_) => {}
        }
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.0.0 {
            Link::SqliteTransaction(transaction) => transaction.commit().await?,
            Link::SqliteTurn(turn) => turn.commit().await?,
            Link::PostgresTransaction(transaction) => transaction.commit().await?,
            Link::Sqlite(_) | Link::Postgres(_) => {
                return Err(StoreError::Internal("commit without a transaction"));
            }
        }
        Ok(())
    }
}

impl Transaction {
    /// Undoes it now, not when its connection is next used.
    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        match self.0.0 {
            Link::SqliteTransaction(transaction) => transaction.rollback().await?,
            Link::SqliteTurn(turn) => turn.rollback().await,
            Link::PostgresTransaction(transaction) => transaction.rollback().await?,
            Link::Sqlite(_) | Link::Postgres(_) => {
                return Err(StoreError::Internal("rollback without a transaction"));
            }
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
    Sqlite(&'c mut SqliteConnection),
    SqlitePool(&'c SqlitePool),
    SqliteTurns(&'c Arc<Group>),
    Postgres(&'c mut PgConnection),
    PostgresPool(&'c PgPool),
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        match &mut connection.0 {
            Link::Sqlite(connection) => Self::Sqlite(connection),
            Link::SqliteTransaction(transaction) => Self::Sqlite(transaction),
            Link::SqliteTurn(turn) => Self::Sqlite(turn),
            Link::Postgres(connection) => Self::Postgres(connection),
            Link::PostgresTransaction(transaction) => Self::Postgres(transaction),
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
