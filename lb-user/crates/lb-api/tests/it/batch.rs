//! Batch members (checklist 7).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::Api;

async fn members(api: &Api, pool: &str) -> Vec<Value> {
    let answer = api
        .get_v2(&format!("pools/{pool}/members?sort=address"))
        .await;
    answer.body["members"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_list_becomes_the_set_and_defaults_come_back() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    let path = format!("pools/{pool}/members");
    let one = json!({"address": "192.0.2.201", "protocol_port": 80, "weight": 7, "name": "one", "backup": false});
    let two = json!({"address": "192.0.2.202", "protocol_port": 80});
    let answer = api.put(&path, json!({"members": [one, two]})).await;
    assert_eq!(
        (answer.status, answer.bytes.len()),
        (StatusCode::ACCEPTED, 0)
    );
    api.settle(&lb).await;
    let before = members(&api, &pool).await;
    assert_eq!(before.len(), 2);
    assert_eq!(before[0]["weight"], 7);

    let again = json!({"members": [
        {"address": "192.0.2.201", "protocol_port": 80},
        {"address": "192.0.2.203", "protocol_port": 80},
    ]});
    assert_eq!(api.put(&path, again).await.status, StatusCode::ACCEPTED);
    api.settle(&lb).await;
    let after = members(&api, &pool).await;
    let addresses: Vec<_> = after
        .iter()
        .map(|member| member["address"].clone())
        .collect();
    assert_eq!(addresses, ["192.0.2.201", "192.0.2.203"]);
    assert_eq!(after[0]["id"], before[0]["id"]);
    // The weight went back to its default, the name stayed.
    assert_eq!(
        (&after[0]["weight"], &after[0]["name"]),
        (&json!(1), &json!("one"))
    );
}

#[tokio::test]
async fn additive_leaves_the_others_alone() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    api.member(&lb, &pool, "192.0.2.201").await;
    let path = format!("pools/{pool}/members?additive_only=True");
    let answer = api
        .put(
            &path,
            json!({"members": [{"address": "192.0.2.202", "protocol_port": 80}]}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    api.settle(&lb).await;
    assert_eq!(members(&api, &pool).await.len(), 2);
    // Unknown text is false: the list is the whole set then.
    let path = format!("pools/{pool}/members?additive_only=perhaps");
    assert_eq!(
        api.put(&path, json!({"members": []})).await.status,
        StatusCode::ACCEPTED
    );
    api.settle(&lb).await;
    assert_eq!(members(&api, &pool).await.len(), 0);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    api.member(&lb, &pool, "192.0.2.201").await;
    let path = format!("pools/{pool}/members");
    let good = json!({"address": "192.0.2.205", "protocol_port": 80});
    let known = json!({"address": "192.0.2.201", "protocol_port": 8080});
    for (body, status) in [
        (json!({}), 400),
        (json!({"members": {}}), 400),
        (
            json!({"members": [good, {"address": "127.0.0.1", "protocol_port": 80}]}),
            400,
        ),
        (json!({"members": [good, {"address": "192.0.2.206"}]}), 400),
        (json!({"members": [known, known]}), 400),
        (json!({"members": [good, good]}), 409),
    ] {
        let answer = api.put(&path, body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.body);
        assert_eq!(members(&api, &pool).await.len(), 1, "{body}");
        let shown = api.get_v2(&format!("loadbalancers/{lb}")).await;
        assert_eq!(
            shown.body["loadbalancer"]["provisioning_status"], "ACTIVE",
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_empty_list_on_an_empty_pool_changes_nothing() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let pool = api.pool(&lb).await;
    let answer = api
        .put(&format!("pools/{pool}/members"), json!({"members": []}))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let shown = api.get_v2(&format!("loadbalancers/{lb}")).await;
    assert_eq!(shown.body["loadbalancer"]["provisioning_status"], "ACTIVE");
}
