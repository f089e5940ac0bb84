//! What happens to every request before a route is looked for, and to every answer after.
//!
//! In: the path's spelling is reduced ([`crate::path`]), `Accept` and `Content-Type` are judged
//! (contract 1.7). Out: a request id on every answer, and `HEAD` taken out of `Allow`.
//!
//! Left out on purpose: CORS headers ([`crate::front::cors`]).

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};
use uuid::Uuid;

use crate::{error::ApiError, path, state::ApiState};

/// The path as the client wrote it: links repeat it.
#[derive(Debug, Clone)]
pub(crate) struct ClientPath(pub(crate) String);

/// On an answer whose `Allow` means what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnowsHead;

/// The one route that knows HEAD.
pub(crate) const HEALTHCHECK: &str = "/healthcheck";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// Outermost: names the request.
pub(crate) async fn request_id(request: Request, next: Next) -> Response {
    let id = format!("req-{}", Uuid::new_v4());
    tracing::debug!(%id, method = %request.method(), path = request.uri().path(), "request");
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let is_healthcheck = response.extensions().get::<KnowsHead>().is_some();
    let allow = response.headers().get(header::ALLOW);
    if let Some(allow) = allow.filter(|_| !is_healthcheck).and_then(without_head) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Checks what holds for every route, and hands the request on under its canonical path.
pub(crate) async fn admit(
    State(api): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let config = api.config();
    let client_path = request.uri().path().to_owned();
    let canonical = path::canonical(&client_path, &config.front.mount_prefix);
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    if let Err(refusal) = judge(&request, &canonical, config.body_bytes_max) {
        return refusal.into_response();
    }
    // A router that knows GET would answer HEAD as well; the contract does not. A verb that no route
    // has is answered with 405 and the verbs there are, or with 404.
    let is_head = request.method() == Method::HEAD;
    if is_head && canonical != HEALTHCHECK {
        *request.method_mut() = Method::TRACE;
    }
    match with_path(request.uri(), &canonical) {
        Some(uri) => *request.uri_mut() = uri,
        None => return ApiError::router(StatusCode::NOT_FOUND, "").into_response(),
    }
    request.extensions_mut().insert(ClientPath(client_path));
    next.run(request).await
}

fn judge(request: &Request, canonical: &str, body_bytes_max: usize) -> Result<(), ApiError> {
    if !speaks_for_itself(canonical) && !accepts_json(request) {
        return Err(ApiError::router(
            StatusCode::NOT_ACCEPTABLE,
            "Only content type application/json is offered.",
        ));
    }
    // Told before a byte of it is read; what comes in chunks is counted while it comes.
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > u64::try_from(body_bytes_max).unwrap_or(u64::MAX)) {
        return Err(ApiError::too_large(body_bytes_max));
    }
    // A secret's payload comes as what it is.
    let is_payload = *request.method() == Method::PUT && canonical.starts_with("/v1/secrets/");
    if has_body(request) && !is_json(request) && !is_payload {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unknown mimetype: the body must be application/json.",
        ));
    }
    Ok(())
}

/// Routes that answer with something else than JSON, and judge `Accept` themselves.
fn speaks_for_itself(canonical: &str) -> bool {
    canonical == HEALTHCHECK
        || canonical.starts_with("/v1/secrets/")
        || canonical == "/docs"
        || canonical.starts_with("/docs/")
        || canonical == "/v2/lbaas/events"
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

fn without_head(allow: &HeaderValue) -> Option<HeaderValue> {
    let mut verbs: Vec<&str> = allow
        .to_str()
        .ok()?
        .split(',')
        .map(str::trim)
        .filter(|verb| *verb != "HEAD")
        .collect();
    verbs.sort_unstable();
    HeaderValue::from_str(&verbs.join(", ")).ok()
}

fn accepts_json(request: &Request) -> bool {
    let mut given = request.headers().get_all(header::ACCEPT).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    given.filter_map(|value| value.to_str().ok()).any(|value| {
        value.trim().is_empty()
            || value.split(',').any(|range| {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or("");
                let refused =
                    parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
                !refused
                    && ["*/*", "application/*", "application/json"]
                        .iter()
                        .any(|known| kind.eq_ignore_ascii_case(known))
            })
    })
}

fn has_body(request: &Request) -> bool {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let is_empty = length.is_some_and(|length| length.as_bytes() == b"0")
        || (length.is_none() && !request.headers().contains_key(header::TRANSFER_ENCODING));
    matches!(*request.method(), Method::POST | Method::PUT) && !is_empty
}

/// No content type at all passes: what is not JSON fails as JSON a moment later.
fn is_json(request: &Request) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|value| {
            value.to_str().is_ok_and(|value| {
                let kind = value.split(';').next().unwrap_or("").trim();
                kind.eq_ignore_ascii_case("application/json")
            })
        })
}
