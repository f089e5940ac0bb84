//! Version discovery (contract 1.1, 1.2, 1.5): which minor versions' features clients may use.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{call::Call, error::ApiError, key_manager_discovery};

/// `updated` of v2.0, v2.1, … in order, as Octavia serves them (v2.7 with its wrong year).
const UPDATED: [&str; 31] = [
    "2016-12-11T00:00:00Z",
    "2018-04-20T00:00:00Z",
    "2018-07-31T00:00:00Z",
    "2018-12-18T00:00:00Z",
    "2018-12-19T00:00:00Z",
    "2019-01-21T00:00:00Z",
    "2019-01-25T00:00:00Z",
    "2018-01-25T12:00:00Z",
    "2019-02-12T00:00:00Z",
    "2019-03-04T00:00:00Z",
    "2019-03-05T00:00:00Z",
    "2019-06-24T00:00:00Z",
    "2019-09-11T00:00:00Z",
    "2019-09-13T00:00:00Z",
    "2019-11-10T00:00:00Z",
    "2020-03-10T00:00:00Z",
    "2020-03-15T00:00:00Z",
    "2020-04-29T00:00:00Z",
    "2020-04-29T01:00:00Z",
    "2020-05-12T00:00:00Z",
    "2020-08-02T00:00:00Z",
    "2020-09-03T00:00:00Z",
    "2020-09-04T00:00:00Z",
    "2020-09-07T00:00:00Z",
    "2020-10-15T00:00:00Z",
    "2021-10-02T00:00:00Z",
    "2022-08-29T00:00:00Z",
    "2023-05-05T00:00:00Z",
    "2023-11-08T00:00:00Z",
    "2024-10-15T00:00:00Z",
    "2025-02-26T00:00:00Z",
];

/// `GET /`: every minor version, the newest CURRENT, all with one and the same link.
pub(crate) async fn root(call: Call) -> Result<Response, ApiError> {
    if key_manager_discovery::is_asked_for(&call) {
        return Ok(key_manager_discovery::versions(call).await);
    }
    let url = call.url();
    let href = format!("{}/v2", url.trim_end_matches('/'));
    let newest = UPDATED.len().saturating_sub(1);
    let versions: Vec<Value> = UPDATED
        .iter()
        .enumerate()
        .map(|(minor, updated)| {
            json!({
                "id": format!("v2.{minor}"),
                "status": if minor == newest { "CURRENT" } else { "SUPPORTED" },
                "updated": updated,
                "links": [{"href": href, "rel": "self"}],
            })
        })
        .collect();
    Ok(Json(json!({"versions": versions})).into_response())
}

/// `GET /v2` and its groups: a bare string, not a version document.
pub(crate) async fn v2() -> Json<&'static str> {
    Json("v2")
}
