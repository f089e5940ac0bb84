//! VIPs by port, network and subnet; networks where everything exists.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use lb_store::{Network, NetworkCatalog, NoopNetworks};
use serde_json::{Value, json};

use crate::support::{Api, NETWORK_ID, SUBNET_V4};

const SOME_ID: &str = "00000000-0000-4000-8000-00000000f1a0";

async fn create(api: &Api, fields: Value) -> (StatusCode, Value) {
    let answer = api
        .post("loadbalancers", json!({"loadbalancer": fields}))
        .await;
    (answer.status, answer.body["loadbalancer"].clone())
}

#[tokio::test]
async fn a_users_port_becomes_a_vip_once_and_outlives_it() {
    let api = Api::start().await;
    let body = json!({"port": {"network_id": NETWORK_ID, "name": "mine",
        "fixed_ips": [{"subnet_id": SUBNET_V4, "ip_address": "192.0.2.77"}]}});
    let made = api
        .send(Method::POST, "/v2.0/ports", Some(body.clone()))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let again = api.send(Method::POST, "/v2.0/ports", Some(body)).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
    let port = made.body["port"]["id"].as_str().unwrap().to_owned();
    let (status, lb) = create(&api, json!({"vip_port_id": port})).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        (&lb["vip_address"], &lb["vip_port_id"], &lb["vip_subnet_id"]),
        (&json!("192.0.2.77"), &json!(port), &json!(SUBNET_V4))
    );
    let (status, _) = create(&api, json!({"vip_port_id": port})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "it is in use");
    let path = format!("/v2.0/ports/{port}");
    let refused = api.send(Method::DELETE, &path, None).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let id = lb["id"].as_str().unwrap();
    api.store.remove_tree(id.parse().unwrap()).await.unwrap();
    let kept = api.get(&path).await;
    assert_eq!(kept.body["port"]["device_id"], "");
    let named = api.get("/v2.0/ports?name=mine&fields=id").await;
    assert_eq!(named.body, json!({"ports": [{"id": port}]}));
    let gone = api.send(Method::DELETE, &path, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let (status, _) = create(&api, json!({"vip_port_id": port})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_operator_decides_how_a_vip_is_named_and_where_it_is() {
    let api = Api::start_with(|config| {
        config.vip_rules.allow_port_id = false;
        config.vip_rules.denied_networks = vec![NETWORK_ID.parse().unwrap()];
    })
    .await;
    for fields in [
        json!({"vip_port_id": SOME_ID}),
        json!({"vip_network_id": NETWORK_ID}),
        json!({"vip_subnet_id": SUBNET_V4}),
    ] {
        let (status, _) = create(&api, fields.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{fields}");
    }
    assert_eq!(api.count("loadbalancers").await, 0);
}

#[tokio::test]
async fn another_projects_network_is_as_absent() {
    let network: Network = serde_json::from_value(json!({
        "id": NETWORK_ID, "name": "private", "segment": 1, "project_id": "theirs",
        "subnets": [{"id": SUBNET_V4, "name": "s", "cidr": "192.0.2.0/24"}],
    }))
    .unwrap();
    let networks = NetworkCatalog::new(vec![network]).unwrap();
    let api = Api::start_on(Arc::new(networks), |_| {}).await;
    for fields in [
        json!({"vip_network_id": NETWORK_ID}),
        json!({"vip_subnet_id": SUBNET_V4}),
    ] {
        let (status, _) = create(&api, fields).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let (status, _) = create(
        &api,
        json!({"vip_subnet_id": SUBNET_V4, "project_id": "theirs"}),
    )
    .await;
    assert_eq!(status, StatusCode::CREATED);
}

#[tokio::test]
async fn with_noop_everything_exists_and_given_addresses_come_back() {
    let api = Api::start_on(Arc::new(NoopNetworks), |_| {}).await;
    for fields in [
        json!({"vip_port_id": SOME_ID}),
        json!({"vip_network_id": SOME_ID}),
        json!({"vip_subnet_id": SOME_ID}),
        json!({"vip_subnet_id": SOME_ID, "vip_network_id": NETWORK_ID, "vip_address": "198.18.33.33"}),
        json!({"vip_subnet_id": SOME_ID, "vip_network_id": NETWORK_ID, "vip_address": "198.18.33.33"}),
        json!({"vip_subnet_id": SOME_ID, "vip_address": "2001:db8:33:33:33:33:33:33",
            "additional_vips": [{"subnet_id": SUBNET_V4, "ip_address": "198.18.33.34"}]}),
        json!({"vip_subnet_id": SOME_ID, "vip_qos_policy_id": NETWORK_ID, "vip_sg_ids": [NETWORK_ID]}),
    ] {
        let (status, lb) = create(&api, fields.clone()).await;
        assert_eq!(status, StatusCode::CREATED, "{fields}");
        for (key, value) in fields.as_object().unwrap() {
            if key != "additional_vips" {
                assert_eq!(&lb[key], value, "{fields}");
            }
        }
        for key in [
            "vip_address",
            "vip_port_id",
            "vip_subnet_id",
            "vip_network_id",
        ] {
            assert!(lb[key].is_string(), "{key}: {lb}");
        }
    }
    let subnets = api.get("/v2.0/subnets?name=blue").await;
    assert_eq!(subnets.body["subnets"][0]["name"], "blue");
}
