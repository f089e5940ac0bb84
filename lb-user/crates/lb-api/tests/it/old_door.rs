//! neutron-lbaas's dialect beside Octavia's, on one server.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SUBNET_V4};

async fn old(api: &Api, verb: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let answer = api.send(verb, &format!("/neutron/v2.0/{path}"), body).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn the_door_is_shut_by_default() {
    let api = Api::start().await;
    let (status, _) = old(&api, Method::GET, "lbaas/loadbalancers", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn both_dialects_see_the_same_objects_each_in_its_words() {
    let api = Api::start_with(|config| config.neutron_lbaas = true).await;
    let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4, "tenant_id": Api::PROJECT}});
    let (status, made) = old(&api, Method::POST, "lbaas/loadbalancers", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let lb = made["loadbalancer"]["id"].as_str().unwrap().to_owned();
    api.settle(&lb).await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let pool = api.pool_of_listener(&lb, &listener).await;
    api.monitor(&lb, &pool).await;
    api.policy(&lb, &listener, json!({"name": "p"})).await;

    let path = format!("lbaas/loadbalancers?tenant_id={}", Api::PROJECT);
    let (_, listed) = old(&api, Method::GET, &path, None).await;
    assert_eq!(listed["loadbalancers"].as_array().unwrap().len(), 1);

    let path = format!("loadbalancers/{lb}/statuses");
    let (_, theirs) = old(&api, Method::GET, &format!("lbaas/{path}"), None).await;
    let node = &theirs["statuses"]["loadbalancer"]["listeners"][0];
    assert_eq!(node["l7policies"][0]["name"], "p");
    assert_eq!(node["pools"][0]["healthmonitor"]["type"], "HTTP");
    let ours = api.get_v2(&path).await;
    let node = &ours.body["statuses"]["loadbalancer"]["listeners"][0];
    assert_eq!(node["pools"][0]["health_monitor"]["type"], "HTTP");
    assert!(node.get("l7policies").is_none());

    let path = format!("lbaas/loadbalancers/{lb}/stats");
    let (_, stats) = old(&api, Method::GET, &path, None).await;
    assert_eq!(stats["stats"].as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn what_the_old_service_refused_is_refused_in_its_way() {
    let api = Api::start_with(|config| config.neutron_lbaas = true).await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "TCP", 80).await;
    let members = format!("lbaas/pools/{}/members", api.pool(&lb).await);
    let unknown = format!("lbaas/listeners/{}", Api::PORT_NOBODY);
    for (verb, path, body, status) in [
        (Method::GET, unknown.as_str(), Value::Null, 404),
        (
            Method::POST,
            "lbaas/listeners",
            json!({"listener": {"loadbalancer_id": lb, "protocol": "UDP", "protocol_port": 1}}),
            400,
        ),
        (
            Method::POST,
            "lbaas/pools",
            json!({"pool": {"listener_id": listener, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}}),
            409,
        ),
        (
            Method::POST,
            members.as_str(),
            json!({"member": {"address": "192.0.2.200", "protocol_port": 1}}),
            400,
        ),
        (
            Method::POST,
            "lbaas/l7policies",
            json!({"l7policy": {"listener_id": listener, "action": "REDIRECT_TO_URL"}}),
            409,
        ),
        (Method::GET, "lbaas/flavors", Value::Null, 404),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (got, answer) = old(&api, verb, path, body).await;
        assert_eq!(got.as_u16(), status, "{path}: {answer}");
        let error = &answer["NeutronError"];
        assert!(
            error["type"].is_string() && error["message"].is_string(),
            "{answer}"
        );
        assert_eq!(error["detail"], "");
    }
}

#[tokio::test]
async fn graphs_and_quotas_have_their_places() {
    let api = Api::start_with(|config| config.neutron_lbaas = true).await;
    let body = json!({"graph": {"loadbalancer": {"vip_subnet_id": SUBNET_V4,
        "listeners": [{"protocol": "HTTP", "protocol_port": 80}]}}});
    let (status, made) = old(&api, Method::POST, "lbaas/graphs", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(
        made["graph"]["loadbalancer"]["listeners"][0]["protocol"],
        "HTTP"
    );
    let path = format!("quotas/{}", Api::PROJECT);
    let body = json!({"quota": {"loadbalancer": 3}});
    let (status, set) = old(&api, Method::PUT, &path, Some(body)).await;
    assert_eq!(
        (status, &set["quota"]["loadbalancer"]),
        (StatusCode::OK, &json!(3))
    );
    assert!(set["quota"].get("l7rule").is_none());
}
