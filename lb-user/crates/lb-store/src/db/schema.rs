//! The schema as the database itself tells it: tables, columns, and which tables must be filled
//! before which.
//!
//! For copies of the whole database ([`crate::backup`]): names that come from here are those of our
//! own migrations, so they may be part of a statement's text.

use std::collections::BTreeMap;

use super::{Connection, Row, Transaction, migrations, query, query_scalar};
use crate::error::StoreError;

/// What a column holds. There is nothing else in our schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Bool,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Bool => "bool",
        }
    }

    fn of(declared: &str) -> Option<Self> {
        match declared.to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "bigint" => Some(Self::Int),
            "boolean" => Some(Self::Bool),
            _unknown => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Part of the primary key.
    pub(crate) is_key: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// Tables that its rows refer to.
    parents: Vec<String>,
}

/// Every table, each behind those that its rows refer to.
pub(crate) async fn tables(connection: &mut Connection) -> Result<Vec<Table>, StoreError> {
    let texts = texts(connection.is_postgres());
    let names: Vec<String> = query_scalar(texts.tables)
        .fetch_all(&mut *connection)
        .await?;
    let mut unsorted = BTreeMap::new();
    for name in names {
        let rows = query(texts.columns)
            .bind(&name)
            .fetch_all(&mut *connection)
            .await?;
        let columns: Result<_, StoreError> = rows.iter().map(|row| column(&name, row)).collect();
        let parents: Vec<String> = query_scalar(texts.parents)
            .bind(&name)
            .fetch_all(&mut *connection)
            .await?;
        let table = Table {
            name: name.clone(),
            columns: columns?,
            parents,
        };
        unsorted.insert(name, table);
    }
    sorted(unsorted)
}

fn column(table: &str, row: &Row) -> Result<Column, StoreError> {
    let (name, declared): (String, String) = (row.try_get("name")?, row.try_get("declared")?);
    let kind = Kind::of(&declared)
        .ok_or_else(|| StoreError::Corrupt(format!("{table}.{name} is of type {declared}")))?;
    let is_key: i64 = row.try_get("is_key")?;
    Ok(Column {
        name,
        kind,
        is_key: is_key > 0,
    })
}

fn sorted(mut unsorted: BTreeMap<String, Table>) -> Result<Vec<Table>, StoreError> {
    let mut sorted: Vec<Table> = Vec::with_capacity(unsorted.len());
    while !unsorted.is_empty() {
        let ready = unsorted.values().find(|table| {
            let mut parents = table.parents.iter();
            parents.all(|parent| *parent == table.name || !unsorted.contains_key(parent))
        });
        let Some(name) = ready.map(|table| table.name.clone()) else {
            return Err(StoreError::Corrupt("tables refer to each other".to_owned()));
        };
        sorted.extend(unsorted.remove(&name));
    }
    Ok(sorted)
}

/// The versions of the schema's steps that were taken; none in a database that is new.
pub(crate) async fn steps_taken(connection: &mut Connection) -> Result<Vec<i64>, StoreError> {
    let texts = texts(connection.is_postgres());
    let there: Vec<i64> = query_scalar(texts.has_steps)
        .fetch_all(&mut *connection)
        .await?;
    if there.is_empty() {
        return Ok(Vec::new());
    }
    query_scalar(SELECT_STEPS).fetch_all(connection).await
}

/// The versions of the steps that this program knows.
pub(crate) fn steps_known() -> Vec<i64> {
    migrations().iter().map(|step| step.version).collect()
}

/// Takes steps, in the caller's transaction: those named, or all.
pub(crate) async fn take_steps(
    transaction: &mut Transaction,
    only: Option<&[i64]>,
) -> Result<(), StoreError> {
    let mut steps = migrations();
    if let Some(only) = only {
        let known = steps.iter().filter(|step| only.contains(&step.version));
        steps.migrations = known.cloned().collect::<Vec<_>>().into();
    }
    transaction.migrate(&steps).await
}

/// Removes every table, as if the database were new.
pub(crate) async fn drop_everything(transaction: &mut Transaction) -> Result<(), StoreError> {
    let tables = tables(transaction).await?;
    let names = tables.iter().rev().map(|table| table.name.as_str());
    for name in names.chain(["_sqlx_migrations"]) {
        let mut statement = super::Builder::new("DROP TABLE IF EXISTS ");
        statement.push(name);
        statement.build().execute(&mut *transaction).await?;
    }
    Ok(())
}

struct Texts {
    tables: &'static str,
    columns: &'static str,
    parents: &'static str,
    has_steps: &'static str,
}

const fn texts(is_postgres: bool) -> Texts {
    if is_postgres {
        Texts {
            tables: "SELECT CAST(c.relname AS TEXT) FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
                 AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations' ORDER BY c.relname",
            columns: "SELECT CAST(a.attname AS TEXT) AS name, \
                 CAST(format_type(a.atttypid, a.atttypmod) AS TEXT) AS declared, \
                 (SELECT COUNT(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary \
                 AND a.attnum = ANY (i.indkey)) AS is_key FROM pg_attribute a \
                 JOIN pg_class c ON c.oid = a.attrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
                 AND c.relname = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            parents: "SELECT DISTINCT CAST(f.relname AS TEXT) FROM pg_constraint k \
                 JOIN pg_class f ON f.oid = k.confrelid JOIN pg_class c ON c.oid = k.conrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
                 AND k.contype = 'f' AND c.relname = $1",
            has_steps: "SELECT CAST(1 AS BIGINT) FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
                 AND c.relname = '_sqlx_migrations'",
        }
    } else {
        Texts {
            tables: "SELECT name FROM sqlite_master WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations' ORDER BY name",
            columns: "SELECT name, type AS declared, pk AS is_key FROM pragma_table_info($1) \
                 ORDER BY cid",
            parents: "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)",
            has_steps: "SELECT 1 FROM sqlite_master WHERE type = 'table' \
                 AND name = '_sqlx_migrations'",
        }
    }
}

const SELECT_STEPS: &str = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
