//! L7 policies and rules (checklist 4, 9).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, keys};

async fn positions(api: &Api, listener: &str) -> Vec<(Value, Value)> {
    let answer = api
        .get_v2(&format!("l7policies?listener_id={listener}&sort=position"))
        .await;
    let policies = answer.body["l7policies"].as_array().unwrap().clone();
    policies
        .iter()
        .map(|it| (it["name"].clone(), it["position"].clone()))
        .collect()
}

#[tokio::test]
async fn positions_are_one_dense_list() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let a = api.policy(&lb, &listener, json!({"name": "a"})).await;
    api.policy(&lb, &listener, json!({"name": "b"})).await;
    api.policy(&lb, &listener, json!({"name": "first", "position": 1}))
        .await;
    api.policy(&lb, &listener, json!({"name": "far", "position": 99}))
        .await;
    let expected = |names: &[&str]| -> Vec<(Value, Value)> {
        names
            .iter()
            .enumerate()
            .map(|(i, name)| (json!(name), json!(i + 1)))
            .collect()
    };
    assert_eq!(
        positions(&api, &listener).await,
        expected(&["first", "a", "b", "far"])
    );
    let moved = api
        .put(
            &format!("l7policies/{a}"),
            json!({"l7policy": {"position": 3}}),
        )
        .await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.body);
    api.settle(&lb).await;
    assert_eq!(
        positions(&api, &listener).await,
        expected(&["first", "b", "a", "far"])
    );
    api.delete(&format!("l7policies/{a}")).await;
    api.settle(&lb).await;
    assert_eq!(
        positions(&api, &listener).await,
        expected(&["first", "b", "far"])
    );
}

#[tokio::test]
async fn minimal_policy_and_rule_show_appendix_a() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let body =
        json!({"l7policy": {"listener_id": listener, "action": "REJECT", "redirect_url": null}});
    let answer = api.post("l7policies", body).await;
    let policy = &answer.body["l7policy"];
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(keys(policy).len(), 19, "{:?}", keys(policy));
    assert_eq!(policy["position"], 1);
    assert_eq!(policy["redirect_http_code"], Value::Null);
    assert_eq!(policy["rules"], json!([]));
    let policy = policy["id"].as_str().unwrap().to_owned();
    api.settle(&lb).await;

    let body = json!({"rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}});
    let answer = api.post(&format!("l7policies/{policy}/rules"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let rule = &answer.body["rule"];
    assert_eq!(keys(rule).len(), 14, "{:?}", keys(rule));
    assert_eq!(
        (&rule["invert"], &rule["key"]),
        (&json!(false), &Value::Null)
    );
    let rule = rule["id"].as_str().unwrap().to_owned();
    let shown = api.get_v2(&format!("l7policies/{policy}")).await;
    assert_eq!(
        shown.body["l7policy"]["provisioning_status"],
        "PENDING_UPDATE"
    );
    assert_eq!(shown.body["l7policy"]["rules"], json!([{"id": rule}]));
    api.settle(&lb).await;

    let path = format!("l7policies/{policy}/rules/{rule}");
    let refused = api.put(&path, json!({"rule": {"type": "HEADER"}})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    let done = api
        .put(&path, json!({"rule": {"value": "/v2", "invert": "yes"}}))
        .await;
    assert_eq!(done.status, StatusCode::OK);
    assert_eq!(done.body["rule"]["invert"], true);
    api.settle(&lb).await;
    assert_eq!(api.delete(&path).await.status, StatusCode::NO_CONTENT);
    api.settle(&lb).await;
    let list = api.get_v2(&format!("l7policies/{policy}/rules")).await;
    assert_eq!(list.body, json!({"rules": [], "rules_links": []}));
}

#[tokio::test]
async fn arguments_are_normalised_and_an_empty_put_is_refused() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let pool = api.pool(&lb).await;
    let policy = api
        .policy(
            &lb,
            &listener,
            json!({"action": "REDIRECT_TO_POOL", "redirect_pool_id": pool}),
        )
        .await;
    let path = format!("l7policies/{policy}");
    let empty = api.put(&path, json!({"l7policy": {}})).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST, "{}", empty.body);
    let answer = api
        .put(
            &path,
            json!({"l7policy": {"redirect_url": "http://example.com/"}}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let shown = &answer.body["l7policy"];
    assert_eq!(shown["action"], "REDIRECT_TO_URL");
    assert_eq!(shown["redirect_pool_id"], Value::Null);
    assert_eq!(shown["redirect_http_code"], 302);
    api.settle(&lb).await;
    // A pool that a policy redirects to cannot be deleted.
    let back = api
        .put(&path, json!({"l7policy": {"redirect_pool_id": pool}}))
        .await;
    assert_eq!(back.body["l7policy"]["action"], "REDIRECT_TO_POOL");
    api.settle(&lb).await;
    assert_eq!(
        api.delete(&format!("pools/{pool}")).await.status,
        StatusCode::CONFLICT
    );
}

#[tokio::test]
async fn an_unknown_policy_in_the_path_is_404() {
    let api = Api::start().await;
    let answer = api
        .get_v2(&format!("l7policies/{}/rules", Api::PORT_NOBODY))
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.body["code"], 404);
}
