//! Single-call create of a whole load balancer (contract 6.1).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, SUBNET_V4, keys};

fn demonstration() -> Value {
    json!({"loadbalancer": {
        "name": "demo", "vip_subnet_id": SUBNET_V4,
        "listeners": [
            {"name": "listener1", "protocol": "HTTP", "protocol_port": 80,
             "default_pool": {"name": "pool1", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                 "healthmonitor": {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 2},
                 "members": [{"address": "192.0.2.201", "protocol_port": 80}]},
             "l7policies": [{"name": "api", "action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "pool2"},
                 "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}]}]},
            {"name": "listener2", "protocol": "HTTP", "protocol_port": 8080, "default_pool": {"name": "pool2"}},
        ],
        "pools": [{"name": "pool2", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": [{"address": "192.0.2.202", "protocol_port": 80}]}],
    }})
}

#[tokio::test]
async fn the_answer_is_the_whole_tree() {
    let api = Api::start().await;
    let answer = api.post("loadbalancers", demonstration()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let lb = &answer.body["loadbalancer"];
    let pools = lb["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 2);
    let named = |name: &str| pools.iter().find(|pool| pool["name"] == name).unwrap();
    let (one, two) = (named("pool1"), named("pool2"));
    let listeners = lb["listeners"].as_array().unwrap();
    assert_eq!(listeners[0]["default_pool_id"], one["id"]);
    assert_eq!(listeners[1]["default_pool_id"], two["id"]);
    let policy = &listeners[0]["l7policies"][0];
    assert_eq!(policy["redirect_pool_id"], two["id"]);
    assert_eq!(policy["rules"][0]["value"], "/api");
    assert_eq!(one["healthmonitor"]["type"], "HTTP");
    assert_eq!(one["members"][0]["address"], "192.0.2.201");
    assert_eq!(one["members"][0]["operating_status"], "OFFLINE");
    assert_eq!(two["members"][0]["operating_status"], "NO_MONITOR");
    for nested in [&listeners[0], one] {
        assert!(!keys(nested).contains(&"loadbalancers"));
        assert_eq!(nested["provisioning_status"], "PENDING_CREATE");
    }
    assert!(!keys(one).contains(&"healthmonitor_id"));
    assert_eq!(two["listeners"].as_array().unwrap().len(), 2);
    let id = lb["id"].as_str().unwrap();
    api.settle(id).await;
    let shown = api.get_v2(&format!("loadbalancers/{id}/status")).await;
    let tree = &shown.body["statuses"]["loadbalancer"];
    assert_eq!(tree["provisioning_status"], "ACTIVE");
    assert_eq!(tree["listeners"][0]["pools"].as_array().unwrap().len(), 2);
    assert_eq!(
        tree["listeners"][0]["pools"][0]["members"][0]["provisioning_status"],
        "ACTIVE"
    );
}

#[tokio::test]
async fn one_bad_leaf_leaves_nothing_behind() {
    let api = Api::start().await;
    for (pointer, bad, status) in [
        (
            "/loadbalancer/pools/0/members/0/address",
            json!("127.0.0.1"),
            400,
        ),
        ("/loadbalancer/pools/0/name", json!(null), 400),
        ("/loadbalancer/pools/0/name", json!("pool1"), 400),
        ("/loadbalancer/pools/0/protocol", json!("NOPE"), 400),
        ("/loadbalancer/listeners/1/protocol_port", json!(80), 409),
        (
            "/loadbalancer/listeners/1/default_pool/name",
            json!("nobody"),
            400,
        ),
        (
            "/loadbalancer/listeners/0/l7policies/0/rules/0/compare_type",
            json!("ALMOST"),
            400,
        ),
        (
            "/loadbalancer/pools/0/members/0/address",
            json!("2001:db8::5"),
            501,
        ),
    ] {
        let mut body = demonstration();
        *body.pointer_mut(pointer).unwrap() = bad.clone();
        let answer = api.post("loadbalancers", body).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{pointer} {bad}: {}",
            answer.body
        );
        assert_eq!(api.count("loadbalancers").await, 0, "{pointer}");
        assert_eq!(
            api.get("/v2.0/ports").await.body["ports"],
            json!([]),
            "{pointer}"
        );
    }
}
