//! The API's own description: an OpenAPI 3.1 document, and a page to read it in.
//!
//! What bodies hold is found by running the request readers of lb-model on a sample
//! ([`lb_model::request::outline`]), what lists can be filtered by is asked of lb-store; so neither can be
//! documented otherwise than it is. Written down here are paths and verbs ([`operations`], [`neighbours`]), answers
//! ([`answers`]) and words ([`words`]). The document is committed as `docs/api/openapi.json`; a test
//! compares, and sends a request to every operation of it.

mod answers;
mod bodies;
mod neighbours;
mod operations;
mod words;

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value, json};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// The page, its script and its style are files of their own, so that nothing inline need be allowed.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
     style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE: &str = include_str!("openapi/page.html");
const SCRIPT: &str = include_str!("openapi/page.js");
const STYLE: &str = include_str!("openapi/page.css");

/// `GET /openapi.json`
pub(crate) async fn show() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], DOCUMENT.as_str()).into_response()
}

/// `GET /docs`
pub(crate) async fn page() -> Response {
    file("text/html; charset=utf-8", PAGE)
}

/// `GET /docs/page.js`
pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// `GET /docs/page.css`
pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut schemas = bodies::schemas();
    schemas.extend(answers::schemas());
    schemas.extend(neighbours::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "LBaaS",
            "version": "v2.30",
            "description": words::ABOUT,
        },
        "servers": [
            {"url": "/"},
            {"url": "/load-balancer", "description": "The mount prefix that most service catalogues name."},
        ],
        "security": [{"token": []}, {}],
        "tags": operations::tags(),
        "paths": paths(),
        "components": {
            "schemas": Value::Object(schemas),
            "responses": answers::refusals(),
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    })
}

fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for operation in operations::all() {
        let item = paths
            .entry(operation.path.clone())
            .or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(operation.verb.to_owned(), operation.described());
        }
    }
    paths
}
