//! What holds for every route: discovery, spellings, error shapes (checklist 1, 15, 16).

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::support::Api;

#[tokio::test]
async fn the_root_lists_31_versions_that_all_link_to_v2() {
    let api = Api::start().await;
    let answer = api.get("/").await;
    assert_eq!(answer.status, StatusCode::OK);
    let versions = answer.body["versions"].as_array().unwrap().clone();
    assert_eq!(versions.len(), 31);
    for (minor, version) in versions.iter().enumerate() {
        assert_eq!(version["id"], format!("v2.{minor}"));
        assert_eq!(
            version["links"],
            json!([{"href": "http://test.example/v2", "rel": "self"}])
        );
        let status = if minor == 30 { "CURRENT" } else { "SUPPORTED" };
        assert_eq!(version["status"], status);
    }
    assert_eq!(versions[7]["updated"], "2018-01-25T12:00:00Z");
    assert_eq!(versions[30]["updated"], "2025-02-26T00:00:00Z");
    let mounted = api.get("/load-balancer").await;
    assert_eq!(
        mounted.body["versions"][0]["links"][0]["href"],
        "http://test.example/load-balancer/v2"
    );
}

#[tokio::test]
async fn groups_answer_with_the_bare_version() {
    let api = Api::start().await;
    for path in [
        "/v2",
        "/v2/",
        "/v2.0",
        "/v2/lbaas",
        "/v2.0/octavia",
        "/load-balancer/v2.0/lbaas/",
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.status, answer.body),
            (StatusCode::OK, json!("v2")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_spelling_of_a_collection_answers_alike() {
    let api = Api::start().await;
    for path in [
        "/v2/lbaas/loadbalancers",
        "/v2.0/lbaas/loadbalancers",
        "/v2/loadbalancers",
        "/v2.0/loadbalancers",
        "/load-balancer/v2.0/lbaas/loadbalancers",
        "/v2.0/lbaas/loadbalancers/",
        "/v2.0/lbaas/loadbalancers.json",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(
            answer.body,
            json!({"loadbalancers": [], "loadbalancers_links": []}),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_no_route_knows_is_404_in_both_shapes() {
    let api = Api::start().await;
    for path in [
        "/v1",
        "/v3/lbaas/pools",
        "/v2/amphorae",
        "/v2/lbaas/amphorae",
        "/v2/lbaas/bogus",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.body["faultcode"], "Client", "{path}");
        assert_eq!(answer.body["code"], 404, "{path}");
        assert_eq!(answer.body["title"], "Not Found", "{path}");
        assert_eq!(answer.fault(), "Not Found", "{path}");
    }
}

#[tokio::test]
async fn wrong_verbs_are_405_and_name_the_right_ones() {
    let api = Api::start().await;
    let answer = api
        .send(Method::PATCH, "/v2/lbaas/loadbalancers", None)
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.body["code"], 405);
    assert_eq!(answer.headers[header::ALLOW], "GET, POST");
    let head = api
        .send(Method::HEAD, "/v2/lbaas/loadbalancers", None)
        .await;
    assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(head.headers[header::ALLOW], "GET, POST");
    let provider = api.get_v2("providers/amphora").await;
    assert_eq!(provider.status, StatusCode::METHOD_NOT_ALLOWED);
    let nowhere = api.send(Method::HEAD, "/v2/lbaas/bogus", None).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_segment_behind_an_id_that_no_route_knows_is_404() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    for path in [
        format!("loadbalancers/{lb}/foo"),
        format!("loadbalancers/{lb}/status/foo"),
        format!("listeners/{lb}/name"),
        format!("quotas/{lb}/defaults"),
    ] {
        let answer = api.get_v2(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.body["code"], 404, "{path}");
    }
}

#[tokio::test]
async fn bodies_that_could_be_read_in_two_ways_are_refused_and_change_nothing() {
    let api = Api::start().await;
    let deep = format!("{{\"loadbalancer\": {}", "[".repeat(200_000));
    let long = format!(
        "{{\"loadbalancer\": {{\"tags\": [{}1]}}}}",
        "\"t\",".repeat(20_000)
    );
    let subnet = crate::support::SUBNET_V4;
    let twice = format!(
        "{{\"loadbalancer\": {{\"vip_subnet_id\": \"{subnet}\", \"name\": \"a\", \"name\": \"b\"}}}}"
    );
    let zero =
        format!("{{\"loadbalancer\": {{\"vip_subnet_id\": \"{subnet}\", \"name\": \"\\u0000\"}}}}");
    let mut utf8 =
        format!("{{\"loadbalancer\": {{\"vip_subnet_id\": \"{subnet}\", \"name\": \"_\"}}}}")
            .into_bytes();
    let at = utf8.iter().rposition(|byte| *byte == b'_').unwrap();
    utf8[at] = 0xff;
    let json = [("content-type", "application/json")];
    for body in [deep.into(), long.into(), twice.into(), zero.into(), utf8] {
        let answer = api
            .send_with(Method::POST, "/v2/lbaas/loadbalancers", &json, body)
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert_eq!(answer.body["faultcode"], "Client");
    }
    assert_eq!(api.count("loadbalancers").await, 0);
}

#[tokio::test]
async fn query_strings_have_limits() {
    let api = Api::start().await;
    for (query, status) in [
        ("name=%00", StatusCode::BAD_REQUEST),
        (&*"fields=a&".repeat(300), StatusCode::BAD_REQUEST),
        (
            &*format!("tags={}x", "t,".repeat(300)),
            StatusCode::BAD_REQUEST,
        ),
        (
            &*format!("sort={}id", "name,".repeat(40)),
            StatusCode::BAD_REQUEST,
        ),
        (
            &*format!("name={}", "x".repeat(20_000)),
            StatusCode::URI_TOO_LONG,
        ),
    ] {
        let answer = api.get(&format!("/v2/lbaas/pools?{query}")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let api = Api::start().await;
    for path in ["/", "/v2/lbaas/loadbalancers", "/nowhere"] {
        let answer = api.get(path).await;
        let id = answer.headers["x-openstack-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(id.starts_with("req-") && id.len() == 40, "{id}");
    }
}

#[tokio::test]
async fn accept_must_admit_json() {
    let api = Api::start().await;
    for (accept, status) in [
        ("", StatusCode::OK),
        ("*/*", StatusCode::OK),
        ("application/json", StatusCode::OK),
        ("text/html, application/*;q=0.5", StatusCode::OK),
        ("text/plain", StatusCode::NOT_ACCEPTABLE),
        ("application/json;q=0", StatusCode::NOT_ACCEPTABLE),
    ] {
        let headers = [("accept", accept)];
        let answer = api
            .send_with(Method::GET, "/v2/lbaas/pools", &headers, Vec::new())
            .await;
        assert_eq!(answer.status, status, "{accept:?}");
    }
}

#[tokio::test]
async fn a_body_must_be_json_and_not_too_large() {
    let api = Api::start().await;
    let path = "/v2/lbaas/loadbalancers";
    let text = [("content-type", "text/plain"), ("content-length", "2")];
    let answer = api
        .send_with(Method::POST, path, &text, b"{}".to_vec())
        .await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.body["faultcode"], "Client");

    let json_type = [("content-type", "application/json; charset=utf-8")];
    let answer = api
        .send_with(Method::POST, path, &json_type, vec![b' '; (1 << 20) + 1])
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.body["code"], "413 Request Entity Too Large");
    assert_eq!(answer.body["title"], "Request Entity Too Large");

    for bad in [
        "",
        "{",
        "[]",
        "null",
        "17",
        "{}",
        "\"x\"",
        "{\"loadbalancer\": []}",
    ] {
        let answer = api
            .send_with(Method::POST, path, &json_type, bad.as_bytes().to_vec())
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(answer.body["faultcode"], "Client", "{bad}");
        assert_eq!(answer.body["debuginfo"], Value::Null, "{bad}");
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_404_with_the_fault_shape() {
    let api = Api::start().await;
    for path in [
        "loadbalancers/x",
        "listeners/x/stats",
        "pools/x/members",
        "l7policies/%ff/rules",
    ] {
        let answer = api.get(&format!("/v2/lbaas/{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.body["faultcode"], "Client", "{path}");
    }
}
