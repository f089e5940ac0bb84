//! Who may do what (contract 6.4 to 6.6), with callers as headers tell them.

use axum::http::{Method, StatusCode};
use lb_api::AuthStrategy;
use serde_json::{Value, json};

use crate::support::{Answer, Api, SUBNET_V4};

const OWN: &str = "11111111111111111111111111111111";
const OTHER: &str = "22222222222222222222222222222222";

async fn start() -> Api {
    Api::start_with(|config| config.auth_strategy = AuthStrategy::Testing).await
}

/// A caller.
struct As<'a>(&'a Api, &'a str, &'a str);

impl As<'_> {
    async fn send(&self, verb: Method, path: &str, body: Option<Value>) -> Answer {
        let headers = [
            ("content-type", "application/json"),
            ("x-project-id", self.1),
            ("x-roles", self.2),
        ];
        let body = body.map(|body| body.to_string().into_bytes());
        self.0
            .send_with(verb, path, &headers, body.unwrap_or_default())
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, &format!("/v2/lbaas/{path}"), None)
            .await
    }

    async fn create(&self, body: Value) -> Answer {
        let path = "/v2/lbaas/loadbalancers";
        self.send(Method::POST, path, Some(json!({"loadbalancer": body})))
            .await
    }
}

async fn lb_of(api: &Api, project: &str) -> String {
    let answer = As(api, project, "member")
        .create(json!({"vip_subnet_id": SUBNET_V4}))
        .await;
    let id = answer.id("loadbalancer");
    assert_eq!(answer.body["loadbalancer"]["project_id"], project);
    api.settle(&id).await;
    id
}

#[tokio::test]
async fn a_member_has_its_own_project_and_no_other() {
    let api = start().await;
    let (mine, theirs) = (lb_of(&api, OWN).await, lb_of(&api, OTHER).await);
    let member = As(&api, OWN, "member");
    assert_eq!(
        member.get(&format!("loadbalancers/{mine}")).await.status,
        StatusCode::OK
    );
    let foreign = format!("/v2/lbaas/loadbalancers/{theirs}");
    for (verb, path, body) in [
        (Method::GET, foreign.clone(), None),
        (Method::GET, format!("{foreign}/status"), None),
        (Method::GET, format!("{foreign}/stats"), None),
        (
            Method::PUT,
            foreign.clone(),
            Some(json!({"loadbalancer": {"name": "x"}})),
        ),
        (Method::DELETE, foreign, None),
        (
            Method::POST,
            "/v2/lbaas/listeners".to_owned(),
            Some(
                json!({"listener": {"loadbalancer_id": theirs, "protocol": "HTTP", "protocol_port": 80}}),
            ),
        ),
        (
            Method::POST,
            "/v2/lbaas/pools".to_owned(),
            Some(
                json!({"pool": {"loadbalancer_id": theirs, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}}),
            ),
        ),
    ] {
        let answer = member.send(verb.clone(), &path, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{verb} {path}");
        assert_eq!(
            answer.fault(),
            "Policy does not allow this request to be performed.",
            "{verb} {path}"
        );
        assert_eq!(answer.body["faultcode"], "Client");
    }
    let failover = format!("/v2/lbaas/loadbalancers/{mine}/failover");
    let answer = member.send(Method::PUT, &failover, None).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let amphorae = member.send(Method::GET, "/v2/octavia/amphorae", None).await;
    assert_eq!(amphorae.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_reader_reads_and_nobody_else_does_anything() {
    let api = start().await;
    let mine = lb_of(&api, OWN).await;
    for (roles, read) in [
        ("reader", StatusCode::OK),
        ("READER", StatusCode::OK),
        ("something,reader", StatusCode::OK),
        ("manager", StatusCode::FORBIDDEN),
        ("load-balancer_member", StatusCode::FORBIDDEN),
        ("service", StatusCode::FORBIDDEN),
        ("", StatusCode::FORBIDDEN),
    ] {
        let caller = As(&api, OWN, roles);
        assert_eq!(
            caller.get(&format!("loadbalancers/{mine}")).await.status,
            read,
            "{roles}"
        );
        assert_eq!(caller.get("loadbalancers").await.status, read, "{roles}");
        let created = caller.create(json!({"vip_subnet_id": SUBNET_V4})).await;
        assert_eq!(created.status, StatusCode::FORBIDDEN, "{roles}");
    }
    assert_eq!(api.generations().await.len(), 1);
}

#[tokio::test]
async fn lists_are_of_the_callers_project_unless_it_may_see_all() {
    let api = start().await;
    let (mine, theirs) = (lb_of(&api, OWN).await, lb_of(&api, OTHER).await);
    let ids = |answer: Answer| -> Vec<String> {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let items = answer.body["loadbalancers"].as_array().unwrap().clone();
        items
            .iter()
            .map(|lb| lb["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (member, admin) = (As(&api, OWN, "member"), As(&api, "33", "admin"));
    assert_eq!(ids(member.get("loadbalancers").await), [mine.as_str()]);
    let own = format!("loadbalancers?project_id={OWN}");
    assert_eq!(ids(member.get(&own).await), [mine.as_str()]);
    let foreign = format!("loadbalancers?project_id={OTHER}");
    assert_eq!(member.get(&foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ids(admin.get("loadbalancers").await).len(), 2);
    assert_eq!(ids(admin.get(&foreign).await), [theirs.as_str()]);
    for list in ["listeners", "pools", "healthmonitors", "l7policies"] {
        assert_eq!(member.get(list).await.status, StatusCode::OK, "{list}");
        let foreign = format!("{list}?project_id={OTHER}");
        assert_eq!(
            member.get(&foreign).await.status,
            StatusCode::FORBIDDEN,
            "{list}"
        );
    }
    // Nobody in particular: there is no project to list.
    assert_eq!(
        As(&api, "", "member").get("pools").await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_load_balancer_goes_to_the_project_its_body_names_or_to_the_callers() {
    let api = start().await;
    let body = |key: &str, project: &str| json!({"vip_subnet_id": SUBNET_V4, key: project});
    let (member, admin) = (As(&api, OWN, "member"), As(&api, OWN, "admin"));
    for key in ["project_id", "tenant_id"] {
        let own = member.create(body(key, OWN)).await;
        assert_eq!(own.status, StatusCode::CREATED, "{key}");
        let foreign = member.create(body(key, OTHER)).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{key}");
        let given = admin.create(body(key, OTHER)).await;
        assert_eq!(given.body["loadbalancer"]["project_id"], OTHER, "{key}");
    }
    let nowhere = As(&api, "", "admin")
        .create(json!({"vip_subnet_id": SUBNET_V4}))
        .await;
    assert_eq!(nowhere.status, StatusCode::BAD_REQUEST, "{}", nowhere.body);
}

#[tokio::test]
async fn the_schema_answers_first_and_what_is_not_there_next() {
    let api = start().await;
    let stranger = As(&api, OWN, "");
    let path = "/v2/lbaas/listeners";
    let bad = json!({"listener": {"protocol": "HTTP"}});
    let answer = stranger.send(Method::POST, path, Some(bad)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let nobody = json!({"listener": {"loadbalancer_id": Api::PORT_NOBODY, "protocol": "HTTP", "protocol_port": 80}});
    let answer = stranger.send(Method::POST, path, Some(nobody)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let absent = format!("loadbalancers/{}", Api::PORT_NOBODY);
    assert_eq!(stranger.get(&absent).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn another_service_lists_members_and_does_nothing_else() {
    let api = start().await;
    let lb = lb_of(&api, OWN).await;
    let body =
        json!({"pool": {"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}});
    let member = As(&api, OWN, "member");
    let pool = member
        .send(Method::POST, "/v2/lbaas/pools", Some(body))
        .await
        .id("pool");
    let service = As(&api, OTHER, "service");
    let members = format!("pools/{pool}/members");
    assert_eq!(service.get(&members).await.status, StatusCode::OK);
    assert_eq!(
        service.get(&format!("pools/{pool}")).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        As(&api, OTHER, "member").get(&members).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_policy_file_counts_at_once_and_a_broken_one_not_at_all() {
    use lb_api::PolicyFile;
    use lb_policy::PolicySet;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    std::fs::write(&path, "load-balancer:read: 'role:spy'").unwrap();
    let file = PolicyFile::open(PolicySet::AdminOrOwner, &path).unwrap();
    let mut rules = file.rules();
    let api = Api::start_with(|config| {
        config.auth_strategy = AuthStrategy::Testing;
        config.policy = file.rules();
    })
    .await;
    let (end, _guard) = {
        let end = CancellationToken::new();
        (end.clone(), end.drop_guard())
    };
    lb_telemetry::task::spawn("policy file", file.follow(end));
    let providers = async |role: &'static str| As(&api, OWN, role).get("providers").await.status;
    assert_eq!(providers("spy").await, StatusCode::OK);
    assert_eq!(providers("nobody").await, StatusCode::FORBIDDEN);

    std::fs::write(&path, "load-balancer:read: 'role:nobody'").unwrap();
    rules.mark_unchanged();
    let read = tokio::time::timeout(Duration::from_secs(20), rules.changed()).await;
    read.unwrap().unwrap();
    assert_eq!(providers("spy").await, StatusCode::FORBIDDEN);
    assert_eq!(providers("nobody").await, StatusCode::OK);

    std::fs::write(&path, "load-balancer:read: 'colour:blue'").unwrap();
    let read = tokio::time::timeout(Duration::from_secs(3), rules.changed()).await;
    assert!(read.is_err(), "a broken file was taken");
    assert_eq!(providers("nobody").await, StatusCode::OK);
    for (text, named) in [
        ("x: 'rule:y'", "y"),
        ("load-balancer:read: 'http://x'", "http"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = PolicyFile::open(PolicySet::default(), &path).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn without_authentication_nothing_is_refused() {
    let api = Api::start().await;
    let answer = As(&api, OWN, "reader")
        .create(json!({"vip_subnet_id": SUBNET_V4}))
        .await;
    assert_eq!(answer.body["loadbalancer"]["project_id"], OWN);
    let answer = As(&api, "", "")
        .create(json!({"vip_subnet_id": SUBNET_V4}))
        .await;
    assert_eq!(answer.body["loadbalancer"]["project_id"], Api::PROJECT);
    assert_eq!(api.count("loadbalancers").await, 2);
}
