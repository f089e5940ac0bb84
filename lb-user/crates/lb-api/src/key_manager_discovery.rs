//! Versions of the Key Manager API, for its clients: they ask for them with a header of their own,
//! at the root of whatever endpoint they were given, before anything else.

use axum::{
    Json,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{call::Call, error::ApiError, path::KEY_MANAGER_MOUNT};

const VERSION_HEADER: HeaderName = HeaderName::from_static("openstack-api-version");

/// Whether a request for the root is one of a Key Manager client.
pub(crate) fn is_asked_for(call: &Call) -> bool {
    call.header(VERSION_HEADER.as_str())
        .is_some_and(|value| value.trim_start().starts_with("key-manager"))
}

/// `GET /` by a Key Manager client, and `GET /key-manager`.
pub(crate) async fn versions(call: Call) -> Response {
    answer(&json!({"versions": [version(&call)]}))
}

/// `GET /v1`, which to everybody else is a path that does not exist (contract 1.2).
pub(crate) async fn v1(call: Call) -> Result<Response, ApiError> {
    if !is_asked_for(&call) && !call.url().contains(KEY_MANAGER_MOUNT) {
        return Err(ApiError::router(StatusCode::NOT_FOUND, ""));
    }
    Ok(answer(&json!({"version": version(&call)})))
}

fn answer(body: &Value) -> Response {
    (
        [
            (VERSION_HEADER, "key-manager 1.1"),
            (HeaderName::from_static("vary"), "OpenStack-API-Version"),
        ],
        Json(body),
    )
        .into_response()
}

fn version(call: &Call) -> Value {
    json!({
        "id": "v1",
        "status": "CURRENT",
        "min_version": "1.0",
        "max_version": "1.1",
        "updated": "2021-02-10T00:00:00Z",
        "links": [
            {"rel": "self", "href": format!("{}/v1/", call.key_manager_base())},
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
        ],
        "media-types": [{"base": "application/json",
            "type": "application/vnd.openstack.key-manager-v1+json"}],
    })
}
