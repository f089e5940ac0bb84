//! `GET /v2/lbaas/events`: what happens to the objects of one project, as it happens (server-sent
//! events) or as a list (JSON, for whoever does not ask for a stream).
//!
//! A stream begins with what comes next, or behind the number in `Last-Event-ID`; a browser sends that
//! by itself when it connects again. What is no longer kept is told of by an event of the type `gap`.
//! The store's hints wake a stream, whichever server made the change; a look every few seconds is what
//! it relies on. A stream ends by itself now and then, so that whoever watches shows again that they may.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::stream;
use lb_policy::Action;
use lb_store::{Event, Store};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{call::Call, error::ApiError, state::ApiState, streams::Place};

/// How often a stream looks without having been woken.
const PERIOD: Duration = Duration::from_secs(5);
/// A comment is sent when nothing else was for so long: proxies close what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after so long.
const STREAM_MAX: Duration = Duration::from_secs(900);
/// After the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// Events read, or answered with, at once.
const PAGE: u32 = 200;

const EVENT_STREAM: &str = "text/event-stream";

/// `GET /v2/lbaas/events`
pub(crate) async fn watch(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = project(&api, &call)?;
    let after = position(&call)?;
    let wants_stream = call
        .header(header::ACCEPT.as_str())
        .is_some_and(|accept| accept.contains(EVENT_STREAM));
    if wants_stream {
        return stream(&api, project, after).await;
    }
    let page = api
        .store()
        .events_after(&project, after.unwrap_or(0), PAGE)
        .await?;
    let events: Vec<Value> = page.events.iter().map(view).collect();
    let mut links = Vec::new();
    if let Some(last) = page.events.last().filter(|last| last.sequence < page.last) {
        let href = format!("{}?marker={}", call.url(), last.sequence);
        links.push(json!({"rel": "next", "href": href}));
    }
    Ok(Json(json!({"events": events, "events_links": links})).into_response())
}

/// One's own project, or another that one may see.
fn project(api: &ApiState, call: &Call) -> Result<String, ApiError> {
    let named = api.authorize_list(call, Action::EventGetAllGlobal, Action::EventGetAll)?;
    api.project_of_new(call, named.as_deref())
}

/// The number to go on behind: the header of a client that was cut off, or `?marker=`.
fn position(call: &Call) -> Result<Option<i64>, ApiError> {
    let given = call.header("last-event-id").or(call.argument("marker"));
    let number = given.map(|text| text.trim().parse::<i64>());
    match number {
        None => Ok(None),
        Some(Ok(number)) if number >= 0 => Ok(Some(number)),
        Some(_) => Err(ApiError::invalid(
            "Last-Event-ID, or marker, is not the number of an event.",
        )),
    }
}

fn view(event: &Event) -> Value {
    json!({
        "sequence": event.sequence,
        "created_at": event.created_at,
        "project_id": event.event.project_id,
        "type": event.event.kind.as_str(),
        "loadbalancer_id": event.event.load_balancer_id,
        "message": event.event.message,
        "data": event.event.data,
    })
}

async fn stream(api: &ApiState, project: String, after: Option<i64>) -> Result<Response, ApiError> {
    let place = api.streams().enter(&project).ok_or_else(|| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many event streams are open, try again later.",
        )
    })?;
    let store = api.store().clone();
    let changes = store.changes();
    let after = match after {
        Some(after) => after,
        None => store.events_after(&project, i64::MAX, 1).await?.last,
    };
    let watcher = Watcher {
        store,
        project,
        after,
        changes,
        until: Instant::now() + STREAM_MAX,
        closing: api.streams().closing(),
        ready: Vec::new(),
        _place: place,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One open stream.
struct Watcher {
    store: Store,
    project: String,
    after: i64,
    changes: watch::Receiver<u64>,
    until: Instant,
    closing: CancellationToken,
    /// Read and not sent yet, the next one last.
    ready: Vec<sse::Event>,
    _place: Place,
}

impl Watcher {
    /// `None`: the stream ends.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some(event);
            }
            self.changes.mark_unchanged();
            let pause = match self.read().await {
                Ok(true) => continue,
                Ok(false) => PERIOD,
                Err(error) => {
                    tracing::warn!(%error, "events cannot be read, trying again");
                    RETRY
                }
            };
            let wake = (Instant::now() + pause).min(self.until);
            tokio::select! {
                () = self.closing.cancelled() => return None,
                // Woken or not, the next look tells.
                _ = timeout_at(wake, self.changes.changed()) => {}
            }
            if Instant::now() >= self.until {
                return None;
            }
        }
    }

    /// Reads what is new; says whether there was something.
    async fn read(&mut self) -> Result<bool, lb_store::StoreError> {
        let page = self
            .store
            .events_after(&self.project, self.after, PAGE)
            .await?;
        let Some(last) = page.events.last() else {
            // After a restore from a backup numbers begin again lower.
            self.after = self.after.min(page.last);
            return Ok(false);
        };
        let first = page.events.first().map_or(0, |event| event.sequence);
        let mut ready = Vec::with_capacity(page.events.len());
        if first > self.after.saturating_add(1) {
            ready.push(gap(self.after, first));
        }
        ready.extend(page.events.iter().map(sent));
        self.after = last.sequence;
        ready.reverse();
        self.ready = ready;
        Ok(true)
    }
}

fn sent(event: &Event) -> sse::Event {
    sse::Event::default()
        .id(event.sequence.to_string())
        .event(event.event.kind.as_str())
        .data(view(event).to_string())
}

/// What lay between is no longer kept: whoever needs to be exact reads the objects again.
fn gap(after: i64, next: i64) -> sse::Event {
    sse::Event::default()
        .event("gap")
        .data(json!({"after": after, "next": next}).to_string())
}
