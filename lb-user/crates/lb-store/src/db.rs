//! The database: SQLite in the state directory, or PostgreSQL by URL.
//!
//! Everything above works on [`Connection`], [`Row`] and [`query`], which are the same for both; so
//! are the SQL texts (`migrations/` says the rules). Only this file, `db/` and `sql/query.rs` know
//! which engine it is. Reading connections never wait for writing ones: a transaction that writes may
//! look something up beside itself without waiting for its own kind.

mod connection;
mod group;
mod lending;
mod postgres;
mod row;
pub(crate) mod schema;
mod sqlite;
mod url;

use std::{path::Path, time::Duration};

use sqlx::migrate::Migrator;

pub(crate) use crate::sql::{Builder, query, query_scalar};
pub(crate) use connection::{Connection, On, Pool, Transaction};
pub(crate) use lending::Lent;
pub(crate) use postgres::{clock, count_servers, forgetful, listener, notify};
pub(crate) use row::{Cell, Row};
pub use url::{DatabaseUrl, UrlError};

use crate::{error::StoreError, secret::KeySource};

/// Prepared statements a connection keeps: more than there are, lists of all sizes included.
const STATEMENTS_KEPT: usize = 1_000;
/// Connections to PostgreSQL when nothing else is said.
const CONNECTIONS: u32 = 16;
/// How long a request waits for a connection to PostgreSQL when nothing else is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Which database, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// PostgreSQL; `None`: SQLite in the state directory.
    pub url: Option<DatabaseUrl>,
    /// Largest number of connections to PostgreSQL, half of them for reading; at least 2.
    pub connections: u32,
    /// How long a request waits for one before the database counts as away.
    pub connect_timeout: Duration,
    /// Where the key comes from that secrets in it are sealed with.
    pub secrets_key: KeySource,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            connections: CONNECTIONS,
            connect_timeout: CONNECT_TIMEOUT,
            secrets_key: KeySource::StateDir,
        }
    }
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) read: Pool,
    pub(crate) write: Pool,
}

impl Database {
    /// Whether other servers may work on it too.
    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.write, Pool::Postgres(_))
    }

    /// Opens a database as it is, beside whoever works on it: nothing is migrated. SQLite's file must
    /// be there unless it may be made.
    pub(crate) async fn attach(
        settings: &DatabaseSettings,
        state_dir: &Path,
        may_create: bool,
    ) -> Result<Pool, StoreError> {
        match &settings.url {
            Some(url) => postgres::attach(url, settings).await,
            None => sqlite::attach(state_dir, may_create).await,
        }
    }

    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(
        settings: &DatabaseSettings,
        state_dir: &Path,
    ) -> Result<Self, StoreError> {
        match &settings.url {
            Some(url) => postgres::open(url, settings).await,
            None => sqlite::open(state_dir).await,
        }
    }
}

/// The schema's steps. One that this version does not know was made by a newer server that runs
/// beside this one; steps only add, so that this one can go on.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
}
