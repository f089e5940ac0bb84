//! The table of fields in `docs/api-coverage.md` against what is read and shown.

use serde_json::{Value, json};

use crate::{
    fault::Fault,
    render,
    request::{
        HealthMonitorCreate, HealthMonitorUpdate, L7PolicyCreate, L7PolicyUpdate, L7RuleCreate,
        L7RuleUpdate, ListenerCreate, ListenerUpdate, LoadBalancerCreate, LoadBalancerUpdate,
        MemberCreate, MemberUpdate, PoolCreate, PoolUpdate,
    },
    testing::{uuid, world},
};

const TABLE: &str = include_str!("../../../../../docs/api-coverage.md");

/// A row: resource, field, and whether POST, PUT and answers have it.
fn rows() -> Vec<(&'static str, &'static str, [bool; 3])> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| "));
    lines
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, resource, field, post, put, answer, state, _] = cells.as_slice() else {
                return None;
            };
            assert!(!state.is_empty(), "{line}");
            Some((
                *resource,
                *field,
                [*post == "yes", *put == "yes", *answer == "yes"],
            ))
        })
        .filter(|(resource, ..)| *resource != "Resource" && !resource.starts_with('-'))
        .collect()
}

/// Whether a request that names a field fails because nobody knows the field.
fn is_unknown<T>(parsed: Result<T, Fault>) -> bool {
    matches!(parsed, Err(fault) if fault.to_string().contains("Unknown attribute"))
}

fn takes(resource: &str, field: &str, put: bool) -> bool {
    // Complete, so that what is unknown is all that can be wrong with it at POST.
    let mut body = match (put, resource) {
        (true, _) => json!({}),
        (false, "loadbalancer") => json!({"vip_subnet_id": uuid(1)}),
        (false, "listener") => {
            json!({"loadbalancer_id": uuid(1), "protocol": "HTTP", "protocol_port": 80})
        }
        (false, "pool") => {
            json!({"loadbalancer_id": uuid(1), "protocol": "HTTP", "lb_algorithm": "SOURCE_IP"})
        }
        (false, "member") => json!({"address": "192.0.2.1", "protocol_port": 80}),
        (false, "healthmonitor") => json!({"pool_id": uuid(1), "type": "TCP", "delay": 1,
            "timeout": 1, "max_retries": 1}),
        (false, "l7policy") => json!({"listener_id": uuid(1), "action": "REJECT"}),
        (false, _) => json!({"type": "PATH", "compare_type": "REGEX", "value": "x"}),
    };
    if body.get(field).is_none() {
        body[field] = Value::Null;
    }
    let body = json!({ resource: body });
    !match (resource, put) {
        ("loadbalancer", false) => is_unknown(LoadBalancerCreate::parse(&body)),
        ("loadbalancer", true) => is_unknown(LoadBalancerUpdate::parse(&body)),
        ("listener", false) => is_unknown(ListenerCreate::parse(&body)),
        ("listener", true) => is_unknown(ListenerUpdate::parse(&body)),
        ("pool", false) => is_unknown(PoolCreate::parse(&body)),
        ("pool", true) => is_unknown(PoolUpdate::parse(&body)),
        ("member", false) => is_unknown(MemberCreate::parse(&body)),
        ("member", true) => is_unknown(MemberUpdate::parse(&body)),
        ("healthmonitor", false) => is_unknown(HealthMonitorCreate::parse(&body)),
        ("healthmonitor", true) => is_unknown(HealthMonitorUpdate::parse(&body)),
        ("l7policy", false) => is_unknown(L7PolicyCreate::parse(&body)),
        ("l7policy", true) => is_unknown(L7PolicyUpdate::parse(&body)),
        ("rule", false) => is_unknown(L7RuleCreate::parse(&body)),
        ("rule", true) => is_unknown(L7RuleUpdate::parse(&body)),
        (other, _) => panic!("no resource {other}"),
    }
}

/// One of everything, as it is shown.
fn shown() -> Vec<(&'static str, Value)> {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let listener = world.listener(json!({"default_pool_id": pool})).unwrap();
    world.settle();
    world.monitor(pool, json!({})).unwrap();
    world.settle();
    world.member(pool, json!({})).unwrap();
    world.settle();
    let policy = world.policy(listener, json!({})).unwrap();
    world.settle();
    world.rule(policy, json!({})).unwrap();
    let tree = &world.tree;
    let pool = tree.pool(pool).unwrap();
    let (listener, policy) = tree.l7policy(policy).unwrap();
    let monitor = pool.health_monitor.as_ref().unwrap();
    vec![
        ("loadbalancer", render::load_balancer(tree)),
        ("listener", render::listener(tree, listener)),
        ("pool", render::pool(tree, pool)),
        ("member", render::member(tree, &pool.members[0])),
        ("healthmonitor", render::health_monitor(tree, pool, monitor)),
        ("l7policy", render::l7policy(tree, listener, policy)),
        ("rule", render::l7rule(tree, &policy.rules[0])),
    ]
}

#[test]
fn the_table_of_fields_says_what_the_code_does() {
    let rows = rows();
    assert!(rows.len() > 150, "only {} rows", rows.len());
    let shown = shown();
    for (resource, field, [post, put, answer]) in &rows {
        assert_eq!(
            takes(resource, field, false),
            *post,
            "POST {resource} {field}"
        );
        assert_eq!(takes(resource, field, true), *put, "PUT {resource} {field}");
        let (_, value) = shown.iter().find(|(name, _)| name == resource).unwrap();
        assert_eq!(
            value.get(*field).is_some(),
            *answer,
            "answer {resource} {field}"
        );
    }
    for (resource, value) in &shown {
        for field in value.as_object().unwrap().keys() {
            let row = rows.iter().any(|(r, f, _)| r == resource && f == field);
            assert!(row, "no row for {resource} {field}");
        }
    }
}
