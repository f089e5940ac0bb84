//! Whatever is sent: a documented answer, never a 500, and nothing changes unless it is a 2xx.

use std::{cell::RefCell, collections::BTreeMap};

use axum::http::{Method, StatusCode};
use lb_api::openapi::document;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::{
    openapi::operations,
    support::{Api, SUBNET_V4},
};

/// Requests tried. More by `PROPTEST_CASES`.
const CASES: u32 = 300;

/// What a request is made of; chosen from what the document and the world offer.
#[derive(Debug, Clone)]
struct Wish {
    operation: Index,
    /// Which ids the path gets.
    ids: Vec<Index>,
    body: Body,
    header: Option<(&'static str, String)>,
    query: Vec<(Index, Index)>,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    /// Fields of the operation's own schema with values from a pool.
    Fields(Vec<(Index, Index)>),
    Json(Value),
    Bytes(Vec<u8>),
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(
                "[a-z_]{1,12}|loadbalancer|listener|pool|members",
                inner,
                0..6
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn wishes() -> impl Strategy<Value = Wish> {
    let pairs = |max| prop::collection::vec((any::<Index>(), any::<Index>()), 0..max);
    let body = prop_oneof![
        1 => Just(Body::None),
        6 => pairs(8).prop_map(Body::Fields),
        2 => values().prop_map(Body::Json),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Body::Bytes),
        1 => (1..2000_usize).prop_map(|depth| Body::Bytes("[".repeat(depth).into_bytes())),
        1 => Just(Body::Bytes(br#"{"listener": {}, "listener": {}}"#.to_vec())),
    ];
    let header = prop::option::weighted(
        0.2,
        prop_oneof![
            Just("accept"),
            Just("content-type"),
            Just("x-project-id"),
            Just("last-event-id"),
            Just("origin"),
            Just("x-forwarded-host"),
        ]
        .prop_flat_map(|name| "[ -~]{0,24}".prop_map(move |value| (name, value))),
    );
    let ids = prop::collection::vec(any::<Index>(), 2);
    (any::<Index>(), ids, body, header, pairs(4)).prop_map(
        |(operation, ids, body, header, query)| Wish {
            operation,
            ids,
            body,
            header,
            query,
        },
    )
}

/// A server with one of everything.
struct World {
    api: Api,
    ids: Vec<String>,
    /// Writes that were done: without any the property would hold for nothing.
    written: u32,
}

impl World {
    async fn furnish(&mut self) {
        let api = &self.api;
        let lb = api.active_lb().await;
        let listener = api.listener(&lb, "HTTP", 80).await;
        let pool = api.pool_of_listener(&lb, &listener).await;
        let member = api.member(&lb, &pool, "203.0.113.50").await;
        let monitor = api.monitor(&lb, &pool).await;
        let policy = api.policy(&lb, &listener, json!({})).await;
        let list = api.get("/v2/octavia/amphorae").await;
        let amphora = list.body["amphorae"][0]["id"].as_str().unwrap().to_owned();
        self.ids = vec![lb, listener, pool, member, monitor, policy, amphora];
        self.ids.push("x%00y".to_owned());
        self.ids.push(Api::PORT_NOBODY.to_owned());
        self.ids.push("defaults".to_owned());
    }

    /// Everything that is stored.
    async fn content(&self) -> String {
        let store = &self.api.store;
        let ids: Vec<_> = store.generations().await.unwrap().into_keys().collect();
        let trees = store.read_trees(&ids).await.unwrap();
        let ports = store.port_page(None, 100_000).await.unwrap();
        let secrets = store.list_secrets(Api::PROJECT).await.unwrap();
        let quotas = self.api.get_v2("quotas").await.body;
        let flavors = self.api.get_v2("flavors").await.body;
        let profiles = self.api.get_v2("flavorprofiles").await.body;
        let zones = self.api.get_v2("availabilityzones").await.body;
        format!("{trees:?} {ports:?} {secrets:?} {quotas} {flavors} {profiles} {zones}")
    }

    fn path(&self, path: &str, wish: &Wish, fitting: bool) -> String {
        let mut ids = wish.ids.iter();
        let parts = path.split('/').map(|part| {
            if !part.starts_with('{') {
                return part.to_owned();
            }
            let own = [
                "loadbalancer",
                "listener",
                "pool",
                "member",
                "healthmonitor",
                "l7policy",
                "amphora",
            ]
            .iter()
            .position(|name| part[1..].starts_with(name));
            let any = ids.next().map_or(0, |index| index.index(self.ids.len()));
            self.ids[own.filter(|_| fitting).unwrap_or(any)].clone()
        });
        parts.collect::<Vec<_>>().join("/")
    }

    fn value(&self, schema: &Value, pick: Index) -> Value {
        let mut pool: Vec<Value> = self.ids.iter().map(|id| json!(id)).collect();
        pool.extend([
            json!(null),
            json!(true),
            json!("yes"),
            json!(0),
            json!(1),
            json!(-1),
            json!(80),
            json!("80"),
            json!(65_536),
            json!(9_007_199_254_740_993_i64),
            json!(1e300),
            json!(""),
            json!("x".repeat(300)),
            json!([]),
            json!(["a", "a"]),
            json!({}),
            json!({"type": "APP_COOKIE"}),
            json!("/a b"),
            json!("192.0.2.20"),
            json!("::1"),
            json!(SUBNET_V4),
            json!(["10.0.0.1/8"]),
            json!("{\"a\":1}"),
            json!("\u{202e}\u{1f600}"),
        ]);
        // The field's own values count twice: a request that is nearly right goes deepest.
        for _ in 0..8 {
            pool.extend(schema["enum"].as_array().into_iter().flatten().cloned());
        }
        pool[pick.index(pool.len())].clone()
    }

    fn body(&self, operation: &Value, wish: &Wish, document: &Value) -> Vec<u8> {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let resolve = |schema: &Value| match schema["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
            None => schema.clone(),
        };
        match &wish.body {
            Body::None => Vec::new(),
            Body::Json(value) => value.to_string().into_bytes(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Fields(_) if schema.is_null() => b"{}".to_vec(),
            Body::Fields(fields) => {
                let envelope = resolve(&json!({ "$ref": schema }));
                let properties = envelope["properties"]
                    .as_object()
                    .cloned()
                    .unwrap_or_default();
                let Some((root, inner)) = properties.into_iter().next() else {
                    return b"{}".to_vec();
                };
                let is_list = inner["type"] == "array";
                let inner = resolve(if is_list { &inner["items"] } else { &inner });
                let known = inner["properties"].as_object().cloned().unwrap_or_default();
                let mut object = BTreeMap::new();
                for key in inner["required"].as_array().into_iter().flatten() {
                    let key = key.as_str().unwrap();
                    object.insert(key.to_owned(), self.likely(key, &known[key]));
                }
                for (key, value) in fields {
                    let Some((key, schema)) = known.iter().nth(key.index(known.len().max(1)))
                    else {
                        continue;
                    };
                    object.insert(key.clone(), self.value(schema, *value));
                }
                let object = json!(object);
                let object = if is_list { json!([object]) } else { object };
                json!({ root: object }).to_string().into_bytes()
            }
        }
    }

    /// A value that is probably right.
    fn likely(&self, key: &str, schema: &Value) -> Value {
        if let Some(value) = schema["enum"].as_array().and_then(|values| values.first()) {
            return value.clone();
        }
        match key {
            "loadbalancer_id" => json!(self.ids[0]),
            "listener_id" => json!(self.ids[1]),
            "pool_id" => json!(self.ids[2]),
            "address" => json!("203.0.113.51"),
            "protocol_port" => json!(81),
            _ if schema["type"] == "integer" => json!(2),
            _ => json!("x"),
        }
    }
}

#[expect(clippy::await_holding_refcell_ref, reason = "the test is one task")]
#[expect(
    clippy::too_many_lines,
    reason = "one request, from its parts to its verdict"
)]
async fn try_one(
    world: &RefCell<World>,
    wish: &Wish,
    all: &[(Method, String, Value)],
    document: &Value,
) -> Result<(), TestCaseError> {
    let (verb, path, operation) = &all[wish.operation.index(all.len())];
    let (url, body) = {
        let world = world.borrow();
        let fitting = wish.ids[0].index(4) > 0;
        let mut url = world.path(path, wish, fitting);
        let known = operation["parameters"].as_array().unwrap();
        let mut mark = '?';
        for (name, value) in &wish.query {
            if known.is_empty() {
                break;
            }
            let name = known[name.index(known.len())]["name"].as_str().unwrap();
            let values = [
                "1",
                "-1",
                "x",
                "",
                "%00",
                "True",
                "name:desc",
                "%ff",
                "a,b",
                "0",
                "9999999999999999999999",
                "null",
            ];
            url.push(mark);
            url.push_str(&format!("{name}={}", values[value.index(values.len())]));
            mark = '&';
        }
        (url, world.body(operation, wish, document))
    };
    let mut headers = vec![("content-type", "application/json")];
    if let Some((name, value)) = &wish.header {
        headers.retain(|(known, _)| known != name);
        headers.push((name, value));
    }
    // One thread, and nothing else borrows it meanwhile.
    {
        let mut world = world.borrow_mut();
        let before = world.content().await;
        let answer = world
            .api
            .send_with(verb.clone(), &url, &headers, body.clone())
            .await;
        let said = format!(
            "{verb} {url} {}: {} {}",
            String::from_utf8_lossy(&body),
            answer.status,
            answer.body
        );
        prop_assert!(
            answer.status != StatusCode::INTERNAL_SERVER_ERROR,
            "{}",
            said
        );
        prop_assert!(
            operation["responses"][answer.status.as_str()].is_object(),
            "undocumented: {}",
            said
        );
        prop_assert!(
            answer.headers.contains_key("x-openstack-request-id"),
            "{}",
            said
        );
        if answer.status.is_success() {
            world.written += u32::from(*verb != Method::GET);
            let lbs: Vec<String> = world
                .api
                .generations()
                .await
                .keys()
                .map(ToString::to_string)
                .collect();
            for lb in lbs {
                world.api.settle(&lb).await;
            }
            if *verb == Method::DELETE {
                world.furnish().await;
            }
        } else {
            prop_assert_eq!(before, world.content().await, "changed by {}", said);
        }
    }
    Ok(())
}

#[test]
fn any_request_has_a_documented_answer_and_only_success_changes_anything() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(async {
        let mut world = World {
            api: Api::start().await,
            ids: Vec::new(),
            written: 0,
        };
        world.furnish().await;
        RefCell::new(world)
    });
    let (all, document) = (operations(), document());
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(CASES);
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&wishes(), |wish| {
            runtime.block_on(try_one(&world, &wish, &all, &document))
        })
        .unwrap();
    let written = world.borrow().written;
    assert!(written > cases / 50, "only {written} writes were done");
}
