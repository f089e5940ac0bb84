//! Callers as a real Keystone tells them.

use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use lb_api::AuthStrategy;
use lb_openstack::{Identity, Interface, Keystone, KeystoneConfig, SecretText};
use lb_testkit::keystone::{Keystone as RealKeystone, PASSWORD, SERVICE_USER};
use serde_json::{Value, json};

use crate::support::{Answer, Api, SUBNET_V4};

const LIST: &str = "/v2/lbaas/loadbalancers";

fn real() -> &'static RealKeystone {
    RealKeystone::shared().unwrap()
}

fn config(url: &str, password: &str) -> KeystoneConfig {
    let mut config = KeystoneConfig::new(
        url,
        Identity::Password {
            username: SERVICE_USER.to_owned(),
            password: SecretText::new(password),
            user_domain_name: "Default".to_owned(),
            project_name: "service".to_owned(),
            project_domain_name: "Default".to_owned(),
        },
    );
    config.interface = Interface::Public;
    // A busy machine is no Keystone that is away.
    config.timeout = Duration::from_secs(90);
    config
}

/// A client that asks about every token every time.
fn client(cache: Duration) -> Keystone {
    let mut config = config(real().url(), PASSWORD);
    config.token_cache = cache;
    Keystone::new(&config).unwrap()
}

async fn start(keystone: Keystone) -> Api {
    Api::start_with(|config| {
        config.auth_strategy = AuthStrategy::Keystone;
        config.keystone = Some(keystone);
        config.www_authenticate_uri = "http://keystone.example:5000".to_owned();
    })
    .await
}

async fn send(api: &Api, token: &str, verb: Method, path: &str, body: Option<Value>) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("x-auth-token", token),
    ];
    let body = body.map(|body| body.to_string().into_bytes());
    api.send_with(verb, path, &headers, body.unwrap_or_default())
        .await
}

async fn status(api: &Api, token: &str, path: &str) -> StatusCode {
    send(api, token, Method::GET, path, None).await.status
}

async fn create(api: &Api, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut body = json!({"vip_subnet_id": SUBNET_V4});
    for (key, value) in more {
        body[*key] = json!(value);
    }
    let body = json!({"loadbalancer": body});
    send(api, token, Method::POST, LIST, Some(body)).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn tokens_carry_project_and_roles() {
    let api = start(client(Duration::from_secs(60))).await;
    let red = real().project("red").unwrap();
    let member = real().token("member", "red").unwrap();
    let made = create(&api, &member, &[]).await;
    assert_eq!(
        made.body["loadbalancer"]["project_id"], red,
        "{}",
        made.body
    );
    let one = format!("{LIST}/{}", made.id("loadbalancer"));

    for (role, project, show, list, create_status) in [
        (
            "member",
            "red",
            StatusCode::OK,
            StatusCode::OK,
            StatusCode::CREATED,
        ),
        (
            "reader",
            "red",
            StatusCode::OK,
            StatusCode::OK,
            StatusCode::FORBIDDEN,
        ),
        (
            "member",
            "blue",
            StatusCode::FORBIDDEN,
            StatusCode::OK,
            StatusCode::CREATED,
        ),
        (
            "reader",
            "blue",
            StatusCode::FORBIDDEN,
            StatusCode::OK,
            StatusCode::FORBIDDEN,
        ),
        (
            "service",
            "red",
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
        ),
        (
            "load-balancer_member",
            "red",
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
        ),
        (
            "nothing",
            "red",
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
        ),
    ] {
        let token = real().token(role, project).unwrap();
        let seen = (
            status(&api, &token, &one).await,
            status(&api, &token, LIST).await,
            create(&api, &token, &[]).await.status,
        );
        assert_eq!(seen, (show, list, create_status), "{role} of {project}");
    }
    let admin = real().admin_token().unwrap();
    assert_eq!(status(&api, &admin, &one).await, StatusCode::OK);
    assert_eq!(
        status(&api, &admin, "/v2/octavia/amphorae").await,
        StatusCode::OK
    );
    let given = create(&api, &admin, &[("project_id", red)]).await;
    assert_eq!(given.body["loadbalancer"]["project_id"], red);
    // A header is nobody's word here.
    let headers = [
        ("x-auth-token", member.as_str()),
        ("x-roles", "admin"),
        ("x-project-id", "x"),
    ];
    let amphorae = api
        .send_with(Method::GET, "/v2/octavia/amphorae", &headers, Vec::new())
        .await;
    assert_eq!(amphorae.status, StatusCode::FORBIDDEN);
    // Of no project, and of the whole deployment.
    let unscoped = real().login("member-red", None).unwrap();
    assert_eq!(status(&api, &unscoped, LIST).await, StatusCode::FORBIDDEN);
    let system = real().system_token().unwrap();
    assert_eq!(status(&api, &system, &one).await, StatusCode::OK);
}

#[tokio::test]
async fn without_a_valid_token_not_even_urls_are_told() {
    let api = start(client(Duration::from_secs(60))).await;
    let long = "x".repeat(20_000);
    let fernet = format!("gAAAAABrAyVY{}", "A".repeat(160));
    for token in ["", "no-token", "tökén", long.as_str(), fernet.as_str()] {
        for path in [
            LIST,
            "/v2",
            "/v2.0/",
            "/v2/lbaas/nothing",
            "/nowhere",
            "/v1/secrets",
        ] {
            let answer = send(&api, token, Method::GET, path, None).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(
                answer.headers[header::WWW_AUTHENTICATE],
                "Keystone uri=\"http://keystone.example:5000\""
            );
            assert_eq!(
                answer.body,
                json!({"error": {"code": 401, "title": "Unauthorized",
                    "message": "The request you have made requires authentication."}})
            );
            assert!(answer.headers.contains_key("x-openstack-request-id"));
        }
    }
    let bare = api.get(LIST).await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
    for open in [
        "/",
        "/load-balancer/",
        "/healthcheck",
        "/load-balancer/healthcheck",
    ] {
        let answer = api.get(open).await;
        assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{open}");
        assert!(!answer.status.is_server_error(), "{open}");
    }
    assert!(api.generations().await.is_empty());
}

#[tokio::test]
async fn a_token_that_was_taken_back_or_has_ended_is_none() {
    let api = start(client(Duration::ZERO)).await;
    let token = real().token("reader", "red").unwrap();
    assert_eq!(status(&api, &token, LIST).await, StatusCode::OK);
    real().revoke(&token).unwrap();
    assert_eq!(status(&api, &token, LIST).await, StatusCode::UNAUTHORIZED);

    // With a cache it is believed a little longer, and not a moment beyond its end.
    let remembering = start(client(Duration::from_secs(3600))).await;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(15);
    let more = json!({"expires_at": end.strftime("%Y-%m-%dT%H:%M:%S.000000").to_string()});
    let (id, secret) = real()
        .application_credential("reader", "red", &more)
        .unwrap();
    let token = real().login_by_credential(&id, &secret).unwrap();
    assert_eq!(status(&remembering, &token, LIST).await, StatusCode::OK);
    let ended = tokio::time::timeout(Duration::from_secs(90), async {
        while status(&remembering, &token, LIST).await == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    ended.await.unwrap();
    assert!(jiff::Timestamp::now() >= end - jiff::SignedDuration::from_secs(1));
    assert_eq!(
        status(&remembering, &token, LIST).await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn application_credentials_are_callers_and_their_rules_hold() {
    let api = start(client(Duration::from_secs(60))).await;
    let (id, secret) = real()
        .application_credential("member", "red", &json!({}))
        .unwrap();
    let token = real().login_by_credential(&id, &secret).unwrap();
    let made = create(&api, &token, &[]).await;
    assert_eq!(
        made.body["loadbalancer"]["project_id"],
        real().project("red").unwrap()
    );
    let rules = json!({"access_rules": [
        {"service": "load-balancer", "method": "GET", "path": "/v2/lbaas/loadbalancers/*"},
        {"service": "load-balancer", "method": "GET", "path": "/v2.0/**"},
        {"service": "compute", "method": "POST", "path": "/**"},
    ]});
    let (id, secret) = real()
        .application_credential("member", "red", &rules)
        .unwrap();
    let token = real().login_by_credential(&id, &secret).unwrap();
    let one = format!("{LIST}/{}", made.id("loadbalancer"));
    assert_eq!(status(&api, &token, &one).await, StatusCode::OK);
    assert_eq!(
        status(&api, &token, "/v2.0/lbaas/pools").await,
        StatusCode::OK
    );
    assert_eq!(status(&api, &token, LIST).await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        create(&api, &token, &[]).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_service_user_logs_in_again_when_its_token_is_refused() {
    let keystone = client(Duration::ZERO);
    let first = keystone.login().await.unwrap();
    let token = real().token("reader", "red").unwrap();
    keystone.validate(&token).await.unwrap();
    real().revoke(first.token().expose()).unwrap();
    let known = keystone.validate(&token).await.unwrap();
    assert_eq!(known.user_id, real().user("reader-red").unwrap());
    let second = keystone.login().await.unwrap();
    assert_ne!(first.token(), second.token());
    let endpoint = keystone.endpoint("load-balancer").await.unwrap();
    assert_eq!(endpoint, "http://127.0.0.1:9876");
    let absent = keystone.endpoint("key-manager").await.unwrap_err();
    assert!(absent.to_string().contains("key-manager"), "{absent}");
    assert!(!format!("{second:?}{keystone:?}").contains(second.token().expose()));
    assert!(!format!("{keystone:?}").contains(PASSWORD));
}

#[tokio::test]
async fn a_keystone_that_cannot_be_asked_is_503_and_known_tokens_go_on() {
    let own = RealKeystone::start(None).unwrap();
    let (known, unknown) = (
        own.token("reader", "red").unwrap(),
        own.token("reader", "blue").unwrap(),
    );
    let api = start(Keystone::new(&config(own.url(), PASSWORD)).unwrap()).await;
    assert_eq!(status(&api, &known, LIST).await, StatusCode::OK);
    own.stop().unwrap();
    assert_eq!(status(&api, &known, LIST).await, StatusCode::OK);
    for token in [unknown.as_str(), "nonsense"] {
        let answer = send(&api, token, Method::GET, LIST, None).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body["error"]["code"], 503);
    }
    assert_eq!(api.get(LIST).await.status, StatusCode::UNAUTHORIZED);
    // Nor does a wrong password of ours make callers' tokens wrong.
    let api = start(Keystone::new(&config(real().url(), "wrong")).unwrap()).await;
    let token = real().token("reader", "red").unwrap();
    assert_eq!(
        status(&api, &token, LIST).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}
