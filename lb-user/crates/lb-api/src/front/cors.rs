//! Which browsers' pages may call the API (contract 1.7), around everything else, so that refusals
//! carry the headers too.
//!
//! Without an allowed origin there is nothing to say: no header is sent, and a preflight is answered
//! with 200 and an empty body by [`crate::edge`].

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember a preflight's answer.
const MAX_AGE: Duration = Duration::from_secs(3600);

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The layer for these origins; `None`: there are none.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::PUT, Method::POST, Method::DELETE])
        .allow_headers([TOKEN, REQUEST_ID, header::ACCEPT, header::CONTENT_TYPE])
        .expose_headers([TOKEN, REQUEST_ID])
        .max_age(MAX_AGE);
    if origins.iter().any(|origin| origin == "*") {
        // Never with credentials: any page could use whatever the browser holds.
        return Some(layer.allow_origin(AllowOrigin::any()));
    }
    let named = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok());
    Some(
        layer
            .allow_origin(AllowOrigin::list(named))
            .allow_credentials(true),
    )
}
