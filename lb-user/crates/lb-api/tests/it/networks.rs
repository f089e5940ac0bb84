//! The Network API subset: what the openstack client asks to turn names into ids.

use axum::http::StatusCode;
use serde_json::json;

use crate::support::{Api, NETWORK_ID, SUBNET_V4, SUBNET_V6};

#[tokio::test]
async fn names_and_ids_find_networks_and_subnets_under_both_versions() {
    let api = Api::start().await;
    for version in ["/v2", "/v2.0"] {
        let subnets = api.get(&format!("{version}/subnets?name=public-v4")).await;
        let subnet = &subnets.body["subnets"][0];
        assert_eq!(subnet["id"], SUBNET_V4);
        assert_eq!(
            (&subnet["cidr"], &subnet["ip_version"]),
            (&json!("192.0.2.0/24"), &json!(4))
        );
        assert_eq!(
            subnet["allocation_pools"],
            json!([{"start": "192.0.2.10", "end": "192.0.2.150"}])
        );
        let networks = api
            .get(&format!("{version}/networks?id={NETWORK_ID}"))
            .await;
        assert_eq!(
            networks.body["networks"][0]["subnets"],
            json!([SUBNET_V4, SUBNET_V6])
        );
        let none = api.get(&format!("{version}/networks?name=private")).await;
        assert_eq!(none.body, json!({"networks": []}));
        let one = api.get(&format!("{version}/subnets/{SUBNET_V6}")).await;
        assert_eq!(one.body["subnet"]["network_id"], NETWORK_ID);
        let unknown = api.get(&format!("{version}/subnets/public-v4")).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        for path in ["security-groups", "qos/policies"] {
            assert_eq!(
                api.get(&format!("{version}/{path}")).await.status,
                StatusCode::OK
            );
        }
    }
}

#[tokio::test]
async fn a_vip_port_can_be_looked_up() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let shown = api.get_v2(&format!("loadbalancers/{lb}")).await;
    let lb_view = &shown.body["loadbalancer"];
    let port = api
        .get(&format!(
            "/v2.0/ports/{}",
            lb_view["vip_port_id"].as_str().unwrap()
        ))
        .await;
    let port = &port.body["port"];
    assert_eq!(port["name"], format!("octavia-lb-{lb}"));
    assert_eq!(
        port["fixed_ips"],
        json!([{"subnet_id": SUBNET_V4, "ip_address": lb_view["vip_address"]}])
    );
    assert_eq!(
        (&port["device_owner"], &port["device_id"]),
        (&json!("Octavia"), &json!(format!("lb-{lb}")))
    );
    let address = lb_view["vip_address"].as_str().unwrap();
    let found = api
        .get(&format!("/v2.0/ports?fixed_ips=ip_address%3D{address}"))
        .await;
    assert_eq!(found.body["ports"].as_array().unwrap().len(), 1);
}
