//! `GET /healthcheck` (contract 1.6): whether this process can do its work, for whoever sends it
//! requests. No authentication, and never more than one question to the database in five seconds.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use lb_store::Store;
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{edge::KnowsHead, state::ApiState};

/// How long an answer of the database is believed.
const FRESH: Duration = Duration::from_secs(5);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The last answer.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<(Instant, Option<String>)>>);

impl Health {
    /// `None`: well; else why not.
    async fn reason(&self, store: &Store) -> Option<String> {
        // Held while asking: of many callers one asks.
        let mut last = self.0.lock().await;
        if let Some((when, reason)) = last.as_ref()
            && when.elapsed() < FRESH
        {
            return reason.clone();
        }
        let reason = match timeout(PATIENCE, store.ping()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                // What exactly is wrong is for the log: nobody has to show who they are here.
                tracing::error!(error = &error as &dyn std::error::Error, "health check");
                Some("The database cannot be used.".to_owned())
            }
            Err(_elapsed) => Some("The database does not answer.".to_owned()),
        };
        *last = Some((Instant::now(), reason.clone()));
        reason
    }
}

/// Every verb of `/healthcheck`.
pub(crate) async fn answer(State(api): State<ApiState>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        let text = "Method Not Allowed\n";
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            Extension(KnowsHead),
            allow,
            text,
        )
            .into_response();
    }
    let accepts = request.headers().get_all(header::ACCEPT).iter();
    let wants_json = accepts
        .filter_map(|value| value.to_str().ok())
        .any(prefers_json);
    let reason = api.health().reason(api.store()).await;
    let reasons: Vec<&String> = reason.iter().collect();
    match (&reason, wants_json) {
        (None, false) => StatusCode::NO_CONTENT.into_response(),
        (None, true) => Json(json!({"detailed": false, "reasons": []})).into_response(),
        (Some(text), false) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response()
        }
        (Some(_), true) => {
            let body = Json(json!({"detailed": false, "reasons": reasons}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// Plain text is what is sent to whoever takes anything.
fn prefers_json(accept: &str) -> bool {
    let kinds = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut json = false;
    for kind in kinds {
        match kind {
            "text/plain" | "text/*" | "*/*" => return json,
            kind if kind.eq_ignore_ascii_case("application/json") => json = true,
            _ => {}
        }
    }
    json
}
