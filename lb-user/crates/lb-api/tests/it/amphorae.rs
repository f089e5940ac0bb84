//! Amphorae as an operator sees and handles them (contract 2.12).

use axum::http::{Method, StatusCode};
use lb_model::enums::{AmphoraRole, AmphoraStatus, Topology};
use lb_store::AmphoraUpdate;
use serde_json::{Value, json};

use crate::support::{Api, keys};

const PATH: &str = "/v2.0/octavia/amphorae";

async fn pair() -> (Api, String, Vec<Value>) {
    let api = Api::start_with(|config| config.topology = Topology::ActiveStandby).await;
    let lb = api.active_lb().await;
    let list = api.get(&format!("{PATH}?loadbalancer_id={lb}")).await;
    let amphorae = list.body["amphorae"].as_array().unwrap().clone();
    assert_eq!(amphorae.len(), 2);
    (api, lb, amphorae)
}

async fn put(api: &Api, amphora: &Value, verb: &str) -> StatusCode {
    let id = amphora["id"].as_str().unwrap();
    let path = format!("{PATH}/{id}/{verb}");
    let answer = api.send(Method::PUT, &path, None).await;
    if answer.status.is_success() {
        assert!(answer.bytes.is_empty());
    }
    answer.status
}

#[tokio::test]
async fn every_field_is_there_and_lists_filter_and_sort_by_it() {
    let (api, lb, amphorae) = pair().await;
    let shown = &amphorae[0];
    let mut names = keys(shown);
    names.sort_unstable();
    assert_eq!(
        names.join(" "),
        "cached_zone cert_busy cert_expiration compute_flavor compute_id created_at ha_ip ha_port_id id \
         image_id lb_network_ip loadbalancer_id role status updated_at vrrp_id vrrp_interface vrrp_ip \
         vrrp_port_id vrrp_priority"
    );
    let vip = &api.get_v2(&format!("loadbalancers/{lb}")).await.body["loadbalancer"];
    assert_eq!(shown["ha_ip"], vip["vip_address"]);
    assert_eq!(shown["ha_port_id"], vip["vip_port_id"]);
    assert_ne!(shown["vrrp_ip"], vip["vip_address"]);
    assert_eq!(
        (&shown["role"], &shown["vrrp_priority"]),
        (&json!("MASTER"), &json!(100))
    );
    let count = async |query: &str| {
        let list = api.get(&format!("{PATH}?{query}")).await;
        assert_eq!(list.status, StatusCode::OK, "{query}: {}", list.body);
        list.body["amphorae"].as_array().unwrap().len()
    };
    let project = Api::PROJECT;
    assert_eq!(count(&format!("project_id={project}")).await, 2);
    assert_eq!(count("project_id=other").await, 0);
    assert_eq!(count("role=BACKUP").await, 1);
    assert_eq!(count("vrrp_priority=90").await, 1);
    assert_eq!(
        count("cert_busy=false&vrrp_interface=eth0&vrrp_id=1").await,
        2
    );
    assert_eq!(count("status=ERROR").await, 0);
    for key in keys(shown) {
        let query = format!("limit=1&sort={key}:desc");
        assert_eq!(count(&query).await, 1, "{key}");
    }
    let update = AmphoraUpdate {
        host: "host-a".to_owned(),
        role: AmphoraRole::Master,
        status: AmphoraStatus::Allocated,
    };
    let id = shown["id"].as_str().unwrap();
    let carried = api.store.update_amphora(id.parse().unwrap(), &update);
    assert!(carried.await.unwrap());
    let shown = &api.get(&format!("{PATH}/{id}")).await.body["amphora"];
    assert_eq!(shown["cached_zone"], "host-a");
    let compute: uuid::Uuid = shown["compute_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(count(&format!("compute_id={compute}")).await, 1);
    assert_eq!(count("cached_zone=host-a").await, 1);
    let page = api.get(&format!("{PATH}?limit=1&sort=vrrp_priority")).await;
    assert_eq!(page.body["amphorae"][0]["role"], "BACKUP");
    assert_eq!(page.body["amphorae_links"][0]["rel"], "next");
    let marker = page.body["amphorae"][0]["id"].as_str().unwrap();
    let next = format!("{PATH}?limit=1&sort=vrrp_priority&marker={marker}");
    assert_eq!(api.get(&next).await.body["amphorae"][0]["role"], "MASTER");
}

#[tokio::test]
async fn a_failover_needs_an_active_load_balancer_and_counts() {
    let (api, lb, amphorae) = pair().await;
    let before = api.generations().await;
    assert_eq!(
        put(&api, &amphorae[1], "failover").await,
        StatusCode::ACCEPTED
    );
    let tree = api.store.read_tree(lb.parse().unwrap()).await.unwrap();
    assert_eq!(tree.unwrap().load_balancer.failover_count, 1);
    assert_ne!(api.generations().await, before);
    // Others have taken their places, at the same addresses and for the same host.
    let gone = amphorae.iter().map(|amphora| &amphora["id"]);
    let list = api.get(&format!("{PATH}?loadbalancer_id={lb}")).await;
    let now = list.body["amphorae"].as_array().unwrap().clone();
    for (new, old) in now.iter().zip(&amphorae) {
        assert!(gone.clone().all(|id| new["id"] != *id));
        let path = format!("{PATH}/{}", old["id"].as_str().unwrap());
        assert_eq!(api.get(&path).await.status, StatusCode::NOT_FOUND);
        let path = format!("{PATH}/{}", new["id"].as_str().unwrap());
        assert_eq!(&api.get(&path).await.body["amphora"], new);
        let filtered = api
            .get(&format!("{PATH}?id={}", new["id"].as_str().unwrap()))
            .await;
        assert_eq!(filtered.body["amphorae"], json!([new]));
    }
    let sorted = |list: &[Value], key: &str| {
        let mut values: Vec<String> = list.iter().map(|one| one[key].to_string()).collect();
        values.sort();
        values
    };
    for key in ["vrrp_ip", "vrrp_port_id", "role", "cached_zone"] {
        assert_eq!(sorted(&now, key), sorted(&amphorae, key), "{key}");
    }
    // PENDING_UPDATE now.
    assert_eq!(put(&api, &now[0], "failover").await, StatusCode::CONFLICT);
    assert_eq!(put(&api, &now[0], "config").await, StatusCode::ACCEPTED);
    let nobody = json!({"id": Api::PORT_NOBODY});
    for verb in ["failover", "config"] {
        assert_eq!(put(&api, &nobody, verb).await, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn only_an_amphora_in_error_is_taken_away_and_another_takes_its_place() {
    let (api, lb, amphorae) = pair().await;
    let id = amphorae[1]["id"].as_str().unwrap();
    let path = format!("{PATH}/{id}");
    let answer = api.send(Method::DELETE, &path, None).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    let update = AmphoraUpdate {
        host: "host".to_owned(),
        role: AmphoraRole::Backup,
        status: AmphoraStatus::Error,
    };
    api.store
        .update_amphora(id.parse().unwrap(), &update)
        .await
        .unwrap();
    let before = api.generations().await;
    let answer = api.send(Method::DELETE, &path, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_ne!(api.generations().await, before);
    assert_eq!(api.get(&path).await.status, StatusCode::NOT_FOUND);
    let list = api.get(&format!("{PATH}?loadbalancer_id={lb}")).await;
    let now = list.body["amphorae"].as_array().unwrap();
    assert_eq!(now.len(), 2);
    assert!(
        now.iter()
            .all(|amphora| amphora["id"] != id && amphora["vrrp_ip"].is_string())
    );
    let again = api.send(Method::DELETE, &path, None).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn counters_are_per_listener_and_none_is_404() {
    let (api, lb, amphorae) = pair().await;
    let path = format!("{PATH}/{}/stats", amphorae[0]["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.status, StatusCode::NOT_FOUND);
    let listener = api.listener(&lb, "HTTP", 80).await;
    let answer = api.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.body,
        json!({"amphora_stats": [{
            "id": amphorae[0]["id"], "listener_id": listener, "loadbalancer_id": lb,
            "active_connections": 0, "bytes_in": 0, "bytes_out": 0, "request_errors": 0,
            "total_connections": 0,
        }]})
    );
}
