//! The request's caller, before anything else is looked at.
//!
//! A token that is none, or no longer one, is 401 in the shape of Octavia's Keystone middleware; an
//! Identity service that cannot be asked is 503, for the caller has done nothing wrong.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use lb_openstack::OpenStackError;
use serde_json::json;

use crate::{
    auth::{AuthStrategy, Caller},
    path,
    state::ApiState,
};

/// What is answered to everyone (contract 1.3), in canonical spelling.
const OPEN_PATHS: &[&str] = &[
    "/",
    "/healthcheck",
    "/openapi",
    "/docs",
    "/docs/page.js",
    "/docs/page.css",
    "/v1",
    "/key-manager",
];

/// What a caller that shows no valid token is told.
const NO_TOKEN: &str = "The request you have made requires authentication.";

/// Layer: puts the [`Caller`] into the request, or refuses it.
pub(crate) async fn authenticate(
    State(api): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = if is_open(&api, &request) {
        Caller::default()
    } else {
        match api.config().auth_strategy {
            AuthStrategy::Noauth => Caller {
                is_admin: true,
                ..Caller::from_headers(request.headers())
            },
            AuthStrategy::Testing => judged(&api, Caller::from_headers(request.headers())),
            AuthStrategy::Keystone => {
                let (verb, path) = (request.method(), request.uri().path());
                match by_token(&api, request.headers(), verb, path).await {
                    Ok(caller) => judged(&api, caller),
                    Err(OpenStackError::InvalidToken) => return unauthorized(&api),
                    Err(error) => return unknown(&error),
                }
            }
        }
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

async fn by_token(
    api: &ApiState,
    headers: &HeaderMap,
    verb: &Method,
    path: &str,
) -> Result<Caller, OpenStackError> {
    // Storage-Token is an older name that the middleware still knows.
    let shown = ["x-auth-token", "x-storage-token"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .ok_or(OpenStackError::InvalidToken)?;
    let keystone = api.config().keystone.as_ref().ok_or_else(|| {
        OpenStackError::Config("auth_strategy is keystone and none is configured".to_owned())
    })?;
    let token = keystone.validate(shown).await?;
    if let Some(rules) = &token.access_rules
        && !rules.iter().any(|rule| rule.allows(verb.as_str(), path))
    {
        return Err(OpenStackError::InvalidToken);
    }
    Ok(Caller::from_token(&token))
}

/// Whether it is admin is the policy's to say, once a request.
fn judged(api: &ApiState, mut caller: Caller) -> Caller {
    caller.is_admin = api.config().policy.borrow().is_admin(&caller.credentials());
    caller
}

fn unauthorized(api: &ApiState) -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, NO_TOKEN);
    let uri = &api.config().www_authenticate_uri;
    if let Ok(value) = HeaderValue::from_str(&format!("Keystone uri=\"{uri}\"")) {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

fn unknown(error: &OpenStackError) -> Response {
    tracing::warn!(%error, "a caller could not be authenticated");
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "The Keystone service is temporarily unavailable.",
    )
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let error = json!({"code": status.as_u16(), "title": title, "message": message});
    (status, Json(json!({"error": error}))).into_response()
}

fn is_open(api: &ApiState, request: &Request) -> bool {
    let mount = &api.config().front.mount_prefix;
    // A preflight carries no token.
    *request.method() == Method::OPTIONS
        || OPEN_PATHS.contains(&path::canonical(request.uri().path(), mount).as_str())
}
