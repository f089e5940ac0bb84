//! The document is what is committed, complete, and true of the routes.

use std::{collections::BTreeSet, path::PathBuf};

use axum::http::{Method, StatusCode};
use lb_api::openapi::document;
use serde_json::Value;

use crate::{every_route, support::Api};

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/api/openapi.json")
}

#[test]
fn the_committed_document_is_up_to_date() {
    let text = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
    let path = committed();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == text,
        "docs/api/openapi.json is out of date: run `UPDATE_OPENAPI=1 cargo test -p lb-api --test it openapi`"
    );
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for schema in [
        "LoadBalancerCreate",
        "ListenerCreate",
        "PoolCreatePool",
        "L7PolicyUpdate",
    ] {
        let known = document.pointer(&format!("/components/schemas/{schema}"));
        // A pool's own parts exist in a tree only.
        assert_eq!(known.is_some(), schema != "PoolCreatePool", "{schema}");
    }
    let listener = document
        .pointer("/components/schemas/LoadBalancerCreateListener/properties")
        .unwrap();
    assert!(listener["l7policies"]["items"]["$ref"].is_string());
    assert_eq!(listener["protocol_port"]["maximum"], 65_535);
}

/// Every operation: verb, path with ids that nothing has, and what it documents.
pub(crate) fn operations() -> Vec<(Method, String, Value)> {
    let document = document();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            let verb = verb.to_uppercase().parse().unwrap();
            operations.push((verb, path.clone(), operation.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_documented_operation_has_a_route() {
    let api = Api::start().await;
    let nobody = Api::PORT_NOBODY;
    let operations = operations();
    assert!(operations.len() > 80, "{}", operations.len());
    for (verb, path, operation) in operations {
        let parts = path.split('/').map(|part| match part {
            part if part.starts_with('{') => nobody,
            part => part,
        });
        let url = parts.collect::<Vec<_>>().join("/");
        let answer = api.send(verb.clone(), &url, None).await;
        assert_ne!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{verb} {path}"
        );
        let no_route = answer.status == StatusCode::NOT_FOUND && answer.body["description"] == "";
        assert!(!no_route, "{verb} {path}: {}", answer.body);
        let code = answer.status.as_str();
        assert!(
            operation["responses"][code].is_object(),
            "{verb} {path}: {code}"
        );
    }
}

#[test]
fn every_route_is_documented() {
    /// A path whose parameters have no names.
    fn shape(path: &str) -> String {
        let parts = path.split('/');
        let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }
    let documented: BTreeSet<(String, String)> = operations()
        .into_iter()
        .map(|(verb, path, _)| (verb.to_string(), shape(&path)))
        .collect();
    for route in every_route::table() {
        // For people, and the document itself under the name the router knows it by.
        if route.path.starts_with("/docs") || route.path == "/openapi" {
            continue;
        }
        // A version's root is one to clients of its API alone; everybody else finds it below its mount.
        let path = match route.path.as_str() {
            "/v1" => "/key-manager/v1",
            path => path,
        };
        for verb in &route.verbs {
            let known = documented.contains(&(verb.to_string(), shape(path)));
            assert!(known, "{verb} {}", route.path);
        }
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served_without_anything_from_outside() {
    let api = Api::start().await;
    for path in ["/openapi.json", "/load-balancer/openapi.json"] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, document());
    }
    for (path, kind) in [
        ("/docs", "text/html"),
        ("/docs/page.js", "text/javascript"),
        ("/docs/page.css", "text/css"),
    ] {
        let headers = [("accept", "text/html,*/*;q=0.1")];
        let answer = api.send_with(Method::GET, path, &headers, Vec::new()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        assert!(
            answer.headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with(kind)
        );
        let text = String::from_utf8(answer.bytes).unwrap();
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{path}"
        );
    }
}
