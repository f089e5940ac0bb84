//! Gives recorded events their numbers.
//!
//! A number given with the change itself would be taken under a lock that is held until the change is
//! on disk, so all changes of a project would wait for each other. So an event is only put down, in
//! [`INBOX`], and numbered when somebody reads, or when many have come together: by then it is
//! committed, and what commits later gets a larger number, which is all that a reader relies on.
//!
//! One numbers at a time, in every server: whoever does holds the row of no project.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{KEPT_MAX, NewEvent, SWEEP_PERIOD};
use crate::{
    boxed::Boxed,
    db::{Builder, Connection, Row, query, query_scalar},
    error::StoreError,
    event::shortened,
    lock::Attempts,
    sql::{NewRow, Reader, to_json},
    store::{Store, now},
};

pub(super) const INBOX: &str = "event_inbox";

/// Events numbered in one transaction.
const NUMBERED_AT_ONCE: i64 = 256;

const IS_ANY: &str = "SELECT id FROM event_inbox LIMIT 1";
const ALONE: &str = "INSERT INTO event_sequences (project_id, last) VALUES ('', 0) \
     ON CONFLICT (project_id) DO UPDATE SET last = event_sequences.last";
const OLDEST: &str = "SELECT * FROM event_inbox ORDER BY created_at, id LIMIT $1";
const NUMBERS: &str = "INSERT INTO event_sequences (project_id, last) VALUES ($1, $2) \
     ON CONFLICT (project_id) DO UPDATE SET last = event_sequences.last + excluded.last \
     RETURNING last";
const INSERT: &str = "INSERT INTO events (project_id, sequence, created_at, kind, \
     load_balancer_id, message, data) SELECT project_id, CAST($2 AS BIGINT), created_at, kind, \
     load_balancer_id, message, data FROM event_inbox WHERE id = $1";
const SWEEP: &str = "DELETE FROM events WHERE project_id = $1 AND sequence <= $2";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[IS_ANY, ALONE, OLDEST, NUMBERS, INSERT, SWEEP];

/// Puts an event down in the caller's transaction.
pub(crate) fn record<'f>(
    connection: &'f mut Connection,
    event: &'f NewEvent,
) -> Boxed<'f, Result<(), StoreError>> {
    Box::pin(async move {
        NewRow::new(INBOX, Uuid::new_v4())
            .text("project_id", &event.project_id)
            .int("created_at", now().0)
            .text("kind", event.kind)
            .opt_text("load_balancer_id", event.load_balancer_id)
            .text("message", shortened(&event.message))
            .text("data", to_json(&event.data)?)
            .insert(connection)
            .await
    })
}

impl Store {
    /// Numbers what was put down until now.
    pub(crate) fn number_events<'f>(&'f self) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let mut attempts = Attempts::default();
            loop {
                let any: Option<String> = query_scalar(IS_ANY)
                    .fetch_optional(&self.inner.database.read)
                    .await?;
                if any.is_none() {
                    return Ok(());
                }
                match self.number_some().await {
                    Err(error) if attempts.again(&error) => {}
                    done => done?,
                }
            }
        })
    }

    async fn number_some(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        query(ALONE).execute(&mut transaction).await?;
        let rows = query(OLDEST)
            .bind(NUMBERED_AT_ONCE)
            .fetch_all(&mut transaction)
            .await?;
        let mut by_project: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &rows {
            let (id, project_id) = names(row)?;
            by_project.entry(project_id).or_default().push(id);
        }
        for (project_id, ids) in &by_project {
            number(&mut transaction, project_id, ids).await?;
        }
        let ids: Vec<String> = by_project.into_values().flatten().collect();
        if !ids.is_empty() {
            let mut delete = Builder::new("DELETE FROM event_inbox WHERE id IN (");
            delete.push_list(ids).push(")");
            delete.build().execute(&mut transaction).await?;
        }
        self.commit(transaction).await
    }
}

fn names(row: &Row) -> Result<(String, String), StoreError> {
    let read = Reader::new(INBOX, row);
    Ok((read.text("id")?, read.text("project_id")?))
}

async fn number(
    connection: &mut Connection,
    project_id: &str,
    ids: &[String],
) -> Result<(), StoreError> {
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let last: Option<i64> = query_scalar(NUMBERS)
        .bind(project_id)
        .bind(count)
        .fetch_optional(&mut *connection)
        .await?;
    let last = last.ok_or(StoreError::Internal("events were given no numbers"))?;
    let first = last - count + 1;
    for (id, sequence) in ids.iter().zip(first..) {
        query(INSERT)
            .bind(id)
            .bind(sequence)
            .execute(&mut *connection)
            .await?;
    }
    if last / SWEEP_PERIOD != (first - 1) / SWEEP_PERIOD {
        query(SWEEP)
            .bind(project_id)
            .bind(last - KEPT_MAX)
            .execute(connection)
            .await?;
    }
    Ok(())
}
