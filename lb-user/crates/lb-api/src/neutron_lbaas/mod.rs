//! The old door: neutron-lbaas's dialect under `/neutron/v2.0` (contract 11.2), off by default.
//!
//! A translation around the same API: a request is rewritten into Octavia's words and given to the
//! routes that everybody uses, and the answer is rewritten back. So authentication, policy, quotas and
//! every rule of the resources are the same; only what the old dialect has differently is here.
//! `/v2.0/lbaas` is not touched.
//!
//! Left out on purpose: the agent scheduler's paths. Quotas are the ones in force, not the old
//! service's defaults.

mod answer;
mod request;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use lb_model::id::LoadBalancerId;
use serde_json::Value;
use tower::ServiceExt as _;

use self::{
    answer::Refusal,
    request::{Door, Lookup},
};
use crate::{call, error::ApiError, state::ApiState};

/// Where the old dialect is spoken.
const MOUNT: &str = "/neutron";
/// Largest answer that is rewritten: a full page of load balancers is far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The API with the old door beside its own.
pub(crate) fn with_door(api: ApiState, octavia: Router) -> Router {
    if !api.config().neutron_lbaas {
        return octavia;
    }
    Router::new().fallback(move |request: Request| {
        let (api, octavia) = (api.clone(), octavia.clone());
        async move {
            let path = request.uri().path();
            match path.strip_prefix(MOUNT).map(str::to_owned) {
                Some(path) if path.starts_with('/') => pass(&api, octavia, request, &path).await,
                _ => run(octavia, request).await,
            }
        }
    })
}

async fn run(octavia: Router, request: Request) -> Response {
    match octavia.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn pass(api: &ApiState, octavia: Router, request: Request, path: &str) -> Response {
    match translate(api, octavia, request, path).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn translate(
    api: &ApiState,
    octavia: Router,
    request: Request,
    path: &str,
) -> Result<Response, Refusal> {
    let door = Door::of(request.method(), path).ok_or_else(Refusal::no_such_url)?;
    let (mut parts, body) = request.into_parts();
    let mut bytes = if matches!(parts.method, Method::POST | Method::PUT) {
        let read = call::read(body, api.config().body_bytes_max).await;
        read.map_err(|error| Refusal::of(&error))?
    } else {
        bytes::Bytes::new()
    };
    if let Ok(document) = serde_json::from_slice::<Value>(&bytes) {
        let document = door.body(document)?;
        if let Some(lookup) = Lookup::of(&door, &parts.method, &document) {
            let path = format!("/v2.0/lbaas/{}", lookup.path);
            if let Some(other) = fetch(octavia.clone(), &parts.headers, &path).await {
                lookup.judge(&other)?;
            }
        }
        bytes = document.to_string().into();
    }
    parts.uri = uri(&door.path, parts.uri.query())?;
    parts.headers.remove(header::CONTENT_LENGTH);
    if !bytes.is_empty() {
        parts
            .headers
            .insert(header::CONTENT_LENGTH, bytes.len().into());
    }
    let response = run(octavia, Request::from_parts(parts, Body::from(bytes))).await;
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| Refusal::of(&ApiError::internal(&error)))?;
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        parts.status = door.status(parts.status, false);
        return Ok(Response::from_parts(parts, Body::from(bytes)));
    };
    let status = parts.status;
    if status == StatusCode::UNAUTHORIZED {
        return Ok(Response::from_parts(parts, Body::from(bytes)));
    }
    if !status.is_success() {
        let refusal = Refusal::from_octavia(status, &value);
        parts.status = refusal.status;
        value = refusal.body();
    } else {
        parts.status = door.status(status, true);
        if let Some(id) = door.tree_of() {
            let tree = api.store().read_tree(LoadBalancerId(id)).await;
            let tree = tree.map_err(|error| Refusal::of(&error.into()))?;
            value = answer::statuses(value, tree.as_ref());
        }
        value = door.answer(value);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(value.to_string())))
}

/// Another object, as the caller may see it.
async fn fetch(octavia: Router, headers: &HeaderMap, path: &str) -> Option<Value> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().ok()?;
    *request.headers_mut() = headers.clone();
    request.headers_mut().remove(header::CONTENT_LENGTH);
    let response = run(octavia, request).await;
    if response.status() != StatusCode::OK {
        return None;
    }
    let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The same query with the filter that only the old dialect knows.
fn uri(path: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    let text = match query {
        None => path.to_owned(),
        Some(query) => {
            let arguments = query.split('&').map(|argument| {
                argument.strip_prefix("tenant_id=").map_or_else(
                    || argument.to_owned(),
                    |value| format!("project_id={value}"),
                )
            });
            format!("{path}?{}", arguments.collect::<Vec<_>>().join("&"))
        }
    };
    text.parse().map_err(|_invalid| Refusal::no_such_url())
}
