//! SQLite as the design wants it: write-ahead log, `synchronous=FULL` (what was acknowledged
//! survives a power cut), foreign keys, one writing connection, several reading ones.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{Database, Pool, STATEMENTS_KEPT, group::Group, lending::Lender, migrations};
use crate::error::StoreError;

/// Name of the database in the state directory.
const DATABASE_FILE: &str = "lbaas.db";
/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one who reads waits for a connection.
const WAIT: Duration = Duration::from_secs(30);
/// Connections that only read.
const READERS_MAX: u32 = 4;
/// Rows that the thread of a connection may be ahead of whoever takes them: a page, or each costs a
/// change of threads.
const ROWS_AHEAD: usize = 1_024;

/// How the file is used, by whomever.
fn options(state_dir: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(state_dir.join(DATABASE_FILE))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .row_buffer_size(ROWS_AHEAD)
}

/// One connection, beside those of a server that may run.
pub(super) async fn attach(state_dir: &Path, may_create: bool) -> Result<Pool, StoreError> {
    let path = state_dir.join(DATABASE_FILE);
    if !may_create {
        std::fs::metadata(&path).map_err(|source| StoreError::File { path, source })?;
    }
    let pool = Lender::new(options(state_dir).create_if_missing(may_create), 1, WAIT);
    // Now, and not when it is needed, it turns out whether the file can be used.
    drop(pool.lend().await?);
    Ok(Pool::Sqlite(pool))
}

pub(super) async fn open(state_dir: &Path) -> Result<Database, StoreError> {
    let options = options(state_dir).create_if_missing(true);
    let mut write = options.connect().await?;
    migrations().run(&mut write).await?;
    let reading = options.clone().create_if_missing(false).read_only(true);
    let read = Lender::new(reading, READERS_MAX, WAIT);
    Ok(Database {
        read: Pool::Sqlite(read),
        write: Pool::SqliteTurns(Group::new(options, write)),
    })
}
