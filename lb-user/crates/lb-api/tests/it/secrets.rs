//! The secrets API, and certificates in listeners (checklist 2 for TERMINATED_HTTPS).

use axum::http::{Method, StatusCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use lb_api::AuthStrategy;

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
        json!([]),
        json!({"payload_content_type": "text/plain"}),
        json!({"secret_type": "rubbish"}),
        json!({"expiration": "2001-01-01T00:00:00"}),
        json!({"expiration": "soon"}),
        json!({"payload": "x", "payload_content_type": "text/html"}),
        json!({"payload": "x"}),
        json!({"payload": "x", "payload_content_type": "application/octet-stream"}),
        json!({"payload": "%", "payload_content_type": "a/b", "payload_content_encoding": "base64"}),
        json!({"payload": "x", "payload_content_type": "a/b", "payload_content_encoding": "gzip"}),
        json!({"payload": "", "payload_content_type": "text/plain"}),
        json!({"payload": "x", "payload_content_type": "text/plain", "bogus": 1}),
    ] {
        let answer = api.send(Method::POST, "/v1/secrets", Some(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    let huge = json!({"payload": "x".repeat(70_000), "payload_content_type": "text/plain"});
    let answer = api.send(Method::POST, "/v1/secrets", Some(huge)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_secret_in_two_steps_has_its_payload_written_once() {
    let api = Api::start().await;
    let about = json!({"name": "two", "algorithm": "aes", "mode": "cbc", "bit_length": 256,
        "secret_type": "symmetric", "expiration": "2099-12-31T23:59:59"});
    let made = api.send(Method::POST, "/v1/secrets", Some(about)).await;
    let path = path_of(&made.body["secret_ref"]);
    assert_eq!(
        made.headers["location"],
        made.body["secret_ref"].as_str().unwrap()
    );
    let shown = api.get(&path).await.body;
    assert!(shown.get("content_types").is_none(), "{shown}");
    for (key, value) in [
        ("algorithm", "aes"),
        ("mode", "cbc"),
        ("secret_type", "symmetric"),
        ("expiration", "2099-12-31T23:59:59"),
        ("status", "ACTIVE"),
    ] {
        assert_eq!(shown[key], value, "{shown}");
    }
    assert_eq!(shown["bit_length"], 256);
    let octets = [("accept", "application/octet-stream")];
    let none = api
        .send_with(Method::GET, &format!("{path}/payload"), &octets, Vec::new())
        .await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    let put = async |kind: &str, bytes: &[u8]| {
        let headers = [("content-type", kind)];
        api.send_with(Method::PUT, &path, &headers, bytes.to_vec())
            .await
            .status
    };
    assert_eq!(
        put("text/html", b"x").await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        put("application/octet-stream", b"\x01\x02").await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        put("application/octet-stream", b"\x03").await,
        StatusCode::CONFLICT
    );
    let payload = api
        .send_with(Method::GET, &format!("{path}/payload"), &octets, Vec::new())
        .await;
    assert_eq!(payload.bytes, b"\x01\x02");
    let text = [("accept", "text/plain")];
    let other = api
        .send_with(Method::GET, &format!("{path}/payload"), &text, Vec::new())
        .await;
    assert_eq!(other.status, StatusCode::NOT_ACCEPTABLE);
}

fn path_of(reference: &Value) -> String {
    let text = reference.as_str().unwrap();
    text.strip_prefix("http://test.example").unwrap().to_owned()
}

#[tokio::test]
async fn lists_come_in_pages_with_a_total_and_links() {
    let api = Api::start().await;
    for _one in 0..12 {
        store(&api, "x").await;
    }
    let first = api.get("/v1/secrets?name=web").await.body;
    assert_eq!(first["total"], 12);
    assert_eq!(first["secrets"].as_array().unwrap().len(), 10);
    assert!(first.get("previous").is_none());
    let second = api.get(&path_of(&first["next"])).await.body;
    assert_eq!(second["secrets"].as_array().unwrap().len(), 2);
    assert!(second.get("next").is_none() && second.get("previous").is_some());
    let none = api.get("/v1/secrets?alg=aes&bits=0").await.body;
    assert_eq!(none["total"], 0);
}

#[tokio::test]
async fn secrets_are_their_projects_and_payloads_not_for_readers() {
    let api = Api::start_with(|config| config.auth_strategy = AuthStrategy::Testing).await;
    let who = |project: &'static str, user: &'static str, roles: &'static str| {
        [
            ("x-project-id", project),
            ("x-user-id", user),
            ("x-roles", roles),
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ]
    };
    let (ours, reader, theirs) = (
        who("p1", "u1", "member"),
        who("p1", "u2", "reader"),
        who("p2", "u3", "member"),
    );
    let body = json!({"payload": "private", "payload_content_type": "text/plain"}).to_string();
    let post = async |headers: &[(&str, &str)]| {
        api.send_with(
            Method::POST,
            "/v1/secrets",
            headers,
            body.clone().into_bytes(),
        )
        .await
    };
    assert_eq!(post(&reader).await.status, StatusCode::FORBIDDEN);
    let made = post(&ours).await;
    let path = path_of(&made.body["secret_ref"]);
    let get = async |path: &str, headers: &[(&str, &str)]| {
        api.send_with(Method::GET, path, headers, Vec::new()).await
    };
    assert_eq!(get(&path, &ours).await.body["creator_id"], "u1");
    assert_eq!(get(&path, &reader).await.status, StatusCode::OK);
    let payload = format!("{path}/payload");
    let text = |mut headers: [(&'static str, &'static str); 5]| {
        headers[4] = ("accept", "text/plain");
        headers
    };
    assert_eq!(get(&payload, &text(ours)).await.bytes, b"private");
    // Neither where it is asked for by name nor by type.
    for path in [&payload, &path] {
        let refused = get(path, &text(reader)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let missing = get(path, &text(theirs)).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(get("/v1/secrets", &theirs).await.body["total"], 0);
    let stolen = api
        .send_with(Method::DELETE, &path, &theirs, Vec::new())
        .await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND);
    // A private secret is its maker's and of those on its list.
    let acl = json!({"read": {"project-access": false, "users": ["u9"]}}).to_string();
    let put = api
        .send_with(Method::PUT, &format!("{path}/acl"), &ours, acl.into_bytes())
        .await;
    assert!(
        put.body["acl_ref"].as_str().unwrap().ends_with("/acl"),
        "{}",
        put.body
    );
    let other = get(&payload, &text(who("p1", "u4", "member"))).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    for user in ["u1", "u9"] {
        let read = get(&payload, &text(who("p1", user, "member"))).await;
        assert_eq!(read.status, StatusCode::OK, "{user}");
    }
    let gone = api
        .send_with(Method::DELETE, &format!("{path}/acl"), &ours, Vec::new())
        .await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(
        get(&format!("{path}/acl"), &ours).await.body,
        json!({"read": {"project-access": true}})
    );
}

#[tokio::test]
async fn a_certificate_container_serves_a_listener() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let key = rcgen::generate_simple_self_signed(vec!["www.example.com".to_owned()]).unwrap();
    let certificate = store(&api, &key.cert.pem()).await;
    let private_key = store(&api, &key.signing_key.serialize_pem()).await;
    let refs = |names: &[&str]| -> Vec<Value> {
        let all = [("certificate", &certificate), ("private_key", &private_key)];
        let chosen = all.iter().filter(|(name, _)| names.contains(name));
        chosen
            .map(|(name, it)| json!({"name": name, "secret_ref": it}))
            .collect()
    };
    for bad in [
        json!({"type": "certificate", "secret_refs": refs(&["private_key"])}),
        json!({"type": "rubbish"}),
        json!({"type": "rsa", "secret_refs": refs(&["certificate"])}),
    ] {
        let answer = api.send(Method::POST, "/v1/containers", Some(bad)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    let body = json!({"name": "tls", "type": "certificate",
        "secret_refs": refs(&["certificate", "private_key"])});
    let made = api.send(Method::POST, "/v1/containers", Some(body)).await;
    let reference = made.body["container_ref"].as_str().unwrap().to_owned();
    let path = path_of(&made.body["container_ref"]);
    let shown = api.get(&path).await.body;
    assert_eq!(
        (&shown["type"], &shown["status"]),
        (&json!("certificate"), &json!("ACTIVE"))
    );
    assert_eq!(shown["secret_refs"].as_array().unwrap().len(), 2);
    assert_eq!(
        api.get("/v1/containers?type=certificate").await.body["total"],
        1
    );
    // Whatever host stands in front of it.
    let elsewhere = reference.replace("http://test.example", "https://192.0.2.99:9311");
    let body = json!({"listener": {"loadbalancer_id": lb, "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443, "default_tls_container_ref": elsewhere}});
    let answer = api.post("listeners", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    for used in [&path, &path_of(&json!(certificate))] {
        let refused = api.send(Method::DELETE, used, None).await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        // python-barbicanclient reads it of every refusal.
        assert_eq!(refused.body["title"], "Conflict");
    }
}

#[tokio::test]
async fn consumers_are_told_and_bind_nothing() {
    let api = Api::start().await;
    let path = path_of(&json!(store(&api, "x").await));
    let consumers = format!("{path}/consumers");
    let one = json!({"service": "image", "resource_type": "images", "resource_id": "i1"});
    let made = api.send(Method::POST, &consumers, Some(one.clone())).await;
    assert_eq!(
        (made.status, &made.body["consumers"]),
        (StatusCode::OK, &json!([one]))
    );
    assert_eq!(api.get(&path).await.body["consumers"], json!([one]));
    assert_eq!(api.get(&consumers).await.body["total"], 1);
    let removed = api
        .send(Method::DELETE, &consumers, Some(one.clone()))
        .await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let again = api.send(Method::DELETE, &consumers, Some(one)).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn key_manager_clients_find_their_version_and_paths_whatever_endpoint_they_were_given() {
    let api = Api::start().await;
    let ask = [
        ("openstack-api-version", "key-manager 1.1"),
        ("accept", "application/json"),
    ];
    for root in ["/", "/key-manager", "/key-manager/"] {
        let answer = api.send_with(Method::GET, root, &ask, Vec::new()).await;
        let version = &answer.body["versions"][0];
        assert_eq!(
            (&version["id"], &version["max_version"]),
            (&json!("v1"), &json!("1.1")),
            "{root}"
        );
    }
    for root in ["/v1", "/key-manager/v1/"] {
        let answer = api.send_with(Method::GET, root, &ask, Vec::new()).await;
        assert_eq!(answer.body["version"]["id"], "v1", "{root}");
    }
    // Without the header the root is the load balancer's.
    assert_eq!(api.get("/").await.body["versions"][0]["id"], "v2.0");
    store(&api, "x").await;
    for list in [
        "/secrets/",
        "/v1/secrets",
        "/key-manager/secrets",
        "/key-manager/v1/secrets/",
    ] {
        let answer = api.get(list).await;
        assert_eq!(answer.body["total"], 1, "{list}");
        let reference = answer.body["secrets"][0]["secret_ref"].as_str().unwrap();
        assert_eq!(
            reference.contains("/key-manager/v1/"),
            list.contains("key-manager"),
            "{reference}"
        );
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
