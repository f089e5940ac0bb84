//! No route answers a caller who may do nothing. The routes are read from the table's source, so
//! one that is added is walked as well.

use axum::http::{Method, StatusCode};
use lb_api::AuthStrategy;
use serde_json::{Value, json};

use crate::support::{Answer, Api, SUBNET_V4};

const TABLE: &str = include_str!("../../src/routes.rs");
const OWN: &str = "11111111111111111111111111111111";

/// Where the table mounts a group. A group that is not here is walked without a prefix.
const MOUNTS: &[(&str, &str)] = &[
    ("load_balancer_routes", "/v2/lbaas"),
    ("layer_7_routes", "/v2/lbaas"),
    ("service_routes", "/v2/lbaas"),
    ("flavor_routes", "/v2/lbaas"),
    ("availability_zone_routes", "/v2/lbaas"),
    ("amphora_routes", "/v2/octavia"),
    ("network_routes", "/v2"),
];

/// Answered to everyone, or to everyone with a token: nobody's objects are in it.
const OPEN: &[&str] = &[
    "/",
    "/v2",
    "/v2/lbaas",
    "/v2/octavia",
    "/healthcheck",
    "/docs",
    "/docs/page.js",
    "/docs/page.css",
    "/openapi",
    "/v1",
    "/key-manager",
];

pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) verbs: Vec<Method>,
}

pub(crate) fn table() -> Vec<Route> {
    let mut routes = Vec::new();
    for group in TABLE.split("\nfn ").skip(1) {
        let name = group.split('(').next().unwrap_or_default();
        let mount = MOUNTS.iter().find(|(group, _)| *group == name);
        for part in group.split(".route(").skip(1) {
            let Some(path) = part.split('"').nth(1).filter(|path| path.starts_with('/')) else {
                continue;
            };
            let verbs = [
                ("get(", Method::GET),
                ("post(", Method::POST),
                ("put(", Method::PUT),
                ("delete(", Method::DELETE),
            ];
            let verbs = verbs.into_iter().filter(|(word, _)| part.contains(word));
            let prefix = mount.map_or("", |(_, prefix)| *prefix);
            routes.push(Route {
                path: format!("{prefix}{path}"),
                verbs: verbs.map(|(_, verb)| verb).collect(),
            });
        }
    }
    routes
}

async fn send(api: &Api, roles: &str, verb: &Method, path: &str, body: Option<Value>) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("x-project-id", OWN),
        ("x-roles", roles),
    ];
    let body = body.map(|body| body.to_string().into_bytes());
    api.send_with(verb.clone(), path, &headers, body.unwrap_or_default())
        .await
}

/// One object of each kind, by the path it is under.
async fn furnish(api: &Api) -> Vec<(&'static str, String)> {
    let make = async |path: &str, key: &str, body: Value| {
        let path = format!("/v2/lbaas/{path}");
        let body = json!({key: body});
        send(api, "member", &Method::POST, &path, Some(body))
            .await
            .id(key)
    };
    let lb = make(
        "loadbalancers",
        "loadbalancer",
        json!({"vip_subnet_id": SUBNET_V4}),
    )
    .await;
    api.settle(&lb).await;
    let listener = make(
        "listeners",
        "listener",
        json!({"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80}),
    )
    .await;
    api.settle(&lb).await;
    let pool = make(
        "pools",
        "pool",
        json!({"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
    )
    .await;
    api.settle(&lb).await;
    let member = make(
        &format!("pools/{pool}/members"),
        "member",
        json!({"address": "192.0.2.200", "protocol_port": 80}),
    )
    .await;
    api.settle(&lb).await;
    let monitor = make(
        "healthmonitors",
        "healthmonitor",
        json!({"pool_id": pool, "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 2}),
    )
    .await;
    api.settle(&lb).await;
    let policy = make(
        "l7policies",
        "l7policy",
        json!({"listener_id": listener, "action": "REJECT"}),
    )
    .await;
    api.settle(&lb).await;
    let rule = make(
        &format!("l7policies/{policy}/rules"),
        "rule",
        json!({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"}),
    )
    .await;
    api.settle(&lb).await;
    vec![
        ("/members/{id}", member),
        ("/rules/{id}", rule),
        ("/loadbalancers/{id}", lb),
        ("/listeners/{id}", listener),
        ("/pools/{pool_id}", pool.clone()),
        ("/pools/{id}", pool),
        ("/healthmonitors/{id}", monitor),
        ("/l7policies/{l7policy_id}", policy.clone()),
        ("/l7policies/{id}", policy),
        ("/quotas/{project_id}", OWN.to_owned()),
        ("/providers/{name}", "amphora".to_owned()),
    ]
}

/// The path with real ids, and whether all of its objects exist.
fn filled(path: &str, objects: &[(&str, String)]) -> (String, bool) {
    let mut path = path.to_owned();
    for (pattern, id) in objects {
        if let Some((collection, _)) = pattern.rsplit_once('/') {
            path = path.replace(pattern, &format!("{collection}/{id}"));
        }
    }
    let known = !path.contains('{');
    while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
        path.replace_range(from..=to, Api::PORT_NOBODY);
    }
    (path, known)
}

/// A body that the schema takes.
fn body(verb: &Method, path: &str, objects: &[(&str, String)]) -> Option<Value> {
    let id = |pattern: &str| {
        let found = objects.iter().find(|(known, _)| *known == pattern);
        found.map_or("", |(_, id)| id.as_str())
    };
    let (lb, pool) = (id("/loadbalancers/{id}"), id("/pools/{id}"));
    let collection = path
        .rsplit('/')
        .find(|part| part.chars().all(char::is_alphabetic))?;
    let update = json!({"name": "x"});
    let (key, create) = match collection {
        "loadbalancers" => ("loadbalancer", json!({"vip_subnet_id": SUBNET_V4})),
        "listeners" => (
            "listener",
            json!({"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 81}),
        ),
        "pools" => (
            "pool",
            json!({"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
        ),
        "members" if *verb == Method::PUT && path.ends_with("/members") => {
            return Some(json!({"members": []}));
        }
        "members" => (
            "member",
            json!({"address": "192.0.2.201", "protocol_port": 80}),
        ),
        "healthmonitors" => (
            "healthmonitor",
            json!({"pool_id": pool, "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 2}),
        ),
        _ => return Some(json!({})),
    };
    Some(json!({key: if *verb == Method::PUT { update } else { create }}))
}

#[tokio::test]
async fn a_caller_of_no_roles_is_refused_everywhere() {
    let api = Api::start_with(|config| config.auth_strategy = AuthStrategy::Testing).await;
    let objects = furnish(&api).await;
    let before = api.generations().await;
    let routes = table();
    assert!(routes.len() > 40, "only {} routes were found", routes.len());
    let mut wrong = Vec::new();
    for route in routes
        .iter()
        .filter(|route| !OPEN.contains(&route.path.as_str()))
    {
        let (path, exists) = filled(&route.path, &objects);
        for verb in &route.verbs {
            let with_body = *verb == Method::POST || *verb == Method::PUT;
            let body = with_body.then(|| body(verb, &path, &objects)).flatten();
            let unknown_body = match *verb {
                Method::GET => false,
                _ => body.as_ref().is_none_or(|body| *body == json!({})),
            };
            let answer = send(&api, "nothing", verb, &path, body).await;
            let refused = match answer.status {
                StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => true,
                // Nothing was shown or done: the object is not there, or the body is none.
                StatusCode::NOT_FOUND => !exists,
                StatusCode::BAD_REQUEST => unknown_body,
                _ => false,
            };
            if !refused {
                wrong.push(format!("{verb} {}: {}", route.path, answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(api.generations().await, before);
}
