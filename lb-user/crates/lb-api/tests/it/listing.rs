//! Lists (checklist 11).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, SUBNET_V4};

async fn three(api: &Api) {
    for (name, tags, project) in [
        ("a", ["x", "y"], "p1"),
        ("b", ["x", "z"], "p1"),
        ("c", ["w", "z"], "p2"),
    ] {
        let body = json!({"loadbalancer": {"name": name, "vip_subnet_id": SUBNET_V4, "tags": tags, "project_id": project}});
        assert_eq!(
            api.post("loadbalancers", body).await.status,
            StatusCode::CREATED
        );
    }
}

fn names(body: &Value) -> String {
    let items = body["loadbalancers"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap_or("-"))
        .collect()
}

#[tokio::test]
async fn filters_sort_and_tags_choose() {
    let api = Api::start().await;
    three(&api).await;
    for (query, expected) in [
        ("", "abc"),
        ("name=b", "b"),
        ("project_id=p1", "ab"),
        ("project_id=p1&name=c", ""),
        ("admin_state_up=true", "abc"),
        ("admin_state_up=no", ""),
        ("provisioning_status=PENDING_CREATE", "abc"),
        ("sort=name:desc", "cba"),
        ("sort_key=name&sort_dir=desc", "cba"),
        ("sort=project_id:desc,name", "cab"),
        ("tags=x", "ab"),
        ("tags=x,y", "a"),
        ("tags=x&tags=y", "a"),
        ("tags-any=y,w", "ac"),
        ("not-tags=x,z", "ac"),
        ("not-tags-any=y,w", "b"),
        ("tags=x&not-tags-any=y", "b"),
        ("limit=0", "abc"),
        ("limit=infinite", "abc"),
    ] {
        let answer = api.get_v2(&format!("loadbalancers?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        assert_eq!(names(&answer.body), expected, "{query}");
        assert_eq!(answer.body["loadbalancers_links"], json!([]), "{query}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_400() {
    let api = Api::start().await;
    for query in [
        "bogus=1",
        "tenant_id=p1",
        "sort=bogus",
        "sort=name:up",
        "limit=many",
        "marker=00000000-0000-4000-8000-00000000dead",
        "marker=nonsense",
        "name=a&name=b",
    ] {
        let answer = api.get_v2(&format!("loadbalancers?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.body["faultcode"], "Client", "{query}");
    }
}

#[tokio::test]
async fn links_lead_through_every_page_and_keep_filters() {
    let api = Api::start().await;
    three(&api).await;
    let mut path =
        "/load-balancer/v2/lbaas/loadbalancers?limit=1&sort=name:desc&fields=name&fields=id"
            .to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = api.get(&path).await;
        seen.push(names(&answer.body));
        let links = answer.body["loadbalancers_links"]
            .as_array()
            .unwrap()
            .clone();
        match links.iter().find(|link| link["rel"] == "next") {
            Some(link) => {
                let href = link["href"].as_str().unwrap();
                assert!(
                    href.starts_with("http://test.example/load-balancer/v2/"),
                    "{href}"
                );
                assert!(
                    href.contains("sort=name:desc") && href.contains("fields=name"),
                    "{href}"
                );
                path = href.trim_start_matches("http://test.example").to_owned();
            }
            None => {
                let back = links.iter().find(|link| link["rel"] == "previous").unwrap();
                let href = back["href"].as_str().unwrap();
                let previous = api
                    .get(href.trim_start_matches("http://test.example"))
                    .await;
                assert_eq!(names(&previous.body), "b");
            }
        }
    }
    assert_eq!(seen, ["c", "b", "a"]);
}

#[tokio::test]
async fn fields_choose_keys_of_lists_and_of_single_objects() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let answer = api.get_v2("loadbalancers?fields=id&fields=bogus").await;
    assert_eq!(answer.body["loadbalancers"], json!([{"id": lb}]));
    let answer = api
        .get_v2(&format!("loadbalancers/{lb}?fields=id,provisioning_status"))
        .await;
    assert_eq!(
        answer.body,
        json!({"loadbalancer": {"id": lb, "provisioning_status": "ACTIVE"}})
    );
}

#[tokio::test]
async fn children_are_found_by_what_they_hang_on() {
    let api = Api::start().await;
    let lb = api.active_lb().await;
    let other = api.active_lb().await;
    let listener = api.listener(&lb, "HTTP", 80).await;
    let pool = api.pool_of_listener(&lb, &listener).await;
    let monitor = api.monitor(&lb, &pool).await;
    for (path, key, count) in [
        (format!("listeners?loadbalancer_id={lb}"), "listeners", 1),
        (
            format!("listeners?load_balancer_id={other}"),
            "listeners",
            0,
        ),
        (format!("pools?loadbalancer_id={lb}"), "pools", 1),
        (format!("pools?healthmonitor_id={monitor}"), "pools", 1),
        (
            format!("healthmonitors?pool_id={pool}"),
            "healthmonitors",
            1,
        ),
        ("healthmonitors?type=PING".to_owned(), "healthmonitors", 0),
        (
            format!("l7policies?listener_id={listener}"),
            "l7policies",
            0,
        ),
    ] {
        let answer = api.get_v2(&path).await;
        assert_eq!(
            answer.body[key].as_array().map(Vec::len),
            Some(count),
            "{path}: {}",
            answer.body
        );
    }
    assert_eq!(
        api.get_v2(&format!("pools?listener_id={listener}"))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    let amphorae = api
        .get(&format!("/v2.0/octavia/amphorae?loadbalancer_id={lb}"))
        .await;
    let amphora = &amphorae.body["amphorae"][0];
    assert_eq!(
        (&amphora["loadbalancer_id"], &amphora["role"]),
        (&json!(lb), &json!("STANDALONE"))
    );
    let id = amphora["id"].as_str().unwrap();
    assert_eq!(
        &api.get(&format!("/v2/octavia/amphorae/{id}")).await.body["amphora"],
        amphora
    );
}
