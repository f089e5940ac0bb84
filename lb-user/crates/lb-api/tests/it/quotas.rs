//! Quotas (contract 2.8, 6.3).

use axum::http::{Method, StatusCode};
use lb_api::AuthStrategy;
use serde_json::{Value, json};

use crate::support::{Answer, Api, SUBNET_V4};

const OWN: &str = "11111111111111111111111111111111";

async fn start() -> Api {
    Api::start_with(|config| config.auth_strategy = AuthStrategy::Testing).await
}

async fn send(api: &Api, verb: Method, path: &str, body: Option<Value>) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("x-project-id", OWN),
        ("x-roles", "admin,member"),
    ];
    let body = body.map(|body| body.to_string().into_bytes());
    let path = format!("/v2/lbaas/{path}");
    api.send_with(verb, &path, &headers, body.unwrap_or_default())
        .await
}

async fn limit(api: &Api, items: Value) -> Answer {
    let path = format!("quotas/{OWN}");
    send(api, Method::PUT, &path, Some(json!({ "quota": items }))).await
}

async fn post(api: &Api, path: &str, body: Value) -> Answer {
    send(api, Method::POST, path, Some(body)).await
}

async fn active_lb(api: &Api) -> String {
    let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4}});
    let lb = post(api, "loadbalancers", body).await.id("loadbalancer");
    api.settle(&lb).await;
    lb
}

#[track_caller]
fn met(answer: &Answer, kind: &str) {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    assert_eq!(
        answer.fault(),
        format!("Quota has been met for resources: {kind}")
    );
}

#[tokio::test]
async fn a_quota_is_the_defaults_until_it_is_changed_and_after_it_is_deleted() {
    let api = Api::start_with(|config| config.quota_defaults.pool = 7).await;
    let path = format!("quotas/{OWN}");
    let show = api.get_v2(&path).await;
    assert_eq!(show.status, StatusCode::OK);
    let mut expected = json!({
        "project_id": OWN, "tenant_id": OWN, "loadbalancer": -1, "load_balancer": -1,
        "listener": -1, "pool": 7, "member": -1, "healthmonitor": -1, "health_monitor": -1,
        "l7policy": -1, "l7rule": -1,
    });
    assert_eq!(show.body["quota"], expected);
    assert_eq!(api.count("quotas").await, 0);
    assert_eq!(api.delete(&path).await.status, StatusCode::NOT_FOUND);

    let put = api
        .put(
            &path,
            json!({"quota": {"load_balancer": 3, "pool": 8, "health_monitor": "5"}}),
        )
        .await;
    assert_eq!(put.status, StatusCode::ACCEPTED, "{}", put.body);
    for (key, value) in [
        ("loadbalancer", 3),
        ("load_balancer", 3),
        ("pool", 8),
        ("healthmonitor", 5),
        ("health_monitor", 5),
    ] {
        expected[key] = json!(value);
    }
    assert_eq!(put.body["quota"], expected);
    assert_eq!(api.get_v2(&path).await.body["quota"], expected);
    // What a project does not set is null in the list.
    let list = api.get_v2("quotas").await;
    assert_eq!(list.body["quotas"][0]["pool"], 8);
    assert_eq!(list.body["quotas"][0]["member"], Value::Null);
    assert_eq!(list.body["quotas_links"], json!([]));

    let put = api.put(&path, json!({"quota": {"pool": null}})).await;
    assert_eq!(put.body["quota"]["pool"], 7);
    let deleted = api.delete(&path).await;
    assert_eq!(deleted.status, StatusCode::ACCEPTED);
    assert!(deleted.bytes.is_empty());
    assert_eq!(api.get_v2(&path).await.body["quota"]["load_balancer"], -1);
    for defaults in [
        "quotas/defaults",
        "quotas/default",
        &format!("{path}/default"),
    ] {
        let answer = api.get_v2(defaults).await;
        assert_eq!(answer.body["quota"]["pool"], 7, "{defaults}");
    }
    let named = api.get_v2("quotas/defaults").await;
    assert_eq!(named.body["quota"]["project_id"], "defaults");
}

#[tokio::test]
async fn limits_out_of_range_and_unknown_items_are_refused() {
    let api = Api::start().await;
    for items in [
        json!({"pool": -2}),
        json!({"pool": 2_000_000_001_i64}),
        json!({"pool": "many"}),
        json!({"pool": 1.5}),
        json!({"pools": 1}),
        json!({"project_id": OWN}),
        json!([]),
    ] {
        let answer = api
            .put(&format!("quotas/{OWN}"), json!({ "quota": items }))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{items}");
    }
    let long = "x".repeat(37);
    let answer = api
        .put(&format!("quotas/{long}"), json!({"quota": {"pool": 1}}))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.count("quotas").await, 0);
}

#[tokio::test]
async fn quotas_are_listed_in_pages() {
    let api = Api::start().await;
    for project in ["a", "b", "c"] {
        let answer = api
            .put(&format!("quotas/{project}"), json!({"quota": {"pool": 1}}))
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    let page = api.get_v2("quotas?limit=2").await;
    let projects = |answer: &Answer| -> Vec<String> {
        let quotas = answer.body["quotas"].as_array().unwrap();
        quotas
            .iter()
            .map(|it| it["project_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(projects(&page), ["a", "b"]);
    let next = page.body["quotas_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://test.example").unwrap();
    assert_eq!(projects(&api.get(next).await), ["c"]);
    assert_eq!(projects(&api.get_v2("quotas?project_id=b").await), ["b"]);
    for query in ["bogus=1", "marker=nobody", "tags=x"] {
        let answer = api.get_v2(&format!("quotas?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn every_class_is_counted_and_a_met_quota_beats_the_lock() {
    let api = start().await;
    let lb = active_lb(&api).await;
    let one = json!({"loadbalancer": 1, "listener": 1, "pool": 1, "member": 1,
                     "healthmonitor": 1, "l7policy": 1, "l7rule": 1});
    assert_eq!(limit(&api, one).await.status, StatusCode::ACCEPTED);
    let listener = |port: u16| json!({"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": port}});
    let first = post(&api, "listeners", listener(80)).await.id("listener");
    // The load balancer is PENDING_UPDATE now.
    met(&post(&api, "listeners", listener(81)).await, "Listener");
    api.settle(&lb).await;
    let pool =
        json!({"pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}});
    let first_pool = post(&api, "pools", pool.clone()).await.id("pool");
    met(&post(&api, "pools", pool).await, "Pool");
    api.settle(&lb).await;

    let members = format!("pools/{first_pool}/members");
    let member =
        |n: u8| json!({"member": {"address": format!("192.0.2.{n}"), "protocol_port": 80}});
    post(&api, &members, member(200)).await.id("member");
    met(&post(&api, &members, member(201)).await, "Member");
    api.settle(&lb).await;
    // A batch is counted by what it adds beyond what it takes away.
    let swap = json!({"members": [{"address": "192.0.2.202", "protocol_port": 80}]});
    let additive = format!("{members}?additive_only=true");
    met(
        &send(&api, Method::PUT, &additive, Some(swap.clone())).await,
        "Member",
    );
    let swapped = send(&api, Method::PUT, &members, Some(swap)).await;
    assert_eq!(swapped.status, StatusCode::ACCEPTED, "{}", swapped.body);
    api.settle(&lb).await;

    let monitor = json!({"healthmonitor": {"pool_id": first_pool, "type": "HTTP", "delay": 1,
                         "timeout": 1, "max_retries": 2}});
    post(&api, "healthmonitors", monitor.clone())
        .await
        .id("healthmonitor");
    met(
        &post(&api, "healthmonitors", monitor).await,
        "Health Monitor",
    );
    api.settle(&lb).await;
    let policy = json!({"l7policy": {"listener_id": first, "action": "REJECT"}});
    let first_policy = post(&api, "l7policies", policy.clone())
        .await
        .id("l7policy");
    met(&post(&api, "l7policies", policy).await, "L7Policy");
    api.settle(&lb).await;
    let rules = format!("l7policies/{first_policy}/rules");
    let rule = json!({"rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}});
    post(&api, &rules, rule.clone()).await.id("rule");
    met(&post(&api, &rules, rule).await, "L7Rule");
    let second = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4}});
    met(&post(&api, "loadbalancers", second).await, "Load Balancer");
    // Another project's are its own.
    let other = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4, "project_id": "other"}});
    assert_eq!(
        post(&api, "loadbalancers", other).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn what_is_deleted_is_given_back_with_all_below_it() {
    let api = start().await;
    let lb = active_lb(&api).await;
    limit(&api, json!({"l7policy": 1, "l7rule": 1, "listener": 1})).await;
    for round in 0..2 {
        let body =
            json!({"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80}});
        let listener = post(&api, "listeners", body).await.id("listener");
        api.settle(&lb).await;
        let body = json!({"l7policy": {"listener_id": listener, "action": "REJECT"}});
        let policy = post(&api, "l7policies", body).await.id("l7policy");
        api.settle(&lb).await;
        let body = json!({"rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}});
        let rule = post(&api, &format!("l7policies/{policy}/rules"), body).await;
        assert_eq!(rule.status, StatusCode::CREATED, "round {round}");
        api.settle(&lb).await;
        let path = format!("listeners/{listener}");
        let deleted = send(&api, Method::DELETE, &path, None).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        api.settle(&lb).await;
    }
}

#[tokio::test]
async fn a_tree_is_counted_whole_and_leaves_nothing_when_it_does_not_fit() {
    let api = start().await;
    limit(&api, json!({"member": 2, "l7rule": 1})).await;
    let tree = |members: usize, rules: usize| {
        let members: Vec<Value> = (0..members)
            .map(|n| json!({"address": format!("192.0.2.{}", 200 + n), "protocol_port": 80}))
            .collect();
        let rules: Vec<Value> = (0..rules)
            .map(|n| json!({"type": "PATH", "compare_type": "EQUAL_TO", "value": format!("/{n}")}))
            .collect();
        json!({"loadbalancer": {
            "vip_subnet_id": SUBNET_V4,
            "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "p"},
                           "l7policies": [{"action": "REJECT", "rules": rules}]}],
            "pools": [{"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                       "members": members}],
        }})
    };
    met(&post(&api, "loadbalancers", tree(3, 1)).await, "Member");
    met(&post(&api, "loadbalancers", tree(2, 2)).await, "L7Rule");
    let list = send(&api, Method::GET, "loadbalancers", None).await;
    assert_eq!(list.body["loadbalancers"], json!([]));
    let fits = post(&api, "loadbalancers", tree(2, 1)).await;
    assert_eq!(fits.status, StatusCode::CREATED, "{}", fits.body);
    met(&post(&api, "loadbalancers", tree(1, 0)).await, "Member");
}

#[tokio::test]
async fn a_limit_below_what_is_used_stops_creates_and_nothing_else() {
    let api = start().await;
    let lb = active_lb(&api).await;
    assert_eq!(
        limit(&api, json!({"loadbalancer": 0})).await.status,
        StatusCode::ACCEPTED
    );
    let path = format!("loadbalancers/{lb}");
    let put = send(
        &api,
        Method::PUT,
        &path,
        Some(json!({"loadbalancer": {"name": "n"}})),
    )
    .await;
    assert_eq!(put.status, StatusCode::OK);
    let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4}});
    met(
        &post(&api, "loadbalancers", body.clone()).await,
        "Load Balancer",
    );
    limit(&api, json!({"loadbalancer": -1})).await;
    assert_eq!(
        post(&api, "loadbalancers", body).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn the_first_use_makes_a_row_and_noauth_counts_nothing() {
    let api = start().await;
    active_lb(&api).await;
    let list = send(&api, Method::GET, "quotas", None).await;
    assert_eq!(list.body["quotas"][0]["project_id"], OWN);
    assert_eq!(list.body["quotas"][0]["loadbalancer"], Value::Null);

    let free = Api::start_with(|config| config.quota_defaults.loadbalancer = 0).await;
    free.active_lb().await;
}

#[tokio::test]
async fn of_parallel_creates_exactly_as_many_succeed_as_fit() {
    let api = start().await;
    limit(&api, json!({"loadbalancer": 3})).await;
    let create = async || {
        let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4}});
        post(&api, "loadbalancers", body).await.status
    };
    let done = futures_util::future::join_all((0..8).map(|_| create())).await;
    let made = done.iter().filter(|it| **it == StatusCode::CREATED).count();
    let refused = done
        .iter()
        .filter(|it| **it == StatusCode::FORBIDDEN)
        .count();
    assert_eq!((made, refused), (3, 5), "{done:?}");
}
