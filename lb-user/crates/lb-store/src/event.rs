//! Events: what happened to a project's objects, kept for whoever watches (`GET /v2/lbaas/events`).
//!
//! What: every change of a status is recorded in the transaction that makes it, one event for all
//! objects of a load balancer; other parts add theirs ([`record`] in their own transaction,
//! [`Store::record_event`] in one of its own). A reader asks for what came after the last number it
//! has seen and is woken by [`Store::changes`].
//!
//! Invariants: a project's events are numbered without gaps, each after its commit ([`number`]), so a
//! reader that goes on behind a number misses nothing; no more than [`KEPT_MAX`] and a few are kept
//! of a project; an event holds no secret.

mod diff;
pub(crate) mod number;

use std::fmt;

use lb_model::{enums::UnknownValue, id::LoadBalancerId, time::Timestamp};
use serde_json::Value;

pub(crate) use diff::{created, status_changes};
pub(crate) use number::record;

use crate::{
    boxed::Boxed,
    db::{query, query_scalar},
    error::StoreError,
    lock::Attempts,
    sql::Reader,
    store::Store,
};

/// Events kept of one project: the newest.
pub const KEPT_MAX: i64 = 1000;
/// Old ones are removed when a number is a multiple of this.
const SWEEP_PERIOD: i64 = 64;
/// Longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Statuses changed; `data.changes` has every object's.
    Status,
    /// Something asked for could not be done; the message says why.
    Failure,
    /// A secret or a key manager.
    Secret,
    /// An amphora: replaced, taken away, another view of a member's health.
    Amphora,
    /// An operator did something to the object.
    Operator,
}

impl EventKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Status,
        Self::Failure,
        Self::Secret,
        Self::Amphora,
        Self::Operator,
    ];

    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Failure => "failure",
            Self::Secret => "secret",
            Self::Amphora => "amphora",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for EventKind {
    type Err = UnknownValue;

    fn from_str(text: &str) -> Result<Self, UnknownValue> {
        let known = Self::ALL.iter().find(|kind| kind.as_str() == text);
        known.copied().ok_or_else(|| UnknownValue {
            value: text.to_owned(),
            allowed: "status, failure, secret, amphora, operator".to_owned(),
        })
    }
}

/// An event to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Whose.
    pub project_id: String,
    /// About what.
    pub kind: EventKind,
    /// Of which load balancer, when of one.
    pub load_balancer_id: Option<LoadBalancerId>,
    /// For people; may be empty.
    pub message: String,
    /// For programs: a JSON object.
    pub data: Value,
}

/// A recorded event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in its project.
    pub sequence: i64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// What was recorded.
    pub event: NewEvent,
}

/// Some of a project's events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventPage {
    /// In order.
    pub events: Vec<Event>,
    /// The newest number there is; 0: there never was an event.
    pub last: i64,
}

impl Store {
    /// Records an event in a transaction of its own, and wakes.
    ///
    /// # Errors
    /// The database's.
    pub fn record_event<'f>(&'f self, event: &'f NewEvent) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let mut attempts = Attempts::default();
            loop {
                match self.try_record(event).await {
                    Err(error) if attempts.again(&error) => {}
                    done => return done,
                }
            }
        })
    }

    async fn try_record(&self, event: &NewEvent) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        record(&mut transaction, event).await?;
        match event.load_balancer_id {
            Some(id) => self.commit_change(transaction, id).await,
            None => self.commit_and_wake(transaction).await,
        }
    }

    /// Events of a project behind number `after`, at most `limit`. What is no longer kept is left
    /// out: then the first one's number is not the next.
    ///
    /// # Errors
    /// The database's.
    pub fn events_after<'f>(
        &'f self,
        project_id: &'f str,
        after: i64,
        limit: u32,
    ) -> Boxed<'f, Result<EventPage, StoreError>> {
        Box::pin(async move {
            self.number_events().await?;
            let mut transaction = self.begin_read().await?;
            let last: Option<i64> = query_scalar(SELECT_LAST)
                .bind(project_id)
                .fetch_optional(&mut transaction)
                .await?;
            let last = last.unwrap_or(0);
            if last <= after {
                return Ok(EventPage {
                    events: Vec::new(),
                    last,
                });
            }
            let rows = query(SELECT_AFTER)
                .bind(project_id)
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(&mut transaction)
                .await?;
            let events = rows.iter().map(|row| {
                let read = Reader::new("events", row);
                Ok(Event {
                    sequence: read.int("sequence")?,
                    created_at: read.time("created_at")?,
                    event: NewEvent {
                        project_id: project_id.to_owned(),
                        kind: read.parse("kind")?,
                        load_balancer_id: read.opt_parse("load_balancer_id")?,
                        message: read.text("message")?,
                        data: read.json("data")?,
                    },
                })
            });
            let events = events.collect::<Result<_, StoreError>>()?;
            Ok(EventPage { events, last })
        })
    }
}

fn shortened(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

const SELECT_LAST: &str = "SELECT last FROM event_sequences WHERE project_id = $1";
const SELECT_AFTER: &str = "SELECT sequence, created_at, kind, load_balancer_id, message, data \
     FROM events WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT_LAST, SELECT_AFTER];
