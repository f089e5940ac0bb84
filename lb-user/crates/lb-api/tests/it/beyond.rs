//! What Octavia does not have: dry runs, resets of a status, events.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
    response::Response,
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Api, SUBNET_V4};

fn tree() -> Value {
    json!({"loadbalancer": {"vip_subnet_id": SUBNET_V4, "name": "web", "listeners": [
        {"protocol": "HTTP", "protocol_port": 80, "default_pool": {
            "name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": [{"address": "203.0.113.50", "protocol_port": 80}],
        }},
    ]}})
}

#[tokio::test]
async fn a_dry_run_answers_with_the_tree_and_leaves_nothing() {
    let api = Api::start().await;
    let ports = api.store.port_page(None, 99).await.unwrap().len();
    let answer = api.post("loadbalancers?dry_run=true", tree()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let made = &answer.body["loadbalancer"];
    assert_eq!(made["provisioning_status"], "PENDING_CREATE");
    assert_eq!(made["pools"][0]["members"][0]["address"], "203.0.113.50");
    assert!(made["vip_address"].is_string());
    for collection in ["loadbalancers", "listeners", "pools"] {
        assert_eq!(api.count(collection).await, 0, "{collection}");
    }
    assert_eq!(api.store.port_page(None, 99).await.unwrap().len(), ports);
    assert_eq!(
        api.store
            .events_after(Api::PROJECT, 0, 10)
            .await
            .unwrap()
            .last,
        0
    );

    let mut bad = tree();
    bad["loadbalancer"]["listeners"][0]["protocol_port"] = json!(0);
    let refused = api.post("loadbalancers?dry_run=yes", bad).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let misspelt = api.post("loadbalancers?dry_run=ture", tree()).await;
    assert_eq!(misspelt.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.count("loadbalancers").await, 0);

    let real = api.post("loadbalancers?dry_run=no", tree()).await;
    assert_eq!(real.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_operator_frees_a_load_balancer_that_is_stuck() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let listener =
        json!({"listener": {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80}});
    let listener = api.post("listeners", listener).await.id("listener");
    let before = api.generations().await;
    let path = format!("loadbalancers/{lb}/status");
    for (bad, status) in [
        (
            json!({"status": {"provisioning_status": "PENDING_UPDATE"}}),
            400,
        ),
        (json!({"status": {}}), 400),
        (
            json!({"status": {"provisioning_status": "ACTIVE", "x": 1}}),
            400,
        ),
        (json!({}), 400),
    ] {
        assert_eq!(api.put(&path, bad).await.status.as_u16(), status);
    }
    assert_eq!(api.generations().await, before);
    let reset = |to: &str| json!({"status": {"provisioning_status": to}});
    let answer = api.put(&path, reset("ERROR")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["loadbalancer"]["provisioning_status"], "ERROR");
    let shown = api.get_v2(&format!("listeners/{listener}")).await;
    assert_eq!(shown.body["listener"]["provisioning_status"], "ERROR");
    let answer = api.put(&path, reset("ACTIVE")).await;
    assert_eq!(answer.body["loadbalancer"]["provisioning_status"], "ACTIVE");
    let shown = api.get_v2(&format!("listeners/{listener}")).await;
    assert_eq!(shown.body["listener"]["provisioning_status"], "ACTIVE");
    assert_ne!(api.generations().await, before);
    let nobody = format!("loadbalancers/{}/status", Api::PORT_NOBODY);
    assert_eq!(
        api.put(&nobody, reset("ACTIVE")).await.status,
        StatusCode::NOT_FOUND
    );
    // What hosts report counts again.
    api.settle(&lb).await;
    let events = api.get_v2("events").await;
    let told = events.body["events"].as_array().unwrap();
    assert!(told.iter().any(|event| {
        event["type"] == "operator"
            && event["message"]
                .as_str()
                .unwrap()
                .contains("PENDING_UPDATE to ERROR")
    }));
}

async fn stream(api: &Api, last_id: Option<i64>) -> Response {
    let mut request = Request::builder()
        .uri("/v2/lbaas/events")
        .header("accept", "text/event-stream");
    if let Some(last_id) = last_id {
        request = request.header("last-event-id", last_id);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// The next event: its type, id and data.
async fn next(stream: &mut Response) -> (String, String, Value) {
    let read = async {
        let mut text = String::new();
        while !text.contains("\n\n") {
            let frame = stream.body_mut().frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        text
    };
    let text = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let data = serde_json::from_str(&field("data:")).unwrap();
    (field("event:"), field("id:"), data)
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_can_be_taken_up_again() {
    let api = Api::start().await;
    let mut live = stream(&api, None).await;
    let lb = api.pending_lb().await;
    let (kind, id, data) = next(&mut live).await;
    assert_eq!((&*kind, &*id), ("status", "1"));
    assert_eq!(data["loadbalancer_id"], lb);
    assert_eq!(
        data["data"]["changes"][0]["provisioning_status"],
        "PENDING_CREATE"
    );
    api.settle(&lb).await;
    let (_, id, data) = next(&mut live).await;
    assert_eq!(id, "2");
    assert_eq!(data["data"]["changes"][0]["provisioning_status"], "ACTIVE");
    drop(live);

    let mut resumed = stream(&api, Some(1)).await;
    assert_eq!(next(&mut resumed).await.1, "2");
    let removed = api.delete(&format!("loadbalancers/{lb}")).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(next(&mut resumed).await.1, "3");

    let list = api.get_v2("events?marker=1").await;
    let sequences: Vec<&Value> = list.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["sequence"])
        .collect();
    assert_eq!(sequences, [&json!(2), &json!(3)]);
    for bad in ["x", "-1", "1.5"] {
        let answer = api.get_v2(&format!("events?marker={bad}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn another_projects_events_are_another_stream() {
    let api = Api::start().await;
    api.pending_lb().await;
    let other = [("x-project-id", "other"), ("accept", "application/json")];
    let list = api
        .send_with(Method::GET, "/v2/events", &other, Vec::new())
        .await;
    assert_eq!(list.body["events"], json!([]));
    let list = api
        .get_v2(&format!("events?project_id={}", Api::PROJECT))
        .await;
    let projects: BTreeSet<&str> = list.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["project_id"].as_str())
        .collect();
    assert_eq!(projects, BTreeSet::from([Api::PROJECT]));
}
