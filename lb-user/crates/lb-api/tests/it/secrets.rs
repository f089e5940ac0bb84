//! The secrets API, and certificates in listeners (checklist 2 for TERMINATED_HTTPS).

use axum::http::{Method, StatusCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::Api;

fn pem() -> String {
    let key = rcgen::generate_simple_self_signed(vec!["www.example.com".to_owned()]).unwrap();
    format!("{}{}", key.cert.pem(), key.signing_key.serialize_pem())
}

async fn store(api: &Api, payload: &str) -> String {
    let body = json!({"name": "web", "payload": BASE64_STANDARD.encode(payload),
        "payload_content_type": "application/octet-stream", "payload_content_encoding": "base64"});
    let answer = api.send(Method::POST, "/v1/secrets", Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["secret_ref"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_stored_comes_back() {
    let api = Api::start().await;
    let reference = store(&api, "payload\0bytes").await;
    let path = reference
        .strip_prefix("http://test.example")
        .unwrap()
        .to_owned();
    let shown = api.get(&path).await;
    assert_eq!(
        (&shown.body["name"], &shown.body["status"]),
        (&json!("web"), &json!("ACTIVE"))
    );
    assert_eq!(shown.body["secret_ref"], reference);
    let octets = [("accept", "application/octet-stream")];
    for path in [path.clone(), format!("{path}/payload")] {
        let payload = api.send_with(Method::GET, &path, &octets, Vec::new()).await;
        assert_eq!(payload.bytes, b"payload\0bytes");
        assert_eq!(payload.headers["content-type"], "application/octet-stream");
    }
    let list = api.get("/v1/secrets?name=web").await;
    assert_eq!(list.body["total"], 1);
    assert_eq!(
        api.get("/v1/secrets?name=other").await.body["secrets"],
        json!([])
    );
    assert_eq!(
        api.send(Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(api.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        api.send(Method::DELETE, &path, None).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn bad_secrets_are_400() {
    let api = Api::start().await;
    for body in [
        json!({}),
        json!([]),
        json!({"payload": "x"}),
        json!({"payload": "x", "payload_content_type": "application/octet-stream"}),
        json!({"payload": "%", "payload_content_type": "a/b", "payload_content_encoding": "base64"}),
        json!({"payload": "x", "payload_content_type": "a/b", "payload_content_encoding": "gzip"}),
        json!({"payload": "", "payload_content_type": "text/plain"}),
        json!({"payload": "x", "payload_content_type": "text/plain", "bogus": 1}),
        json!({"payload": "x".repeat(70_000), "payload_content_type": "text/plain"}),
    ] {
        let answer = api.send(Method::POST, "/v1/secrets", Some(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_listener_serves_a_stored_certificate_and_holds_it() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let reference = store(&api, &pem()).await;
    let body = json!({"listener": {"loadbalancer_id": lb, "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443, "default_tls_container_ref": reference, "sni_container_refs": [reference]}});
    let answer = api.post("listeners", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let listener = &answer.body["listener"];
    assert_eq!(listener["default_tls_container_ref"], reference);
    assert_eq!(listener["tls_versions"], json!(["TLSv1.2", "TLSv1.3"]));
    assert_eq!(
        listener["alpn_protocols"],
        json!(["h2", "http/1.1", "http/1.0"])
    );
    assert!(
        listener["tls_ciphers"]
            .as_str()
            .unwrap()
            .starts_with("TLS_AES_128_GCM_SHA256:")
    );
    let path = reference
        .strip_prefix("http://test.example")
        .unwrap()
        .to_owned();
    assert_eq!(
        api.send(Method::DELETE, &path, None).await.status,
        StatusCode::CONFLICT
    );
    api.settle(&lb).await;
    // Any other change of the listener is not about its certificates.
    let id = listener["id"].as_str().unwrap();
    let renamed = api
        .put(
            &format!("listeners/{id}"),
            json!({"listener": {"name": "tls"}}),
        )
        .await;
    assert_eq!(renamed.status, StatusCode::OK, "{}", renamed.body);
}

#[tokio::test]
async fn references_that_cannot_be_read_are_named() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let junk = store(&api, "no certificate").await;
    let nowhere = format!("http://test.example/v1/secrets/{}", Api::PORT_NOBODY);
    for reference in [junk, nowhere, "not-a-reference".to_owned()] {
        let body = json!({"listener": {"loadbalancer_id": lb, "protocol": "TERMINATED_HTTPS",
            "protocol_port": 443, "default_tls_container_ref": reference}});
        let answer = api.post("listeners", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{reference}");
        assert!(answer.fault().contains(&reference), "{}", answer.fault());
    }
    let body = json!({"listener": {"loadbalancer_id": lb, "protocol": "TERMINATED_HTTPS", "protocol_port": 443}});
    let answer = api.post("listeners", body).await;
    assert_eq!(
        (answer.status, answer.body["faultcode"].clone()),
        (StatusCode::BAD_REQUEST, Value::from("Client"))
    );
}
