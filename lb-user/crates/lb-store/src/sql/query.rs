//! One statement with its values, run on either engine.
//!
//! The text is the same for both: `$n` for parameters, and nothing that only one of them knows. The
//! one difference is [`Query::locking`]. Statements are prepared once a connection and kept, by their
//! text; a list of parameters is therefore filled up to a power of two ([`Builder::push_list`]).

use std::{fmt::Display, marker::PhantomData, sync::Arc};

use sqlx::{
    AssertSqlSafe, Connection as _, Postgres, SqlSafeStr as _, SqlStr, Sqlite,
    postgres::PgConnectOptions,
};

use super::Value;
use crate::{
    boxed::Boxed,
    db::{Cell, Lent, On, Row},
    error::StoreError,
};

/// A statement whose text is a constant.
pub(crate) fn query(sql: &'static str) -> Query {
    Query {
        sql: Text::Constant(sql),
        values: Vec::new(),
        lock: "",
    }
}

/// A statement that answers with one column.
pub(crate) fn query_scalar<T: Cell>(sql: &'static str) -> Scalar<T> {
    Scalar(query(sql), PhantomData)
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    sql: Text,
    values: Vec<Value>,
    lock: &'static str,
}

/// Made of constants of this crate in either case.
#[derive(Clone, Debug)]
enum Text {
    Constant(&'static str),
    Built(String),
}

/// What a statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done(u64);

impl Done {
    pub(crate) const fn rows_affected(self) -> u64 {
        self.0
    }
}

type Bound<DB> = sqlx::query::Query<'static, DB, <DB as sqlx::Database>::Arguments>;

/// Binds the values, the same for both engines.
macro_rules! bound {
    ($name:ident, $db:ty) => {
        fn $name(sql: SqlStr, values: Vec<Value>) -> Bound<$db> {
            let mut query = sqlx::query(sql);
            for value in values {
                query = match value {
                    Value::Text(text) => query.bind(text),
                    Value::OptText(text) => query.bind(text),
                    Value::Int(number) => query.bind(number),
                    Value::OptInt(number) => query.bind(number),
                    Value::Bool(flag) => query.bind(flag),
                };
            }
            query
        }
    };
}

bound!(sqlite, Sqlite);
bound!(postgres, Postgres);

/// Another connection is tried this often when one proves to be broken: as many as may have been
/// idle when the server was restarted.
pub(crate) const ATTEMPTS_MAX: u32 = 32;
/// SQLSTATE of "cached plan must not change result type": a newer server added a column.
const STALE: &str = "0A000";

/// Whether the connection ended instead of answering. What runs on its own may be run twice.
pub(crate) fn is_broken<T>(done: &Result<T, sqlx::Error>) -> bool {
    matches!(done, Err(sqlx::Error::Io(_)))
        || matches!(done, Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code.starts_with("57P")))
}

/// Prepared statements do not outlive a change of the schema under them.
async fn forget_if_stale<T>(
    lent: &mut Lent<PgConnectOptions>,
    done: &Result<T, sqlx::Error>,
) -> Result<bool, StoreError> {
    let stale = matches!(done, Err(sqlx::Error::Database(error))
        if error.code().as_deref() == Some(STALE));
    if stale {
        lent.ask()?.clear_cached_statements().await?;
    }
    Ok(stale)
}

/// Runs a query by one of sqlx's methods, wherever it is to run.
macro_rules! run {
    ($query:ident, $on:ident, $method:ident) => {
        match $on {
            On::Sqlite(lent) => {
                let done = $query.sqlite().$method(lent.ask()?).await;
                lent.answered(&done);
                done?.into()
            }
            On::SqlitePool(pool) => {
                let mut lent = pool.lend().await?;
                let done = $query.sqlite().$method(lent.ask()?).await;
                lent.answered(&done);
                done?.into()
            }
            On::SqliteTurn(connection) => $query.sqlite().$method(connection).await?.into(),
            On::SqliteTurns(group) => {
                // Its turn ends with its commit, also when the caller goes away.
                let group = Arc::clone(group);
                let done = lb_telemetry::task::spawn("database statement", async move {
                    let mut turn = group.turn().await?;
                    let done = $query.sqlite().$method(&mut *turn).await?;
                    turn.commit().await?;
                    Ok::<_, StoreError>(done)
                });
                match done.await {
                    Ok(Some(done)) => done?.into(),
                    Ok(None) | Err(_) => {
                        return Err(StoreError::Internal("the statement was not finished"));
                    }
                }
            }
            On::Postgres(lent) => {
                let done = $query.postgres().$method(lent.ask()?).await;
                forget_if_stale(lent, &done).await?;
                lent.answered(&done);
                done?.into()
            }
            On::PostgresPool(pool) => {
                let mut attempts = 0;
                let done = loop {
                    let mut lent = pool.lend().await?;
                    let done = $query.clone().postgres().$method(lent.ask()?).await;
                    let stale = forget_if_stale(&mut lent, &done).await?;
                    lent.answered(&done);
                    attempts += 1;
                    if attempts < ATTEMPTS_MAX && (stale || is_broken(&done)) {
                        continue;
                    }
                    break done?;
                };
                done.into()
            }
        }
    };
}

impl Query {
    /// A statement whose text was made of constants of this crate.
    pub(super) const fn built(sql: String) -> Self {
        Self {
            sql: Text::Built(sql),
            values: Vec::new(),
            lock: "",
        }
    }

    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Keeps the rows that are read as they are until the transaction ends. SQLite has one writing
    /// transaction at a time, which needs no more.
    pub(crate) const fn locking(mut self) -> Self {
        self.lock = " FOR UPDATE";
        self
    }

    pub(crate) fn execute<'c>(self, on: impl Into<On<'c>>) -> Boxed<'c, Result<Done, StoreError>> {
        self.execute_on(on.into())
    }

    pub(crate) fn fetch_all<'c>(
        self,
        on: impl Into<On<'c>>,
    ) -> Boxed<'c, Result<Vec<Row>, StoreError>> {
        self.fetch_all_on(on.into())
    }

    pub(crate) fn fetch_optional<'c>(
        self,
        on: impl Into<On<'c>>,
    ) -> Boxed<'c, Result<Option<Row>, StoreError>> {
        self.fetch_optional_on(on.into())
    }

    pub(crate) fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Boxed<'c, Result<Row, StoreError>> {
        self.fetch_one_on(on.into())
    }

    fn execute_on(self, on: On<'_>) -> Boxed<'_, Result<Done, StoreError>> {
        Box::pin(async move { Ok(run!(self, on, execute)) })
    }

    fn fetch_all_on(self, on: On<'_>) -> Boxed<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let rows: Rows = run!(self, on, fetch_all);
            Ok(rows.0)
        })
    }

    fn fetch_optional_on(self, on: On<'_>) -> Boxed<'_, Result<Option<Row>, StoreError>> {
        Box::pin(async move {
            let row: MaybeRow = run!(self, on, fetch_optional);
            Ok(row.0)
        })
    }

    fn fetch_one_on(self, on: On<'_>) -> Boxed<'_, Result<Row, StoreError>> {
        Box::pin(async move { Ok(run!(self, on, fetch_one)) })
    }

    fn sqlite(self) -> Bound<Sqlite> {
        let sql = match self.sql {
            Text::Constant(sql) => sql.into_sql_str(),
            Text::Built(sql) => AssertSqlSafe(sql).into_sql_str(),
        };
        sqlite(sql, self.values)
    }

    fn postgres(self) -> Bound<Postgres> {
        let sql = match self.sql {
            Text::Constant(sql) if self.lock.is_empty() => sql.into_sql_str(),
            Text::Constant(sql) => AssertSqlSafe(format!("{sql}{}", self.lock)).into_sql_str(),
            Text::Built(sql) => AssertSqlSafe(format!("{sql}{}", self.lock)).into_sql_str(),
        };
        postgres(sql, self.values)
    }
}

struct Rows(Vec<Row>);
struct MaybeRow(Option<Row>);

macro_rules! answers {
    ($row:ty, $result:ty, $variant:path) => {
        impl From<$row> for Row {
            fn from(row: $row) -> Self {
                $variant(row)
            }
        }

        impl From<Vec<$row>> for Rows {
            fn from(rows: Vec<$row>) -> Self {
                Self(rows.into_iter().map($variant).collect())
            }
        }

        impl From<Option<$row>> for MaybeRow {
            fn from(row: Option<$row>) -> Self {
                Self(row.map($variant))
            }
        }

        impl From<$result> for Done {
            fn from(result: $result) -> Self {
                Self(result.rows_affected())
            }
        }
    };
}

answers!(
    sqlx::sqlite::SqliteRow,
    sqlx::sqlite::SqliteQueryResult,
    Row::Sqlite
);
answers!(
    sqlx::postgres::PgRow,
    sqlx::postgres::PgQueryResult,
    Row::Postgres
);

/// A statement that answers with one column.
#[derive(Debug)]
pub(crate) struct Scalar<T>(Query, PhantomData<fn() -> T>);

impl<T: Cell> Scalar<T> {
    pub(crate) fn bind(self, value: impl Into<Value>) -> Self {
        Self(self.0.bind(value), PhantomData)
    }

    pub(crate) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<T>, StoreError> {
        let rows = self.0.fetch_all(on).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    pub(crate) async fn fetch_optional(
        self,
        on: impl Into<On<'_>>,
    ) -> Result<Option<T>, StoreError> {
        let row = self.0.fetch_optional(on).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    pub(crate) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<T, StoreError> {
        self.0.fetch_one(on).await?.try_get(0)
    }
}

/// A statement made of parts: constants of this crate are pushed, values are bound.
#[derive(Debug)]
pub(crate) struct Builder {
    sql: String,
    values: Vec<Value>,
}

impl Builder {
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            values: Vec::new(),
        }
    }

    /// Appends text, which must be made of constants of this crate.
    pub(crate) fn push(&mut self, sql: impl Display) -> &mut Self {
        self.sql.push_str(&sql.to_string());
        self
    }

    /// Appends the place of a value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push_str(&format!("${}", self.values.len()));
        self
    }

    /// Binds values whose places the text names already.
    pub(super) fn bind_all(&mut self, values: impl IntoIterator<Item = impl Into<Value>>) {
        self.values.extend(values.into_iter().map(Into::into));
    }

    /// Appends values between commas, of which there is at least one; the last is repeated up to a
    /// power of two, so that few different statements come of it. For `IN (…)` only.
    pub(crate) fn push_list<V>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self
    where
        V: Into<Value>,
    {
        let mut list: Vec<Value> = values.into_iter().map(Into::into).collect();
        if let Some(last) = list.last().cloned() {
            list.resize(list.len().next_power_of_two(), last);
        }
        for (index, value) in list.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    pub(crate) fn build(self) -> Query {
        Query {
            sql: Text::Built(self.sql),
            values: self.values,
            lock: "",
        }
    }

    #[cfg(test)]
    pub(crate) fn into_string(self) -> String {
        self.sql
    }
}

/// Asks the database whether it understands a statement.
#[cfg(test)]
pub(crate) async fn prepare(
    connection: &mut crate::db::Connection,
    sql: String,
) -> Result<(), StoreError> {
    use sqlx::Executor as _;

    let sql = AssertSqlSafe(sql).into_sql_str();
    match On::from(connection) {
        On::Sqlite(lent) => drop(lent.ask()?.prepare(sql).await?),
        On::SqliteTurn(connection) => drop(connection.prepare(sql).await?),
        On::Postgres(lent) => drop(lent.ask()?.prepare(sql).await?),
        On::SqlitePool(_) | On::SqliteTurns(_) | On::PostgresPool(_) => {}
    }
    Ok(())
}
