//! Every parser against any JSON: no panic, and every refusal is a 400.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{
    fault::Fault,
    request::{
        HealthMonitorCreate, HealthMonitorUpdate, L7PolicyCreate, L7PolicyUpdate, L7RuleCreate,
        L7RuleUpdate, ListenerCreate, ListenerUpdate, LoadBalancerCreate, LoadBalancerUpdate,
        MemberBatch, MemberCreate, MemberUpdate, PoolCreate, PoolUpdate,
    },
    testing::{code, posted, uuid},
};

type Parse = fn(&Value) -> Result<(), Fault>;

/// Every parser with its root key.
const PARSERS: &[(&str, Parse)] = &[
    ("loadbalancer", |body| {
        LoadBalancerCreate::parse(body).map(drop)
    }),
    ("loadbalancer", |body| {
        LoadBalancerUpdate::parse(body).map(drop)
    }),
    ("listener", |body| ListenerCreate::parse(body).map(drop)),
    ("listener", |body| ListenerUpdate::parse(body).map(drop)),
    ("pool", |body| PoolCreate::parse(body).map(drop)),
    ("pool", |body| PoolUpdate::parse(body).map(drop)),
    ("member", |body| MemberCreate::parse(body).map(drop)),
    ("member", |body| MemberUpdate::parse(body).map(drop)),
    ("members", |body| MemberBatch::parse(body).map(drop)),
    ("healthmonitor", |body| {
        HealthMonitorCreate::parse(body).map(drop)
    }),
    ("healthmonitor", |body| {
        HealthMonitorUpdate::parse(body).map(drop)
    }),
    ("l7policy", |body| L7PolicyCreate::parse(body).map(drop)),
    ("l7policy", |body| L7PolicyUpdate::parse(body).map(drop)),
    ("rule", |body| L7RuleCreate::parse(body).map(drop)),
    ("rule", |body| L7RuleUpdate::parse(body).map(drop)),
];

/// Keys that parsers look for, so that generated bodies get past the first check.
const KEYS: &[&str] = &[
    "name",
    "tags",
    "admin_state_up",
    "protocol",
    "protocol_port",
    "loadbalancer_id",
    "listeners",
    "pools",
    "default_pool",
    "l7policies",
    "rules",
    "redirect_pool",
    "members",
    "healthmonitor",
    "vip_subnet_id",
    "additional_vips",
    "insert_headers",
    "allowed_cidrs",
    "session_persistence",
    "type",
    "compare_type",
    "value",
    "key",
    "http_version",
    "domain_name",
    "url_path",
    "address",
    "weight",
    "delay",
    "timeout",
    "max_retries",
    "action",
    "redirect_url",
    "position",
    "listener_id",
    "lb_algorithm",
    "expected_codes",
    "pool_id",
    "tls_versions",
    "vip_address",
    "persistence_granularity",
];

fn any_json() -> impl Strategy<Value = Value> {
    let id = uuid(5).to_string();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "HTTP",
            "TCP",
            "REJECT",
            "PATH",
            "REGEX",
            "ROUND_ROBIN",
            "192.0.2.1",
            "10.0.0.0/8",
            "1.1",
            "http://a/",
            "REDIRECT_TO_POOL",
            "EQUAL_TO"
        ])
        .prop_map(Value::from),
        Just(Value::from(id)),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let key = prop_oneof![
            3 => prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned),
            1 => ".{0,8}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..10)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_a_parser_panic_and_every_refusal_is_a_400(inner in any_json()) {
        for (root, parse) in PARSERS {
            for body in [inner.clone(), json!({ *root: inner })] {
                if let Err(fault) = parse(&body) {
                    prop_assert_eq!(code(&fault), 400);
                }
            }
        }
    }

    #[test]
    fn no_json_makes_a_tree_create_panic(listeners in any_json(), pools in any_json()) {
        for body in [json!({"listeners": [listeners.clone()]}), json!({"pools": [pools.clone()]}),
            json!({"listeners": listeners, "pools": pools})]
        {
            if let Err(fault) = posted(body) {
                prop_assert_ne!(code(&fault), 500);
            }
        }
    }
}

#[test]
fn every_parser_checks_its_envelope_and_refuses_unknown_keys() {
    for (root, parse) in PARSERS {
        for body in [
            json!({}),
            json!([]),
            json!({"wrong": {}}),
            json!({ *root: "x" }),
        ] {
            let fault = parse(&body).unwrap_err();
            assert_eq!(code(&fault), 400, "{root} {body}");
        }
        if *root == "members" {
            continue;
        }
        let full = json!({"nonsense": 1, "protocol": "HTTP", "protocol_port": 1,
            "loadbalancer_id": uuid(1), "lb_algorithm": "ROUND_ROBIN", "address": "192.0.2.1",
            "vip_subnet_id": uuid(1), "pool_id": uuid(1), "type": "TCP", "delay": 1, "timeout": 1,
            "max_retries": 1, "listener_id": uuid(1), "action": "REJECT"});
        assert!(parse(&json!({ *root: full })).is_err(), "{root}");
        if let Err(fault) = parse(&json!({ *root: {"nonsense": 1} })) {
            let text = fault.public();
            let named = text.contains("nonsense") || text.contains("Mandatory field missing");
            assert!(named, "{root}: {text}");
        } else {
            panic!("{root} takes unknown keys");
        }
    }
}
