//! Single-call create: names, references, and the single calls' rules.

use serde_json::{Value, json};

use crate::{
    enums::ProvisioningStatus as Status,
    testing::{CERTIFICATE, outcome, posted},
};

fn pool(name: &str) -> Value {
    json!({"name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"})
}

#[test]
fn a_whole_tree_comes_up_pending_with_every_reference_resolved() {
    let mut world = posted(json!({
        "name": "lb",
        "listeners": [
            {"name": "l1", "protocol": "HTTP", "protocol_port": 80,
                "default_pool": {"name": "p1", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                    "members": [{"address": "192.0.2.20", "protocol_port": 80}],
                    "healthmonitor": {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1}},
                "l7policies": [
                    {"action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "p2"},
                        "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}]},
                    {"action": "REJECT", "position": 1}]},
            {"name": "l2", "protocol": "TERMINATED_HTTPS", "protocol_port": 443,
                "default_tls_container_ref": CERTIFICATE, "default_pool": {"name": "p2"}},
        ],
        "pools": [pool("p2")],
    }))
    .unwrap();
    let tree = &world.tree;
    let names: Vec<_> = tree
        .pools
        .iter()
        .map(|pool| pool.common.name.as_str())
        .collect();
    assert_eq!(names, ["p2", "p1"], "hoisted");
    assert_eq!(tree.listeners[0].default_pool_id, Some(tree.pools[1].id));
    assert_eq!(tree.listeners[1].default_pool_id, Some(tree.pools[0].id));
    let policies = &tree.listeners[0].l7policies;
    assert_eq!(policies[1].redirect_pool_id, Some(tree.pools[0].id));
    assert_eq!(policies[1].rules.len(), 1);
    assert_eq!(tree.pools[1].members.len(), 1);
    assert!(tree.pools[1].health_monitor.is_some());
    assert_eq!(tree.load_balancer.generation, 1);
    for common in world.tree.commons_mut() {
        assert_eq!(common.provisioning_status, Status::PendingCreate);
        assert_eq!(common.updated_at, None);
    }
    world.settle();
    assert!(!world.tree.is_pending());
}

#[test]
fn names_and_references_are_checked() {
    let listener =
        |pool: Value| json!({"protocol": "HTTP", "protocol_port": 80, "default_pool": pool});
    let table: &[(Value, u16)] = &[
        (json!({"pools": [pool("a"), pool("b")]}), 200),
        (json!({"pools": [pool("a"), pool("a")]}), 400),
        (json!({"pools": [pool("")]}), 400),
        (
            json!({"pools": [{"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}]}),
            400,
        ),
        (json!({"pools": [{"name": "a"}]}), 400),
        (
            json!({"pools": [pool("a")], "listeners": [listener(pool("a"))]}),
            400,
        ),
        (json!({"listeners": [listener(json!({"name": "a"}))]}), 400),
        (
            json!({"listeners": [listener(json!({"name": "a", "admin_state_up": true}))],
            "pools": [pool("a")]}),
            200,
        ),
        (
            json!({"listeners": [listener(json!({"name": "a", "protocol": "HTTP"}))],
            "pools": [pool("a")]}),
            400,
        ),
        (json!({"listeners": [listener(json!({}))]}), 400),
        (json!({"listeners": [listener(json!([]))]}), 400),
        (json!({"listeners": {}}), 400),
        (json!({"listeners": null, "pools": null}), 200),
        (
            json!({"listeners": [{"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": "x"}]}),
            400,
        ),
        (
            json!({"pools": [crate::testing::merged(pool("a"), json!({"listener_id": "x"}))]}),
            400,
        ),
        (
            json!({"listeners": [{"protocol": "HTTP", "protocol_port": 80,
            "default_pool_id": "11111111-1111-1111-1111-111111111111"}]}),
            404,
        ),
    ];
    for (body, expected) in table {
        assert_eq!(outcome(&posted(body.clone())), *expected, "{body}");
    }
}

#[test]
fn every_single_call_rule_holds_in_a_tree_too() {
    let with = |fields: Value| json!({"pools": [crate::testing::merged(pool("a"), fields)]});
    let policy = |fields: Value| {
        json!({"listeners": [
        {"protocol": "HTTP", "protocol_port": 80, "l7policies": [fields]}]})
    };
    let rule = json!({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"});
    let listeners = |ports: [u16; 2]| json!({"listeners": ports.map(|port| json!({"protocol": "HTTP", "protocol_port": port}))});
    let member = json!({"address": "192.0.2.20", "protocol_port": 80});
    let table: &[(Value, u16)] = &[
        (
            with(json!({"session_persistence": {"type": "APP_COOKIE"}})),
            400,
        ),
        (
            with(json!({"session_persistence": {"type": "SOURCE_IP"}})),
            501,
        ),
        (
            with(json!({"members": [member.clone(), member.clone()]})),
            409,
        ),
        (
            with(json!({"members": [{"address": "127.0.0.1", "protocol_port": 80}]})),
            400,
        ),
        (
            with(
                json!({"members": [{"address": "192.0.2.20", "protocol_port": 80,
            "subnet_id": "11111111-1111-1111-1111-111111111111"}]}),
            ),
            400,
        ),
        (
            with(
                json!({"healthmonitor": {"type": "UDP-CONNECT", "delay": 9, "timeout": 1,
            "max_retries": 1}}),
            ),
            400,
        ),
        (
            with(
                json!({"healthmonitor": {"type": "PING", "delay": 9, "timeout": 1,
            "max_retries": 1}}),
            ),
            501,
        ),
        (
            with(
                json!({"healthmonitor": {"type": "TCP", "delay": 9, "timeout": 1, "max_retries": 1,
            "pool_id": "x"}}),
            ),
            400,
        ),
        (listeners([80, 81]), 200),
        (listeners([80, 80]), 409),
        (
            policy(json!({"action": "REJECT", "rules": vec![rule.clone(); 50]})),
            200,
        ),
        (
            policy(json!({"action": "REJECT", "rules": vec![rule.clone(); 51]})),
            409,
        ),
        (policy(json!({"action": "REDIRECT_TO_POOL"})), 400),
        (
            policy(
                json!({"action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "x",
            "protocol": "TCP", "lb_algorithm": "SOURCE_IP"}}),
            ),
            400,
        ),
        (
            json!({"listeners": [{"protocol": "TERMINATED_HTTPS", "protocol_port": 443,
            "default_tls_container_ref": "broken"}]}),
            400,
        ),
    ];
    for (body, expected) in table {
        assert_eq!(outcome(&posted(body.clone())), *expected, "{body}");
    }
}

#[test]
fn the_request_says_which_certificates_it_will_need() {
    let body = json!({"loadbalancer": {"vip_subnet_id": crate::testing::uuid(1), "listeners": [
        {"protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_tls_container_ref": "a",
            "sni_container_refs": ["b"], "client_ca_tls_container_ref": "c", "default_pool": {
                "name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                "tls_container_ref": "d", "ca_tls_container_ref": "e", "crl_container_ref": "f"}}]}});
    let request = crate::request::LoadBalancerCreate::parse(&body).unwrap();
    let refs = request.secret_refs();
    assert_eq!(
        refs.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a", "b", "d", "c", "e", "f"]
    );
    assert_eq!(
        (refs.authorities.len(), refs.revocation_lists.len()),
        (2, 1)
    );
}
