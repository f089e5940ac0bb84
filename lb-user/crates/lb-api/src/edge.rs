//! What happens to every request before a route is looked for, and to every answer after.
//!
//! In: the path's spelling is reduced ([`crate::path`]), `Accept` and `Content-Type` are judged
//! (contract 1.7). Out: a request id on every answer, and `HEAD` taken out of `Allow`.
//!
//! Left out on purpose: CORS headers (no origin is allowed yet, so there are none to send).

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};
use uuid::Uuid;

use crate::{error::ApiError, path};

/// The path as the client wrote it: links repeat it.
#[derive(Debug, Clone)]
pub(crate) struct ClientPath(pub(crate) String);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// Outermost: names the request.
pub(crate) async fn request_id(request: Request, next: Next) -> Response {
    let id = format!("req-{}", Uuid::new_v4());
    tracing::debug!(%id, method = %request.method(), path = request.uri().path(), "request");
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(allow) = response.headers().get(header::ALLOW).and_then(without_head) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Checks what holds for every route, and hands the request on under its canonical path.
pub(crate) async fn admit(mut request: Request, next: Next) -> Response {
    let client_path = request.uri().path().to_owned();
    let canonical = path::canonical(&client_path);
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    // A router that knows GET would answer HEAD as well; the contract does not.
    if request.method() == Method::HEAD {
        return ApiError::router(StatusCode::METHOD_NOT_ALLOWED, "").into_response();
    }
    // A secret's payload is no JSON: that route judges for itself.
    let is_secret = canonical.starts_with("/v1/secrets/");
    if !is_secret && !accepts_json(&request) {
        return ApiError::router(
            StatusCode::NOT_ACCEPTABLE,
            "Only content type application/json is offered.",
        )
        .into_response();
    }
    if has_body(&request) && !is_json(&request) {
        return ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unknown mimetype: the body must be application/json.",
        )
        .into_response();
    }
    match with_path(request.uri(), &canonical) {
        Some(uri) => *request.uri_mut() = uri,
        None => return ApiError::router(StatusCode::NOT_FOUND, "").into_response(),
    }
    request.extensions_mut().insert(ClientPath(client_path));
    next.run(request).await
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
