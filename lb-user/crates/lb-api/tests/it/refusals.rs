//! What the data path does not do yet is refused with 501, naming field and value: nothing is ACTIVE
//! that does not work.

use axum::http::{Method, StatusCode};
use lb_model::capability::CapabilitySet;
use serde_json::{Value, json};

use crate::support::Api;

/// A server whose only host can do the least.
async fn with_the_least() -> Api {
    let api = Api::start().await;
    let least = CapabilitySet::default();
    let carries = std::collections::BTreeSet::new();
    api.store
        .report_host("host", &carries)
        .await
        .expect("a store");
    api.store
        .declare_capabilities("host", &least)
        .await
        .expect("a store");
    api
}

/// Sends a change and wants it refused by field and value, with nothing changed.
async fn refused(api: &Api, verb: Method, path: &str, body: Value, field: &str, value: &str) {
    let before = api.generations().await;
    let answer = api.v2(verb, path, Some(body.clone())).await;
    let text = answer.fault();
    assert_eq!(
        answer.status,
        StatusCode::NOT_IMPLEMENTED,
        "{path} {body}: {}",
        answer.body
    );
    assert_eq!(answer.body["faultcode"], "Server", "{body}");
    assert!(
        text.contains(field) && text.contains(value),
        "{field} {value}: {text}"
    );
    assert_eq!(api.generations().await, before, "{body}");
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

#[tokio::test]
async fn what_the_operator_switched_off_is_400_and_named() {
    let api = Api::start_with(|config| {
        config.deployment.tls_terminated_listeners = false;
        config.deployment.prometheus_listeners = false;
        config.deployment.ping_health_monitors = false;
    })
    .await;
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    for (path, key, body, told) in [
        (
            "listeners",
            "listener",
            json!({"loadbalancer_id": lb, "protocol": "PROMETHEUS", "protocol_port": 80}),
            "The selected protocol is not allowed in this deployment: PROMETHEUS",
        ),
        (
            "listeners",
            "listener",
            json!({"loadbalancer_id": lb, "protocol": "TERMINATED_HTTPS", "protocol_port": 80,
                   "default_tls_container_ref": "x"}),
            "The selected protocol is not allowed in this deployment: TERMINATED_HTTPS",
        ),
        (
            "healthmonitors",
            "healthmonitor",
            json!({"pool_id": pool, "type": "PING", "delay": 1, "timeout": 1, "max_retries": 2}),
            "The selected type is not allowed in this deployment: PING",
        ),
    ] {
        let answer = api.v2(Method::POST, path, Some(json!({key: body}))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert_eq!(answer.fault(), told);
    }
}

#[tokio::test]
async fn listeners() {
    let api = with_the_least().await;
    let lb = api.active_lb().await;
    let http = json!({"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80});
    for (key, value, told) in [
        ("protocol", json!("UDP"), "UDP"),
        ("protocol", json!("SCTP"), "SCTP"),
        ("protocol", json!("HTTPS"), "HTTPS"),
        ("protocol", json!("PROMETHEUS"), "PROMETHEUS"),
    ] {
        let body = json!({"listener": with(http.clone(), key, value)});
        refused(&api, Method::POST, "listeners", body, key, told).await;
    }
    let pool = api.pool(&lb).await;
    let tcp = json!({"listener": {"loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 81, "default_pool_id": pool}});
    refused(&api, Method::POST, "listeners", tcp, "protocol", "HTTP").await;
}

#[tokio::test]
async fn pools() {
    let api = with_the_least().await;
    let lb = api.active_lb().await;
    let pool = json!({"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"});
    for (key, value, field, told) in [
        ("protocol", json!("PROXY"), "protocol", "PROXY"),
        ("protocol", json!("UDP"), "protocol", "UDP"),
        (
            "lb_algorithm",
            json!("LEAST_CONNECTIONS"),
            "lb_algorithm",
            "LEAST_CONNECTIONS",
        ),
        (
            "lb_algorithm",
            json!("SOURCE_IP"),
            "lb_algorithm",
            "SOURCE_IP",
        ),
        (
            "session_persistence",
            json!({"type": "SOURCE_IP"}),
            "session_persistence",
            "SOURCE_IP",
        ),
        ("tls_enabled", json!(true), "tls_enabled", "true"),
    ] {
        let body = json!({"pool": with(pool.clone(), key, value)});
        refused(&api, Method::POST, "pools", body, field, told).await;
    }
    let id = api.pool(&lb).await;
    let path = format!("pools/{id}");
    let body = json!({"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}});
    refused(
        &api,
        Method::PUT,
        &path,
        body,
        "lb_algorithm",
        "LEAST_CONNECTIONS",
    )
    .await;
}

#[tokio::test]
async fn monitors_and_load_balancers() {
    let api = with_the_least().await;
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    for kind in ["PING", "HTTPS", "TLS-HELLO"] {
        let body = json!({"healthmonitor": {"pool_id": pool, "type": kind, "delay": 1, "timeout": 1, "max_retries": 2}});
        refused(&api, Method::POST, "healthmonitors", body, "type", kind).await;
    }
    assert_eq!(api.count("loadbalancers").await, 1);
}
