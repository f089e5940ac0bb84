//! Many changes of one load balancer at once, as Terraform makes them: each waits, none is refused.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::{Either, join_all, select};
use serde_json::{Value, json};

use crate::support::Api;

/// The product's default.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// Settles whatever is pending, woken by the store's changes, until dropped.
async fn settle_all(api: &Api, lb: &str) {
    let mut changes = api.store.changes();
    loop {
        changes.borrow_and_update();
        api.settle(lb).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn made(api: &Api, path: &str, key: &str, fields: Value) -> String {
    let answer = api.post(path, json!({ key: fields })).await;
    assert_eq!(
        answer.status,
        StatusCode::CREATED,
        "{path}: {}",
        answer.body
    );
    answer.id(key)
}

/// A listener, its pool and the pool's member, one after another.
async fn chain(api: &Api, lb: &str, number: u16) {
    let listener =
        json!({"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 1000 + number});
    let listener = made(api, "listeners", "listener", listener).await;
    let pool = json!({"listener_id": listener, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"});
    let pool = made(api, "pools", "pool", pool).await;
    let member = json!({"address": "192.0.2.77", "protocol_port": 80});
    made(api, &format!("pools/{pool}/members"), "member", member).await;
}

#[tokio::test]
async fn thirty_parallel_chains_on_one_load_balancer_meet_no_409() {
    let api = Api::start_waiting(SETTLE_WAIT).await;
    let lb = api.active_lb().await;
    let chains = join_all((0..30).map(|number| chain(&api, &lb, number)));
    let settling = settle_all(&api, &lb);
    match select(std::pin::pin!(chains), std::pin::pin!(settling)).await {
        Either::Left(_) => {}
        Either::Right(_) => panic!("the store went away"),
    }
    for (collection, count) in [("listeners", 30), ("pools", 30)] {
        assert_eq!(api.count(collection).await, count, "{collection}");
    }
}
