//! SQLite as the design wants it: write-ahead log, `synchronous=FULL` (what was acknowledged
//! survives a power cut), foreign keys, one writing connection, several reading ones.

use std::{path::Path, time::Duration};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Database, Pool, STATEMENTS_KEPT, migrations};
use crate::error::StoreError;

/// Name of the database in the state directory.
const DATABASE_FILE: &str = "lbaas.db";
/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that only read.
const READERS_MAX: u32 = 4;

pub(super) async fn open(state_dir: &Path) -> Result<Database, StoreError> {
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
    migrations().run(&write).await?;
    let read = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .connect_with(options.create_if_missing(false).read_only(true))
        .await?;
    Ok(Database {
        read: Pool::Sqlite(read),
        write: Pool::Sqlite(write),
    })
}
