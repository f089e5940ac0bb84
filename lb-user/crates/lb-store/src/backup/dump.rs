//! Copies a database as of one moment, while servers work on it.

use std::path::Path;

use serde_json::Value as Json;

use super::{
    BackupError, Installation, KeyIn, Manifest, Summary,
    archive::{Head, Writer},
    files,
};
use crate::{
    db::{
        Builder, Database, Row, Transaction,
        schema::{self, Kind, Table},
    },
    epoch,
    error::StoreError,
    store::now,
};

/// Rows in a record.
const ROWS_AT_ONCE: i64 = 2_000;

pub(super) async fn write(
    installation: &Installation<'_>,
    file: &Path,
    overwrite: bool,
) -> Result<Summary, BackupError> {
    let mut out = Writer::create(file, overwrite)?;
    let pool = Database::attach(installation.settings, installation.state_dir, false).await?;
    let mut transaction = pool.begin_read().await?;
    // Before the files: a key that comes to be meanwhile opens nothing that is read here.
    let tables = schema::tables(&mut transaction).await?;
    let mut found = files::read(&installation.belongings)?;
    let key = match installation.key() {
        None => KeyIn::Credential,
        Some(key) => {
            let before = found.len();
            found.extend(files::read(&[key])?);
            if found.len() > before {
                KeyIn::Archive
            } else {
                KeyIn::Nowhere
            }
        }
    };
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: now().0,
        engine: engine(&transaction).to_owned(),
        steps: schema::steps_taken(&mut transaction).await?,
        epoch: epoch::current(&mut transaction).await?,
        key,
    };
    out.record(&Head::Manifest(manifest.clone()), b"")?;
    let mut summary = Summary::of(manifest);
    for table in &tables {
        let rows = write_table(&mut transaction, &mut out, table).await?;
        summary.count(&table.name, rows);
    }
    transaction.rollback().await?;
    pool.close().await;
    for (name, content) in found {
        out.record(&Head::File { name: name.clone() }, &content)?;
        summary.files.push(name);
    }
    out.finish()?;
    Ok(summary)
}

fn engine(transaction: &Transaction) -> &'static str {
    if transaction.is_postgres() {
        "postgresql"
    } else {
        "sqlite"
    }
}

async fn write_table(
    transaction: &mut Transaction,
    out: &mut Writer,
    table: &Table,
) -> Result<u64, BackupError> {
    let names = |columns: &mut dyn Iterator<Item = &schema::Column>| {
        let names: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
        names.join(", ")
    };
    let keys = names(&mut table.columns.iter().filter(|column| column.is_key));
    let columns = names(&mut table.columns.iter());
    let head = Head::Rows {
        table: table.name.clone(),
        columns: table
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.kind.as_str().to_owned()))
            .collect(),
    };
    let mut count: i64 = 0;
    loop {
        let mut select = Builder::new(format!(
            "SELECT {columns} FROM {} ORDER BY {keys} LIMIT ",
            table.name
        ));
        select.push_bind(ROWS_AT_ONCE).push(" OFFSET ");
        select.push_bind(count);
        let rows = select.build().fetch_all(&mut *transaction).await?;
        let list: Result<Vec<Json>, StoreError> =
            rows.iter().map(|row| row_of(table, row)).collect();
        let body =
            serde_json::to_vec(&list?).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        // Also when there are none: the reader sees every table.
        if count == 0 || !rows.is_empty() {
            out.record(&head, &body)?;
        }
        let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        count = count.saturating_add(found);
        if found < ROWS_AT_ONCE {
            return Ok(count.unsigned_abs());
        }
    }
}

fn row_of(table: &Table, row: &Row) -> Result<Json, StoreError> {
    let cells = table.columns.iter().enumerate().map(|(place, column)| {
        Ok(match column.kind {
            Kind::Text => row.try_get::<Option<String>, _>(place)?.map(Json::from),
            Kind::Int => row.try_get::<Option<i64>, _>(place)?.map(Json::from),
            Kind::Bool => row.try_get::<Option<bool>, _>(place)?.map(Json::from),
        }
        .unwrap_or(Json::Null))
    });
    cells.collect::<Result<Vec<Json>, _>>().map(Json::Array)
}
