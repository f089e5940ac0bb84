//! Fills a database with what an archive holds, in one transaction.
//!
//! The schema is first made what it was when the archive was written, then filled, and only then
//! brought up to date: so the steps since then see the rows as they see those of a running
//! installation.

use std::{path::Path, time::Duration};

use serde_json::Value as Json;
use tokio::time::Instant;

use super::{
    BackupError, Installation, KeyIn, Manifest, Summary,
    archive::{Head, Reader},
    files::{self, Ready},
};
use crate::{
    db::{
        self, Builder, Database, Pool, Transaction,
        schema::{self, Kind, Table},
    },
    epoch,
    error::StoreError,
    lock::StateLock,
    sql::Value,
};

/// As the lock on the state directory names this.
const ROLE: &str = "restore";
/// Values in one statement: below what either engine takes.
const VALUES_AT_ONCE: usize = 4_000;
/// How long PostgreSQL may show the connections of a server that was just stopped.
const LEAVING: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What servers and agents write by themselves: nothing is lost with it.
const BY_THEMSELVES: &[&str] = &[
    "settings",
    "hosts",
    "host_capabilities",
    "leases",
    "orphans",
    "orphan_addresses",
];

pub(super) async fn restore(
    installation: &Installation<'_>,
    file: &Path,
    overwrite: bool,
) -> Result<Summary, BackupError> {
    let mut archive = Reader::open(file)?;
    check_steps(&archive.manifest)?;
    crate::store::make_private_dir(installation.state_dir)?;
    let _alone = match &installation.settings.url {
        Some(_asked_of_the_database) => None,
        None => Some(StateLock::acquire(installation.state_dir, ROLE)?),
    };
    let pool = Database::attach(installation.settings, installation.state_dir, true).await?;
    let mut transaction = begin_alone(&pool).await?;
    let epochs = clear(&mut transaction, overwrite).await?;
    let mut summary = Summary::of(archive.manifest.clone());
    let ready = fill(
        installation,
        &mut transaction,
        &mut archive,
        &mut summary,
        overwrite,
    )
    .await?;
    schema::take_steps(&mut transaction, None).await?;
    let epoch = epoch::next(&[epochs, archive.manifest.epoch]);
    epoch::begin(&mut transaction, epoch).await?;
    transaction.commit().await?;
    pool.close().await;
    for file in ready {
        summary.aside.extend(file.put()?);
    }
    summary.epoch = Some(epoch);
    Ok(summary)
}

/// Begins when no server has the database open.
async fn begin_alone(pool: &Pool) -> Result<Transaction, BackupError> {
    let begin = Instant::now();
    loop {
        let mut transaction = pool.begin().await?;
        if !transaction.is_postgres() {
            return Ok(transaction);
        }
        // What it counts stays the same within a transaction.
        let servers = db::count_servers(&mut transaction).await?;
        if servers == 0 {
            return Ok(transaction);
        }
        drop(transaction);
        if begin.elapsed() >= LEAVING {
            return Err(BackupError::ServersRun(servers));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A step that is not known here was taken by a newer program.
fn check_steps(manifest: &Manifest) -> Result<(), BackupError> {
    let known = schema::steps_known();
    let unknown = manifest.steps.iter().find(|step| !known.contains(step));
    match unknown {
        Some(step) => Err(BackupError::Newer {
            version: manifest.version.clone(),
            step: *step,
        }),
        None => Ok(()),
    }
}

/// Makes the database as if it were new, unless something would be lost that may not; says which epoch
/// it was in.
async fn clear(transaction: &mut Transaction, overwrite: bool) -> Result<i64, BackupError> {
    let tables = schema::tables(transaction).await?;
    let mut before = 0;
    for table in &tables {
        if table.name == "settings" {
            before = epoch::current(transaction).await?;
        }
        if overwrite || BY_THEMSELVES.contains(&table.name.as_str()) {
            continue;
        }
        let rows = count(transaction, table).await?;
        if rows > 0 {
            let what = format!("{rows} rows of the table {}", table.name);
            return Err(BackupError::NotEmpty(what));
        }
    }
    schema::drop_everything(transaction).await?;
    Ok(before)
}

async fn count(transaction: &mut Transaction, table: &Table) -> Result<i64, StoreError> {
    let mut select = Builder::new("SELECT COUNT(*) FROM ");
    select.push(&table.name);
    let row = select.build().fetch_one(transaction).await?;
    row.try_get(0)
}

/// Fills the tables, and writes the files beside their places.
async fn fill(
    installation: &Installation<'_>,
    transaction: &mut Transaction,
    archive: &mut Reader,
    summary: &mut Summary,
    overwrite: bool,
) -> Result<Vec<Ready>, BackupError> {
    schema::take_steps(transaction, Some(&archive.manifest.steps)).await?;
    let tables = schema::tables(transaction).await?;
    let mut belongings = installation.belongings.clone();
    belongings.extend(installation.key());
    let mut ready = Vec::new();
    while let Some((head, body)) = archive.record()? {
        match head {
            Head::Rows { table, columns } => {
                let known = tables.iter().find(|known| known.name == table);
                let same = known.is_some_and(|known| {
                    let names = known.columns.iter();
                    names
                        .map(|column| (column.name.as_str(), column.kind.as_str()))
                        .eq(columns
                            .iter()
                            .map(|(name, kind)| (name.as_str(), kind.as_str())))
                });
                let Some(known) = known.filter(|_known| same) else {
                    return Err(archive.broken(&format!("its table {table} is not ours")));
                };
                let rows: Vec<Vec<Json>> = serde_json::from_slice(&body)
                    .map_err(|_error| archive.broken("its rows cannot be read"))?;
                summary.count(&table, rows.len() as u64);
                insert(transaction, known, rows)
                    .await?
                    .ok_or_else(|| archive.broken(&format!("a row of {table} is not one")))?;
            }
            Head::File { name } => {
                // A key that is handed over by somebody else is not ours to write.
                let place = belongings.iter().find(|one| one.name == name);
                if let Some(place) = place {
                    ready.extend(files::prepare(&place.path, &body, overwrite)?);
                    summary.files.push(name);
                }
            }
            Head::Manifest(_) | Head::End => return Err(archive.broken("it begins twice")),
        }
    }
    Ok(ready)
}

/// `None`: a value is not of its column.
async fn insert(
    transaction: &mut Transaction,
    table: &Table,
    rows: Vec<Vec<Json>>,
) -> Result<Option<()>, StoreError> {
    let names: Vec<&str> = table.columns.iter().map(|one| one.name.as_str()).collect();
    let begin = format!("INSERT INTO {} ({}) VALUES (", table.name, names.join(", "));
    let at_once = (VALUES_AT_ONCE / names.len().max(1)).max(1);
    for some in rows.chunks(at_once) {
        let mut statement = Builder::new(begin.as_str());
        for (number, row) in some.iter().enumerate() {
            if number > 0 {
                statement.push("), (");
            }
            if row.len() != table.columns.len() {
                return Ok(None);
            }
            for (place, (column, cell)) in table.columns.iter().zip(row).enumerate() {
                if place > 0 {
                    statement.push(", ");
                }
                let Some(value) = value(column.kind, cell) else {
                    return Ok(None);
                };
                statement.push_bind(value);
            }
        }
        statement.push(")");
        statement.build().execute(&mut *transaction).await?;
    }
    Ok(Some(()))
}

fn value(kind: Kind, cell: &Json) -> Option<Value> {
    match (kind, cell) {
        (Kind::Text, Json::Null) => Some(Value::OptText(None)),
        (Kind::Text, Json::String(text)) => Some(Value::Text(text.clone())),
        (Kind::Int, Json::Null) => Some(Value::OptInt(None)),
        (Kind::Int, Json::Number(number)) => number.as_i64().map(Value::Int),
        (Kind::Bool, Json::Bool(flag)) => Some(Value::Bool(*flag)),
        _another => None,
    }
}

impl Summary {
    pub(super) const fn of(manifest: Manifest) -> Self {
        Self {
            manifest,
            rows: 0,
            load_balancers: 0,
            files: Vec::new(),
            epoch: None,
            aside: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, table: &str, rows: u64) {
        self.rows = self.rows.saturating_add(rows);
        if table == crate::encode::LOAD_BALANCERS {
            self.load_balancers = self.load_balancers.saturating_add(rows);
        }
    }
}

impl Manifest {
    pub(super) const fn unread() -> Self {
        Self {
            version: String::new(),
            made_at: 0,
            engine: String::new(),
            steps: Vec::new(),
            epoch: 0,
            key: KeyIn::Nowhere,
        }
    }
}
