//! PostgreSQL: pools, and the hints that one server gives the others.
//!
//! A server that dies or freezes must not keep others from a row it had locked, so the database ends
//! its transaction by itself.

use std::sync::Arc;

use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use super::{
    Database, DatabaseSettings, DatabaseUrl, Pool, STATEMENTS_KEPT, Transaction, lending::Lender,
    migrations,
};
use crate::{
    error::StoreError,
    sql::{query, query_scalar},
};

/// Where hints are sent.
const CHANNEL: &str = "lbaas_changed";
/// As the database shows our connections.
const APPLICATION: &str = "lbaas";
/// As it shows those of tools that serve nobody.
const TOOL: &str = "lbaas-tool";
/// Settings of our connections. Limits that the database keeps for us, in milliseconds: a transaction
/// that stands still, a row somebody else has, one statement.
const SETTINGS: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "30000"),
    ("lock_timeout", "15000"),
    ("statement_timeout", "60000"),
    // Planned once for any values: to plan a list costs five times what it costs to run it.
    ("plan_cache_mode", "force_generic_plan"),
    // Nothing here runs long enough to be worth compiling.
    ("jit", "off"),
];

const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
const COUNT_SERVERS: &str = "SELECT COUNT(*) FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()";
const NOTIFY: &str =
    "SELECT pg_notify('lbaas_changed', said) FROM regexp_split_to_table($1, ',') said";

/// How every connection is made.
fn options(url: &DatabaseUrl) -> PgConnectOptions {
    url.options()
        .application_name(APPLICATION)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .options(SETTINGS)
}

/// One connection, beside those of servers that may run.
pub(super) async fn attach(
    url: &DatabaseUrl,
    settings: &DatabaseSettings,
) -> Result<Pool, StoreError> {
    let options = options(url).application_name(TOOL);
    first_contact(&options, settings).await?.close().await?;
    Ok(Pool::Postgres(pool(1, settings, &options)))
}

/// How many servers' connections the database has.
pub(crate) async fn count_servers(transaction: &mut Transaction) -> Result<i64, StoreError> {
    query_scalar(COUNT_SERVERS)
        .bind(APPLICATION)
        .fetch_one(transaction)
        .await
}

pub(super) async fn open(
    url: &DatabaseUrl,
    settings: &DatabaseSettings,
) -> Result<Database, StoreError> {
    let options = options(url);
    let mut first = first_contact(&options, settings).await?;
    migrations().run(&mut first).await?;
    first.close().await?;
    let half = settings.connections.div_ceil(2).max(1);
    let write = pool(half, settings, &options);
    tracing::info!(database = %url, connections = half * 2, "database opened");
    Ok(Database {
        read: Pool::Postgres(pool(half, settings, &options)),
        write: Pool::Postgres(write),
    })
}

/// A pool tells late, and not what is wrong.
async fn first_contact(
    options: &PgConnectOptions,
    settings: &DatabaseSettings,
) -> Result<PgConnection, StoreError> {
    let connect = PgConnection::connect_with(options);
    let connection = tokio::time::timeout(settings.connect_timeout, connect)
        .await
        .map_err(|_elapsed| StoreError::Unavailable(sqlx::Error::PoolTimedOut))??;
    Ok(connection)
}

fn pool(
    size: u32,
    settings: &DatabaseSettings,
    options: &PgConnectOptions,
) -> Arc<Lender<PgConnectOptions>> {
    Lender::new(options.clone(), size, settings.connect_timeout)
}

/// Tells every other server. The texts are hints, never data, and hold no comma. SQLite has no other
/// servers.
pub(crate) async fn notify(pool: &Pool, texts: &[String]) -> Result<(), StoreError> {
    if !matches!(pool, Pool::Postgres(_)) {
        return Ok(());
    }
    query(NOTIFY).bind(texts.join(",")).execute(pool).await?;
    Ok(())
}

/// A connection that waits for no disk, for what need not be kept.
pub(crate) fn forgetful(database: &Database) -> Option<Pool> {
    let Pool::Postgres(pool) = &database.write else {
        return None;
    };
    let options = pool.options().clone();
    let options = options.options([("synchronous_commit", "off")]);
    let own = Lender::new(options, 1, pool.wait());
    Some(Pool::Postgres(own))
}

/// The database's clock, in microseconds; `None` on SQLite, which has no other servers.
pub(crate) async fn clock(transaction: &mut Transaction) -> Result<Option<i64>, StoreError> {
    if !transaction.is_postgres() {
        return Ok(None);
    }
    let now = query_scalar(CLOCK).fetch_one(transaction).await?;
    Ok(Some(now))
}

/// A connection of its own that hears what other servers tell; `None` on SQLite.
pub(crate) async fn listener(database: &Database) -> Result<Option<PgListener>, StoreError> {
    let Pool::Postgres(pool) = &database.read else {
        return Ok(None);
    };
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(pool.wait())
        .connect_lazy_with(pool.options().clone());
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    Ok(Some(listener))
}
