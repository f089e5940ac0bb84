//! The request's caller, before anything else is looked at.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::{
    auth::{AuthStrategy, Caller},
    path,
    state::ApiState,
};

/// What is answered to everyone (contract 1.3), in canonical spelling.
const OPEN_PATHS: &[&str] = &["/", "/healthcheck", "/openapi.json", "/docs"];

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
        }
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Whether it is admin is the policy's to say, once a request.
fn judged(api: &ApiState, mut caller: Caller) -> Caller {
    caller.is_admin = api.config().policy.borrow().is_admin(&caller.credentials());
    caller
}

fn is_open(api: &ApiState, request: &Request) -> bool {
    let mount = &api.config().front.mount_prefix;
    // A preflight carries no token.
    *request.method() == Method::OPTIONS
        || OPEN_PATHS.contains(&path::canonical(request.uri().path(), mount).as_str())
}
