//! A member is never a hole into the host (design invariant 7): which addresses are refused, by
//! every verb that takes one.

use std::{collections::BTreeSet, net::IpAddr};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SUBNET_V4};

const HOST: &str = "203.0.113.1";

/// The addresses of the first amphora of a load balancer that belongs to somebody else.
async fn foreign_amphora(api: &Api) -> String {
    let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4, "project_id": "somebody-else"}});
    let lb = api.post("loadbalancers", body).await.id("loadbalancer");
    let path = format!("/v2/octavia/amphorae?loadbalancer_id={lb}");
    let amphorae = api.get(&path).await;
    let address = amphorae.body["amphorae"][0]["vrrp_ip"].as_str();
    address.unwrap().to_owned()
}

/// Every way to name an address, and where it goes in the body.
async fn ways(api: &Api) -> Vec<(Method, String, Box<dyn Fn(&str) -> Value>)> {
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    let member = api.member(&lb, &pool, "192.0.2.200").await;
    let members = format!("pools/{pool}/members");
    vec![
        (
            Method::POST,
            members.clone(),
            Box::new(|bad| json!({"member": {"address": bad, "protocol_port": 80}})),
        ),
        (
            Method::POST,
            members.clone(),
            Box::new(
                |bad| json!({"member": {"address": "192.0.2.201", "protocol_port": 80, "monitor_address": bad}}),
            ),
        ),
        (
            Method::PUT,
            members.clone(),
            Box::new(|bad| json!({"members": [{"address": bad, "protocol_port": 80}]})),
        ),
        (
            Method::PUT,
            format!("{members}/{member}"),
            Box::new(|bad| json!({"member": {"monitor_address": bad}})),
        ),
        (
            Method::POST,
            "loadbalancers".to_owned(),
            Box::new(|bad| {
                json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4, "pools": [{
                    "name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                    "members": [{"address": bad, "protocol_port": 80}],
                }]}})
            }),
        ),
    ]
}

#[tokio::test]
async fn addresses_that_would_reach_us_are_refused_by_every_verb() {
    let api = Api::start().await;
    let host: IpAddr = HOST.parse().unwrap();
    api.store
        .report_host("host-a", &BTreeSet::from([host]))
        .await
        .unwrap();
    let amphora = foreign_amphora(&api).await;
    let ways = ways(&api).await;
    for bad in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "fe80::1",
        "198.51.100.7",
        "203.0.113.9",
        HOST,
        amphora.as_str(),
    ] {
        for (verb, path, body) in &ways {
            let before = api.generations().await;
            let answer = api.v2(verb.clone(), path, Some(body(bad))).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{verb} {path} {bad}: {}",
                answer.body
            );
            assert!(answer.fault().contains(bad), "{bad}: {}", answer.fault());
            assert_eq!(api.generations().await, before, "{verb} {path} {bad}");
        }
    }
}
