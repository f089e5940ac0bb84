//! Whatever is sent: no answer is a 5xx other than 501, and what is refused changed nothing.

use axum::http::Method;
use proptest::{
    collection::{btree_map, vec},
    prelude::{Just, Strategy, any, prop_oneof},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use crate::support::{Api, NETWORK_ID, SUBNET_V4};

/// Words that bodies are made of, so that they get past the first check.
const WORDS: &[&str] = &[
    "loadbalancer",
    "listener",
    "pool",
    "member",
    "members",
    "healthmonitor",
    "l7policy",
    "rule",
    "listeners",
    "pools",
    "l7policies",
    "rules",
    "default_pool",
    "redirect_pool",
    "name",
    "tags",
    "description",
    "admin_state_up",
    "protocol",
    "protocol_port",
    "loadbalancer_id",
    "listener_id",
    "pool_id",
    "lb_algorithm",
    "address",
    "weight",
    "delay",
    "timeout",
    "max_retries",
    "type",
    "compare_type",
    "value",
    "key",
    "action",
    "position",
    "redirect_url",
    "redirect_pool_id",
    "session_persistence",
    "cookie_name",
    "insert_headers",
    "allowed_cidrs",
    "vip_subnet_id",
    "vip_network_id",
    "vip_address",
    "additional_vips",
    "subnet_id",
    "ip_address",
    "HTTP",
    "TCP",
    "TERMINATED_HTTPS",
    "ROUND_ROBIN",
    "SOURCE_IP_PORT",
    "PATH",
    "STARTS_WITH",
    "REGEX",
    "REJECT",
    "REDIRECT_TO_POOL",
    "/api",
    "192.0.2.200",
    "::1",
    "10.0.0.0/8",
    "80",
    "tls_versions",
    "default_tls_container_ref",
    "sni_container_refs",
    "payload",
    "payload_content_type",
    "text/plain",
    SUBNET_V4,
    NETWORK_ID,
];

fn any_json() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(word.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every path that takes a body, on objects that exist.
async fn targets(api: &Api) -> Vec<(Method, String, &'static str)> {
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let pool = api.pool_of_listener(&lb, &listener).await;
    let member = api.member(&lb, &pool, "192.0.2.200").await;
    let monitor = api.monitor(&lb, &pool).await;
    let policy = api.policy(&lb, &listener, json!({})).await;
    let prefix = "/v2/lbaas";
    vec![
        (
            Method::POST,
            format!("{prefix}/loadbalancers"),
            "loadbalancer",
        ),
        (
            Method::PUT,
            format!("{prefix}/loadbalancers/{lb}"),
            "loadbalancer",
        ),
        (Method::POST, format!("{prefix}/listeners"), "listener"),
        (
            Method::PUT,
            format!("{prefix}/listeners/{listener}"),
            "listener",
        ),
        (Method::POST, format!("{prefix}/pools"), "pool"),
        (Method::PUT, format!("{prefix}/pools/{pool}"), "pool"),
        (
            Method::POST,
            format!("{prefix}/pools/{pool}/members"),
            "member",
        ),
        (
            Method::PUT,
            format!("{prefix}/pools/{pool}/members"),
            "members",
        ),
        (
            Method::PUT,
            format!("{prefix}/pools/{pool}/members/{member}"),
            "member",
        ),
        (
            Method::POST,
            format!("{prefix}/healthmonitors"),
            "healthmonitor",
        ),
        (
            Method::PUT,
            format!("{prefix}/healthmonitors/{monitor}"),
            "healthmonitor",
        ),
        (Method::POST, format!("{prefix}/l7policies"), "l7policy"),
        (
            Method::PUT,
            format!("{prefix}/l7policies/{policy}"),
            "l7policy",
        ),
        (
            Method::POST,
            format!("{prefix}/l7policies/{policy}/rules"),
            "rule",
        ),
        (Method::POST, "/v1/secrets".to_owned(), "payload"),
    ]
}

#[tokio::test]
async fn no_body_is_answered_with_an_internal_error() {
    let api = Api::start().await;
    let targets = targets(&api).await;
    let mut runner = TestRunner::deterministic();
    let strategy = any_json();
    for round in 0..60 {
        for (verb, path, key) in &targets {
            let tree = strategy.new_tree(&mut runner).unwrap().current();
            let body = if round % 3 == 0 {
                tree
            } else {
                json!({*key: tree})
            };
            let before = api.generations().await;
            let answer = api.send(verb.clone(), path, Some(body.clone())).await;
            let status = answer.status.as_u16();
            assert!(
                status < 500 || status == 501,
                "{status} {verb} {path} {body}: {}",
                answer.body
            );
            if answer.status.is_success() {
                for id in before.keys() {
                    api.settle(&id.to_string()).await;
                }
            } else {
                assert_eq!(
                    api.generations().await,
                    before,
                    "{status} {verb} {path} {body}"
                );
                assert!(answer.body["faultcode"].is_string(), "{verb} {path} {body}");
            }
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_json_are_400_everywhere() {
    let api = Api::start().await;
    let json_type = [("content-type", "application/json")];
    for (verb, path, _) in targets(&api).await {
        for bytes in [
            &b"\xff\xfe"[..],
            b"{\"a\":",
            b"nul",
            &[b'['; 4096],
            b"{\"a\":1e999}",
        ] {
            let answer = api
                .send_with(verb.clone(), &path, &json_type, bytes.to_vec())
                .await;
            assert_eq!(answer.status.as_u16(), 400, "{verb} {path} {bytes:?}");
        }
    }
}

#[tokio::test]
async fn odd_paths_and_queries_are_refused_quietly() {
    let api = Api::start().await;
    for path in [
        "/v2/lbaas/loadbalancers/%00",
        "/v2/lbaas/loadbalancers/%ff%fe",
        "/v2/lbaas/loadbalancers/../../etc",
        "/v2/lbaas//loadbalancers",
        "/v2/lbaas/loadbalancers?%ff=%fe",
        "/v2/lbaas/loadbalancers?limit=99999999999999999999",
        "/v2/lbaas/loadbalancers?created_at=yesterday",
        "/v2/lbaas/loadbalancers?vip_address=nonsense",
        "/v2/lbaas/loadbalancers?id=%27%20OR%201%3D1",
        "//",
    ] {
        let answer = api.get(path).await;
        assert!(
            answer.status.as_u16() < 500,
            "{path}: {} {}",
            answer.status,
            answer.body
        );
    }
}
