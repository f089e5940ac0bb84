//! What the operator can set about the front door: mounts, proxies, browsers, health checks, switches.

use axum::http::{Method, StatusCode, header};
use lb_api::{FrontDoor, ListSwitches};
use serde_json::json;

use crate::support::Api;

async fn with(front: FrontDoor) -> Api {
    Api::start_with(|config| config.front = front).await
}

#[tokio::test]
async fn the_health_check_answers_as_it_is_asked() {
    let api = Api::start().await;
    for path in ["/healthcheck", "/load-balancer/healthcheck"] {
        for accept in ["", "text/plain", "*/*", "image/png"] {
            let headers = [("accept", accept)];
            let answer = api.send_with(Method::GET, path, &headers, Vec::new()).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path} {accept}");
            assert!(answer.bytes.is_empty());
        }
        let headers = [("accept", "application/json")];
        let answer = api.send_with(Method::GET, path, &headers, Vec::new()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, json!({"detailed": false, "reasons": []}));
    }
    let head = api.send(Method::HEAD, "/healthcheck", None).await;
    assert_eq!(head.status, StatusCode::NO_CONTENT);
    let post = api.send(Method::POST, "/healthcheck", None).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.headers[header::ALLOW], "GET, HEAD");
    assert!(
        post.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
}

#[tokio::test]
async fn a_database_that_is_gone_is_unhealthy() {
    let api = Api::start().await;
    api.store.close().await;
    let plain = api.get("/healthcheck").await;
    assert_eq!(plain.status, StatusCode::SERVICE_UNAVAILABLE);
    let headers = [("accept", "application/json")];
    let answer = api
        .send_with(Method::GET, "/healthcheck", &headers, Vec::new())
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["reasons"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_health_check_that_is_switched_off_is_not_there() {
    let api = with(FrontDoor {
        healthcheck: false,
        ..FrontDoor::default()
    })
    .await;
    let answer = api.get("/healthcheck").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_mount_can_be_moved_and_links_repeat_it() {
    let api = with(FrontDoor {
        mount_prefix: "/api/lb".to_owned(),
        ..FrontDoor::default()
    })
    .await;
    let answer = api.get("/api/lb/").await;
    assert_eq!(
        answer.body["versions"][3]["links"][0]["href"],
        "http://test.example/api/lb/v2"
    );
    let gone = api.get("/load-balancer/v2.0/lbaas/pools").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let plain = api.get("/v2.0/lbaas/pools").await;
    assert_eq!(plain.status, StatusCode::OK);
}

#[tokio::test]
async fn links_name_the_place_that_a_trusted_proxy_or_the_operator_says() {
    let api = with(FrontDoor {
        trusts_proxy_headers: true,
        ..FrontDoor::default()
    })
    .await;
    let proxied = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "lb.example"),
    ];
    let root = api.send_with(Method::GET, "/", &proxied, Vec::new()).await;
    assert_eq!(
        root.body["versions"][30]["links"][0]["href"],
        "https://lb.example/v2"
    );

    let api = with(FrontDoor {
        api_base_uri: Some("https://cloud.example:9876/".to_owned()),
        ..FrontDoor::default()
    })
    .await;
    for _ in 0..2 {
        api.active_lb().await;
    }
    let path = "/load-balancer/v2.0/lbaas/loadbalancers?limit=1&sort=name:desc&fields=id";
    let page = api.get(path).await;
    let href = page.body["loadbalancers_links"][0]["href"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        href.starts_with(
            "https://cloud.example:9876/load-balancer/v2.0/lbaas/loadbalancers?limit=1&sort=name:desc&fields=id&marker="
        ),
        "{href}"
    );
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_others_are_told_nothing() {
    let page = [("origin", "https://horizon.example")];
    let preflight = [
        ("origin", "https://horizon.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-auth-token"),
    ];
    let path = "/v2.0/lbaas/pools";

    let closed = Api::start().await;
    for (verb, headers) in [(Method::GET, &page[..]), (Method::OPTIONS, &preflight)] {
        let answer = closed.send_with(verb, path, headers, Vec::new()).await;
        assert_eq!(answer.status, StatusCode::OK);
        let told = answer.headers.keys().map(ToString::to_string);
        let cors: Vec<String> = told.filter(|name| name.starts_with("access-")).collect();
        assert_eq!(cors, Vec::<String>::new());
    }

    let open = with(FrontDoor {
        allowed_origins: vec!["https://horizon.example".to_owned()],
        ..FrontDoor::default()
    })
    .await;
    let answer = open
        .send_with(Method::OPTIONS, path, &preflight, Vec::new())
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://horizon.example"
    );
    assert!(answer.bytes.is_empty());
    // Refusals carry them too, or a page could not read why.
    let answer = open
        .send_with(Method::GET, "/nowhere", &page, Vec::new())
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        answer.headers["access-control-expose-headers"],
        "x-auth-token,x-openstack-request-id"
    );
    let stranger = [("origin", "https://elsewhere.example")];
    let answer = open
        .send_with(Method::GET, path, &stranger, Vec::new())
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn what_is_switched_off_of_lists_is_not_looked_at() {
    let api = with(FrontDoor {
        listing: ListSwitches {
            pagination: false,
            sorting: false,
            filtering: false,
            field_selection: false,
        },
        ..FrontDoor::default()
    })
    .await;
    for _ in 0..3 {
        api.active_lb().await;
    }
    let query = "limit=x&marker=y&sort=nothing:sideways&bogus=1&fields=id&name=z&tags=q";
    let list = api.get_v2(&format!("loadbalancers?{query}")).await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.body);
    let items = list.body["loadbalancers"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert!(items[0].get("name").is_some());
    assert_eq!(list.body["loadbalancers_links"], json!([]));
}
