//! The answers of success (contract 3.2), one constructor a verb.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use lb_store::{ShownLoadBalancer, Stats};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    call::Call,
    listing::{Fields, Shown, json_body},
};

/// `GET` of one object: 200, with the fields asked for.
pub(crate) fn shown(call: &Call, key: &str, view: impl Serialize) -> Response {
    Json(Envelope(key, Fields::of(call).select(view))).into_response()
}

/// The same of a load balancer.
pub(crate) fn shown_load_balancer(call: &Call, key: &str, one: ShownLoadBalancer<'_>) -> Response {
    let fields = Fields::of(call);
    if !fields.is_everything() {
        return Json(Envelope(key, fields.select(Shown(one)))).into_response();
    }
    let mut body = format!("{{\"{key}\":").into_bytes();
    Shown(one).write(&mut body);
    body.push(b'}');
    json_body(body)
}

/// A document of one key.
struct Envelope<'k, V>(&'k str, V);

impl<V: Serialize> Serialize for Envelope<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

/// `POST`: 201.
pub(crate) fn created(key: &str, view: &Value) -> Response {
    (StatusCode::CREATED, Json(json!({key: view}))).into_response()
}

/// `PUT` of one object: 200, PENDING_UPDATE with the new values.
pub(crate) fn updated(key: &str, view: &Value) -> Response {
    Json(json!({key: view})).into_response()
}

/// `PUT` whose work is not in the answer: 202 without a body.
pub(crate) fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

/// `PUT` of a quota: 202 with what it has become.
pub(crate) fn accepted_with(key: &str, view: &Value) -> Response {
    (StatusCode::ACCEPTED, Json(json!({key: view}))).into_response()
}

/// `DELETE`: 204.
pub(crate) fn deleted() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// The body of `GET …/stats`.
pub(crate) fn counters(stats: Stats) -> Value {
    json!({"stats": {
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "active_connections": stats.active_connections,
        "total_connections": stats.total_connections,
        "request_errors": stats.request_errors,
    }})
}
