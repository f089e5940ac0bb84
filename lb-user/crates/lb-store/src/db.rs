//! Opening the database, and the names of its types.
//!
//! SQLite as the design wants it: write-ahead log, `synchronous=FULL` (what was acknowledged
//! survives a power cut), foreign keys, one writing connection, several reading ones. The SQL
//! everywhere else keeps to what PostgreSQL also understands (`migrations/` says the rules), so only
//! this file names the engine.

mod connection;
mod row;

use std::{path::Path, time::Duration};

use sqlx::{
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::error::StoreError;

pub(crate) use crate::sql::{Builder, query, query_scalar};
pub(crate) use connection::{Connection, On, Pool, Transaction};
pub(crate) use row::{Cell, Row};

/// Name of the database in the state directory.
const DATABASE_FILE: &str = "lbaas.db";
/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements a connection keeps: more than there are, lists of all sizes included.
const STATEMENTS_KEPT: usize = 1_000;
/// Connections that only read.
const READERS_MAX: u32 = 4;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The connections: reading ones never wait for the writing one.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) read: Pool,
    pub(crate) write: Pool,
}

impl Database {
    /// Opens the database of a state directory and brings its schema up to date.
    pub(crate) async fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(state_dir.join(DATABASE_FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS_KEPT);
        let write = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        MIGRATIONS.run(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options.create_if_missing(false).read_only(true))
            .await?;
        Ok(Self {
            read: Pool::Sqlite(read),
            write: Pool::Sqlite(write),
        })
    }
}
