//! Load balancers (checklist 2 to 6, 14).

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, NETWORK_ID, SUBNET_V4, SUBNET_V6, keys};

#[tokio::test]
async fn a_minimal_create_answers_with_every_key_and_its_default() {
    let api = Api::start().await;
    let answer = api
        .post(
            "loadbalancers",
            json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4}}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let lb = &answer.body["loadbalancer"];
    for (key, value) in json!({
        "name": "", "description": "", "provisioning_status": "PENDING_CREATE",
        "operating_status": "OFFLINE", "admin_state_up": true, "updated_at": null,
        "vip_subnet_id": SUBNET_V4, "vip_network_id": NETWORK_ID, "vip_sg_ids": [],
        "additional_vips": [], "listeners": [], "pools": [], "provider": "amphora",
        "flavor_id": null, "vip_qos_policy_id": null, "tags": [], "availability_zone": null,
        "vip_vnic_type": "normal", "project_id": Api::PROJECT, "tenant_id": Api::PROJECT,
    })
    .as_object()
    .unwrap()
    {
        assert_eq!(&lb[key], value, "{key}");
    }
    assert_eq!(keys(lb).len(), 24, "{:?}", keys(lb));
    for key in ["id", "vip_port_id"] {
        assert_eq!(lb[key].as_str().unwrap().len(), 36, "{key}");
    }
    assert!(lb["vip_address"].as_str().unwrap().starts_with("192.0.2."));
    assert_eq!(
        lb["created_at"].as_str().unwrap().len(),
        "2026-11-22T11:32:07".len()
    );
    let shown = api
        .get_v2(&format!("loadbalancers/{}", lb["id"].as_str().unwrap()))
        .await;
    assert_eq!(&shown.body["loadbalancer"], lb);
}

#[tokio::test]
async fn the_project_comes_from_the_body_else_a_header_else_the_configuration() {
    let api = Api::start().await;
    let body = |extra: Value| {
        let mut lb = json!({"vip_subnet_id": SUBNET_V4});
        lb.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!({"loadbalancer": lb})
    };
    for (headers, extra, project) in [
        (vec![], json!({}), Api::PROJECT),
        (
            vec![("x-project-id", "from-header")],
            json!({}),
            "from-header",
        ),
        (
            vec![("x-tenant-id", "from-tenant")],
            json!({}),
            "from-tenant",
        ),
        (
            vec![("x-project-id", "h")],
            json!({"project_id": "from-body"}),
            "from-body",
        ),
        (vec![], json!({"tenant_id": "old-body"}), "old-body"),
    ] {
        let answer = api.post_with("loadbalancers", &headers, body(extra)).await;
        assert_eq!(answer.body["loadbalancer"]["project_id"], project);
        assert_eq!(answer.body["loadbalancer"]["tenant_id"], project);
    }
}

#[tokio::test]
async fn a_pending_load_balancer_is_immutable() {
    let api = Api::start().await;
    let lb = api.pending_lb().await;
    let path = format!("loadbalancers/{lb}");
    for (verb, path, body) in [
        (
            Method::PUT,
            path.clone(),
            json!({"loadbalancer": {"name": "x"}}),
        ),
        (Method::DELETE, path.clone(), Value::Null),
        (Method::PUT, format!("{path}/failover"), Value::Null),
        (
            Method::POST,
            "listeners".to_owned(),
            json!({"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80}}),
        ),
        (
            Method::POST,
            "pools".to_owned(),
            json!({"pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}}),
        ),
    ] {
        let before = api.generations().await;
        let answer = api
            .v2(
                verb.clone(),
                &path,
                Some(body).filter(|body| !body.is_null()),
            )
            .await;
        assert_eq!(
            answer.status,
            StatusCode::CONFLICT,
            "{verb} {path}: {}",
            answer.body
        );
        assert!(answer.fault().contains("immutable"), "{}", answer.fault());
        assert_eq!(api.generations().await, before);
    }
}

#[tokio::test]
async fn a_short_collision_is_waited_out() {
    let api = Api::start_waiting(Duration::from_secs(20)).await;
    let lb = api.pending_lb().await;
    let body = json!({"loadbalancer": {"name": "late"}});
    let path = format!("loadbalancers/{lb}");
    let (answer, ()) = tokio::join!(api.put(&path, body), api.settle(&lb));
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["loadbalancer"]["name"], "late");
}

#[tokio::test]
async fn put_knows_null_from_absent() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let path = format!("loadbalancers/{lb}");
    let set = json!({"loadbalancer": {"name": "n", "description": "d", "tags": ["a", "b", "a"]}});
    let answer = api.put(&path, set).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let shown = &answer.body["loadbalancer"];
    assert_eq!(shown["provisioning_status"], "PENDING_UPDATE");
    assert_eq!(
        (&shown["name"], &shown["tags"]),
        (&json!("n"), &json!(["a", "b"]))
    );
    api.settle(&lb).await;

    let answer = api.put(&path, json!({"loadbalancer": {}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["loadbalancer"]["name"], "n");
    api.settle(&lb).await;

    let nulls = json!({"loadbalancer": {"name": null, "description": null, "admin_state_up": null, "tags": null}});
    let answer = api.put(&path, nulls).await;
    let shown = &answer.body["loadbalancer"];
    assert_eq!(
        (&shown["name"], &shown["description"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(
        (&shown["admin_state_up"], &shown["tags"]),
        (&json!(false), &json!(["a", "b"]))
    );
    api.settle(&lb).await;
    let answer = api.put(&path, json!({"loadbalancer": {"tags": []}})).await;
    assert_eq!(answer.body["loadbalancer"]["tags"], json!([]));
}

#[tokio::test]
async fn immutable_and_unknown_fields_are_refused_by_name() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    for (key, value) in [
        ("vip_subnet_id", json!(SUBNET_V4)),
        ("vip_address", json!("192.0.2.9")),
        ("provider", json!("amphora")),
        ("id", json!(lb)),
        ("operating_status", json!("ONLINE")),
        ("bogus", json!(1)),
    ] {
        let answer = api
            .put(
                &format!("loadbalancers/{lb}"),
                json!({"loadbalancer": {key: value}}),
            )
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{key}");
        assert!(answer.fault().contains(key), "{key}: {}", answer.fault());
    }
}

#[tokio::test]
async fn delete_needs_cascade_when_there_are_children() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    api.listener(&lb, "HTTP", 80).await;
    let path = format!("loadbalancers/{lb}");
    let refused = api.delete(&path).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let done = api.delete(&format!("{path}?cascade=true")).await;
    assert_eq!((done.status, done.bytes.len()), (StatusCode::NO_CONTENT, 0));
    assert!(!done.headers.contains_key("content-type"));
    let shown = api.get_v2(&path).await;
    assert_eq!(
        shown.body["loadbalancer"]["provisioning_status"],
        "PENDING_DELETE"
    );
    api.settle(&lb).await;
    assert_eq!(api.get_v2(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.get_v2("listeners").await.body["listeners"], json!([]));
}

#[tokio::test]
async fn failover_is_202_without_a_body() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let path = format!("loadbalancers/{lb}/failover");
    for body in [None, Some(json!({}))] {
        let answer = api.v2(Method::PUT, &path, body).await;
        assert_eq!(
            (answer.status, answer.bytes.len()),
            (StatusCode::ACCEPTED, 0)
        );
        let shown = api.get_v2(&format!("loadbalancers/{lb}")).await;
        assert_eq!(
            shown.body["loadbalancer"]["provisioning_status"],
            "PENDING_UPDATE"
        );
        api.settle(&lb).await;
    }
}

#[tokio::test]
async fn the_status_tree_and_counters_have_the_contracts_keys() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let pool = api.pool_of_listener(&lb, &listener).await;
    let member = api.member(&lb, &pool, "192.0.2.200").await;
    let monitor = api.monitor(&lb, &pool).await;
    for end in ["status", "statuses"] {
        let answer = api.get_v2(&format!("loadbalancers/{lb}/{end}")).await;
        let shown = &answer.body["statuses"]["loadbalancer"];
        assert_eq!(shown["id"], lb);
        let shown_pool = &shown["listeners"][0]["pools"][0];
        assert_eq!(shown["listeners"][0]["id"], listener);
        assert_eq!(shown_pool["id"], pool);
        assert_eq!(shown_pool["health_monitor"]["id"], monitor);
        assert_eq!(shown_pool["health_monitor"]["type"], "HTTP");
        assert_eq!(shown_pool["members"][0]["id"], member);
        assert_eq!(shown_pool["members"][0]["protocol_port"], 8080);
    }
    let zeros = json!({"stats": {"bytes_in": 0, "bytes_out": 0, "active_connections": 0,
        "total_connections": 0, "request_errors": 0}});
    for path in [
        format!("loadbalancers/{lb}/stats"),
        format!("listeners/{listener}/stats"),
    ] {
        assert_eq!(api.get_v2(&path).await.body, zeros, "{path}");
    }
}

#[tokio::test]
async fn vips_are_chosen_by_the_contracts_rules() {
    let api = Api::start().await;
    let create = async |body: Value| {
        api.post("loadbalancers", json!({"loadbalancer": body}))
            .await
    };
    // By network: the first IPv4 subnet.
    let by_network = create(json!({"vip_network_id": NETWORK_ID})).await;
    assert_eq!(
        by_network.body["loadbalancer"]["vip_subnet_id"], SUBNET_V4,
        "{}",
        by_network.body
    );
    // By network and address: the subnet that holds it.
    let v6 = create(json!({"vip_network_id": NETWORK_ID, "vip_address": "2001:db8::77"})).await;
    assert_eq!(
        v6.body["loadbalancer"]["vip_subnet_id"], SUBNET_V6,
        "{}",
        v6.body
    );
    assert_eq!(v6.body["loadbalancer"]["vip_address"], "2001:db8::77");
    // Twice the same address.
    let again = create(json!({"vip_subnet_id": SUBNET_V6, "vip_address": "2001:db8::77"})).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
    // Both families.
    let both =
        create(json!({"vip_subnet_id": SUBNET_V4, "additional_vips": [{"subnet_id": SUBNET_V6}]}))
            .await;
    assert_eq!(both.status, StatusCode::CREATED, "{}", both.body);
    let additional = &both.body["loadbalancer"]["additional_vips"];
    assert_eq!(additional[0]["subnet_id"], SUBNET_V6);
    assert!(
        additional[0]["ip_address"]
            .as_str()
            .unwrap()
            .starts_with("2001:db8:")
    );
    for (body, status) in [
        (json!({}), 400),
        (json!({"vip_address": "192.0.2.10"}), 400),
        (json!({"vip_subnet_id": Api::PORT_NOBODY}), 400),
        (json!({"vip_network_id": Api::PORT_NOBODY}), 400),
        (json!({"vip_port_id": Api::PORT_NOBODY}), 400),
        (
            json!({"vip_port_id": both.body["loadbalancer"]["vip_port_id"]}),
            400,
        ),
        (
            json!({"vip_subnet_id": SUBNET_V4, "vip_address": "198.51.100.1"}),
            400,
        ),
        (
            json!({"vip_subnet_id": SUBNET_V4, "additional_vips": [{"subnet_id": SUBNET_V4}]}),
            400,
        ),
        (
            json!({"vip_subnet_id": SUBNET_V4, "provider": "nobody"}),
            400,
        ),
    ] {
        let before = api.count("loadbalancers").await;
        let answer = create(body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.body);
        assert_eq!(api.count("loadbalancers").await, before, "{body}");
    }
}
