//! Listeners, pools, members and monitors: defaults and nulls (checklist 2, 4, 5, 8, 10).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, keys};

fn assert_has(object: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&object[key], value, "{key}");
    }
}

#[tokio::test]
async fn a_minimal_listener_shows_appendix_a() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let body =
        json!({"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": "80"}});
    let answer = api.post("listeners", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let listener = &answer.body["listener"];
    assert_has(
        listener,
        &json!({
            "name": "", "description": "", "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE", "admin_state_up": true, "protocol": "HTTP",
            "protocol_port": 80, "connection_limit": -1, "default_tls_container_ref": null,
            "sni_container_refs": [], "project_id": Api::PROJECT, "tenant_id": Api::PROJECT,
            "default_pool_id": null, "l7policies": [], "insert_headers": {}, "updated_at": null,
            "loadbalancers": [{"id": lb}], "timeout_client_data": 50000,
            "timeout_member_connect": 5000, "timeout_member_data": 50000, "timeout_tcp_inspect": 0,
            "tags": [], "client_ca_tls_container_ref": null, "client_authentication": "NONE",
            "client_crl_container_ref": null, "allowed_cidrs": null, "tls_ciphers": null,
            "tls_versions": null, "alpn_protocols": null, "hsts_max_age": null,
            "hsts_include_subdomains": false, "hsts_preload": false,
        }),
    );
    assert_eq!(keys(listener).len(), 34, "{:?}", keys(listener));
    let shown = api.get_v2(&format!("loadbalancers/{lb}")).await;
    assert_eq!(
        shown.body["loadbalancer"]["provisioning_status"],
        "PENDING_UPDATE"
    );
    assert_eq!(
        shown.body["loadbalancer"]["listeners"],
        json!([{"id": listener["id"]}])
    );
}

#[tokio::test]
async fn a_minimal_pool_member_and_monitor_show_appendix_a() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool =
        json!({"pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}});
    let answer = api.post("pools", pool).await;
    let pool = &answer.body["pool"];
    assert_has(
        pool,
        &json!({
            "name": "", "description": "", "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE", "admin_state_up": true, "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN", "session_persistence": null, "loadbalancers": [{"id": lb}],
            "listeners": [], "updated_at": null, "members": [], "tags": [], "tls_container_ref": null,
            "ca_tls_container_ref": null, "crl_container_ref": null, "tls_enabled": false,
            "tls_ciphers": null, "tls_versions": null, "alpn_protocols": null,
        }),
    );
    // No key at all without a monitor.
    assert_eq!(keys(pool).len(), 24, "{:?}", keys(pool));
    assert!(pool.get("healthmonitor_id").is_none());
    let pool = pool["id"].as_str().unwrap().to_owned();
    api.settle(&lb).await;

    let member = json!({"member": {"address": "192.0.2.200", "protocol_port": 80}});
    let answer = api.post(&format!("pools/{pool}/members"), member).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_has(
        &answer.body["member"],
        &json!({
            "name": "", "operating_status": "NO_MONITOR", "provisioning_status": "PENDING_CREATE",
            "admin_state_up": true, "address": "192.0.2.200", "protocol_port": 80, "weight": 1,
            "backup": false, "subnet_id": null, "updated_at": null, "monitor_address": null,
            "monitor_port": null, "tags": [], "vnic_type": "normal",
        }),
    );
    assert_eq!(keys(&answer.body["member"]).len(), 18);
    api.settle(&lb).await;

    let monitor = json!({"healthmonitor": {"pool_id": pool, "type": "HTTP", "delay": 1, "timeout": "1", "max_retries": 2}});
    let answer = api.post("healthmonitors", monitor).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let monitor = &answer.body["healthmonitor"];
    assert_has(
        monitor,
        &json!({
            "name": "", "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 2,
            "max_retries_down": 3, "http_method": "GET", "url_path": "/", "expected_codes": "200",
            "admin_state_up": true, "pools": [{"id": pool}], "operating_status": "OFFLINE",
            "http_version": null, "domain_name": null, "tags": [], "updated_at": null,
        }),
    );
    assert_eq!(keys(monitor).len(), 21, "{:?}", keys(monitor));
    api.settle(&lb).await;
    let shown = api.get_v2(&format!("pools/{pool}")).await;
    assert_eq!(shown.body["pool"]["healthmonitor_id"], monitor["id"]);
    // One monitor a pool.
    let second = json!({"healthmonitor": {"pool_id": pool, "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 2}});
    assert_eq!(
        api.post("healthmonitors", second).await.status,
        StatusCode::CONFLICT
    );
    // A member that comes after the monitor starts OFFLINE.
    let member = json!({"member": {"address": "192.0.2.201", "protocol_port": 80}});
    let answer = api.post(&format!("pools/{pool}/members"), member).await;
    assert_eq!(answer.body["member"]["operating_status"], "OFFLINE");
}

#[tokio::test]
async fn nulls_on_put_reset_what_the_contract_says() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let path = format!("listeners/{listener}");
    let set = json!({"listener": {"name": "n", "timeout_client_data": 1000,
        "allowed_cidrs": ["10.0.0.1/8", "10.1.2.3/8"], "insert_headers": {"X-Forwarded-For": "true"}}});
    let answer = api.put(&path, set).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(
        answer.body["listener"]["allowed_cidrs"],
        json!(["10.0.0.0/8"])
    );
    assert_eq!(
        answer.body["listener"]["provisioning_status"],
        "PENDING_UPDATE"
    );
    api.settle(&lb).await;
    let nulls = json!({"listener": {"name": null, "timeout_client_data": null, "allowed_cidrs": null,
        "insert_headers": null, "connection_limit": null, "default_pool_id": null}});
    let answer = api.put(&path, nulls).await;
    assert_has(
        &answer.body["listener"],
        &json!({"name": "", "timeout_client_data": 50000,
        "allowed_cidrs": null, "insert_headers": {}, "connection_limit": -1,
        "default_pool_id": null}),
    );
    api.settle(&lb).await;

    let pool = api.pool_of_listener(&lb, &listener).await;
    let member = api.member(&lb, &pool, "192.0.2.200").await;
    let path = format!("pools/{pool}/members/{member}");
    let answer = api.put(&path, json!({"member": {"weight": 7}})).await;
    assert_eq!(answer.body["member"]["weight"], 7, "{}", answer.body);
    api.settle(&lb).await;
    let answer = api.put(&path, json!({"member": {"weight": null}})).await;
    assert_eq!(answer.body["member"]["weight"], 1);
    api.settle(&lb).await;

    let monitor = api.monitor(&lb, &pool).await;
    let path = format!("healthmonitors/{monitor}");
    for key in ["delay", "timeout", "max_retries"] {
        let answer = api.put(&path, json!({"healthmonitor": {key: null}})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{key}");
    }
    let nulls = json!({"healthmonitor": {"max_retries_down": null, "http_method": null, "url_path": null, "expected_codes": null}});
    let answer = api.put(&path, nulls).await;
    assert_has(
        &answer.body["healthmonitor"],
        &json!({"max_retries_down": 3, "http_method": "GET",
        "url_path": "/", "expected_codes": "200"}),
    );
}

#[tokio::test]
async fn two_listeners_cannot_share_a_port() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    api.listener(&lb, "HTTP", 80).await;
    let body = json!({"listener": {"loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80}});
    let answer = api.post("listeners", body).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
}

#[tokio::test]
async fn types_are_judged_as_octavia_does() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    for (key, value, status) in [
        ("name", json!(17), 400),
        ("protocol", json!("http"), 400),
        ("protocol_port", json!(0), 400),
        ("protocol_port", json!(65536), 400),
        ("protocol_port", json!("eighty"), 400),
        ("admin_state_up", json!("maybe"), 400),
        ("connection_limit", json!(-2), 400),
        ("nonsense", json!(1), 400),
        ("loadbalancer_id", json!(Api::PORT_NOBODY), 404),
        ("default_pool_id", json!(Api::PORT_NOBODY), 404),
        ("protocol", json!("sctp"), 400),
    ] {
        let mut listener = json!({"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80});
        listener[key] = value.clone();
        let answer = api.post("listeners", json!({"listener": listener})).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{key} {value}: {}",
            answer.body
        );
        if status != 404 {
            assert!(answer.fault().contains(key), "{key}: {}", answer.fault());
        }
        let shown = api.get_v2(&format!("loadbalancers/{lb}")).await;
        assert_eq!(
            shown.body["loadbalancer"]["provisioning_status"], "ACTIVE",
            "{key}"
        );
    }
}

#[tokio::test]
async fn deleted_children_are_gone_once_settled() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let pool = api.pool_of_listener(&lb, &listener).await;
    let member = api.member(&lb, &pool, "192.0.2.200").await;
    let monitor = api.monitor(&lb, &pool).await;
    for path in [
        format!("pools/{pool}/members/{member}"),
        format!("healthmonitors/{monitor}"),
        format!("pools/{pool}"),
        format!("listeners/{listener}"),
    ] {
        let answer = api.delete(&path).await;
        assert_eq!(
            answer.status,
            StatusCode::NO_CONTENT,
            "{path}: {}",
            answer.body
        );
        api.settle(&lb).await;
        assert_eq!(
            api.get_v2(&path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_member_of_another_pool_is_404() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let one = api.pool(&lb).await;
    let other = api.pool(&lb).await;
    let member = api.member(&lb, &one, "192.0.2.200").await;
    assert_eq!(
        api.get_v2(&format!("pools/{one}/members/{member}"))
            .await
            .status,
        StatusCode::OK
    );
    let wrong = api.get_v2(&format!("pools/{other}/members/{member}")).await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND);
    let nowhere = api
        .get_v2(&format!("pools/{}/members", Api::PORT_NOBODY))
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_members_addresses_are_shown_as_they_were_given_and_are_one_member_however_written() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool = udp_pool(&api, &lb).await;
    let (given, monitored) = ("2001:db8:0:0:0:0:0:1", "2001:DB8::9");
    let path = format!("pools/{pool}/members");
    let body = |address: &str| {
        json!({"member": {
            "address": address, "protocol_port": 80, "monitor_address": monitored,
        }})
    };
    let made = api.post(&path, body(given)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let shown = json!({"address": given, "monitor_address": monitored});
    assert_has(&made.body["member"], &shown);
    api.settle(&lb).await;
    let again = api.post(&path, body("2001:db8::1")).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
    for spelling in [given, "2001:db8::1"] {
        let list = api.get_v2(&format!("{path}?address={spelling}")).await;
        assert_has(&list.body["members"][0], &shown);
    }
    let one = format!("{path}/{}", made.body["member"]["id"].as_str().unwrap());
    let other = json!({"member": {"monitor_address": "2001:db8::9"}});
    let changed = api.put(&one, other).await;
    let shown = json!({"address": given, "monitor_address": "2001:db8::9"});
    assert_has(&changed.body["member"], &shown);
}

#[tokio::test]
async fn a_udp_pool_may_hold_any_family_until_a_listener_is_to_use_it() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool = udp_pool(&api, &lb).await;
    let path = format!("pools/{pool}/members");
    let member = |address: &str| json!({"member": {"address": address, "protocol_port": 53}});
    let made = api.post(&path, member("2001:db8::1")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    api.settle(&lb).await;
    let listener = json!({"listener": {"loadbalancer_id": lb, "protocol": "UDP", "protocol_port": 53,
        "default_pool_id": pool}});
    let refused = api.post("listeners", listener.clone()).await;
    assert_eq!(
        refused.status,
        StatusCode::NOT_IMPLEMENTED,
        "{}",
        refused.body
    );
    let id = made.body["member"]["id"].as_str().unwrap();
    api.delete(&format!("{path}/{id}")).await;
    api.settle(&lb).await;
    let made = api.post("listeners", listener).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    api.settle(&lb).await;
    let refused = api.post(&path, member("2001:db8::1")).await;
    assert_eq!(
        refused.status,
        StatusCode::NOT_IMPLEMENTED,
        "{}",
        refused.body
    );
}

/// A pool without a listener.
async fn udp_pool(api: &Api, lb: &str) -> String {
    let pool = json!({"pool": {
        "loadbalancer_id": lb, "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN",
    }});
    let pool = api.post("pools", pool).await;
    api.settle(lb).await;
    pool.body["pool"]["id"].as_str().unwrap().to_owned()
}
