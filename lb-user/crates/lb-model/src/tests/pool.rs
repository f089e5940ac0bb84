//! Pools: where they hang, session persistence, who is touched by a change.

use serde_json::{Value, json};

use crate::{
    enums::ProvisioningStatus as Status,
    testing::{code, outcome, world},
};

#[test]
fn a_pool_needs_a_place() {
    let mut world = world();
    assert_eq!(
        outcome(&world.pool(json!({"loadbalancer_id": "<absent>"}))),
        400
    );
    let nowhere = "11111111-1111-1111-1111-111111111111";
    assert_eq!(
        outcome(&world.pool(json!({"loadbalancer_id": nowhere}))),
        404
    );
    assert_eq!(outcome(&world.pool(json!({"listener_id": nowhere}))), 404);
}

#[test]
fn a_pool_for_a_listener_becomes_its_default_pool_once() {
    let mut world = world();
    let listener = world.listener(json!({})).unwrap();
    world.settle();
    let pool = world
        .pool(json!({"listener_id": listener, "loadbalancer_id": "<absent>"}))
        .unwrap();
    let seen = world.tree.listener(listener).unwrap();
    assert_eq!(seen.default_pool_id, Some(pool));
    assert_eq!(seen.common.provisioning_status, Status::PendingUpdate);
    world.settle();
    assert_eq!(outcome(&world.pool(json!({"listener_id": listener}))), 409);
    assert_eq!(
        outcome(&world.pool(json!({"listener_id": listener, "protocol": "TCP"}))),
        400
    );
}

#[test]
fn field_rules() {
    let table: &[(Value, u16)] = &[
        (json!({}), 200),
        (json!({"protocol": "<absent>"}), 400),
        (json!({"lb_algorithm": "<absent>"}), 400),
        (json!({"lb_algorithm": null}), 400),
        (json!({"lb_algorithm": "round_robin"}), 400),
        (json!({"members": [{}]}), 400),
        (json!({"healthmonitor": {}}), 400),
        (json!({"session_persistence": {}}), 400),
        (json!({"session_persistence": null}), 200),
        (json!({"session_persistence": {"cookie_name": "x"}}), 400),
        (json!({"session_persistence": {"type": "APP_COOKIE"}}), 400),
        (
            json!({"session_persistence": {"type": "APP_COOKIE", "cookie_name": "a b"}}),
            400,
        ),
        (
            json!({"session_persistence": {"type": "APP_COOKIE", "cookie_name": ""}}),
            400,
        ),
        (
            json!({"session_persistence": {"type": "APP_COOKIE", "cookie_name": "a"}}),
            501,
        ),
        (
            json!({"session_persistence": {"type": "SOURCE_IP", "cookie_name": "a"}}),
            400,
        ),
        (
            json!({"session_persistence": {"type": "SOURCE_IP", "persistence_timeout": 3}}),
            400,
        ),
        (
            json!({"session_persistence": {"type": "SOURCE_IP", "persistence_granularity": "24"}}),
            400,
        ),
        (
            json!({"session_persistence": {"type": "SOURCE_IP", "nonsense": 1}}),
            400,
        ),
        (
            json!({"protocol": "UDP", "session_persistence": {"type": "HTTP_COOKIE"}}),
            400,
        ),
        (json!({"crl_container_ref": "x"}), 400),
        (json!({"tls_versions": []}), 200),
        (json!({"alpn_protocols": ["x"]}), 400),
        (json!({"tls_ciphers": "\n"}), 400),
    ];
    for (fields, expected) in table {
        assert_eq!(
            outcome(&world().pool(fields.clone())),
            *expected,
            "{fields}"
        );
    }
}

#[test]
fn a_pool_that_a_policy_redirects_to_cannot_be_deleted() {
    let mut world = world();
    let listener = world.listener(json!({})).unwrap();
    world.settle();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let policy = world
        .policy(
            listener,
            json!({"action": "REDIRECT_TO_POOL", "redirect_pool_id": pool}),
        )
        .unwrap();
    world.settle();
    let result = world.run(|tree, ctx| tree.delete_pool(pool, ctx));
    assert_eq!(outcome(&result), 409);
    world
        .run(|tree, ctx| tree.delete_l7policy(policy, ctx))
        .unwrap();
    world.settle();
    world.run(|tree, ctx| tree.delete_pool(pool, ctx)).unwrap();
    world.settle();
    assert!(world.tree.pools.is_empty());
}

#[test]
fn deleting_a_default_pool_detaches_it_when_it_is_gone() {
    let mut world = world();
    let listener = world.listener(json!({})).unwrap();
    world.settle();
    let pool = world.pool(json!({"listener_id": listener})).unwrap();
    world.settle();
    world.run(|tree, ctx| tree.delete_pool(pool, ctx)).unwrap();
    assert_eq!(
        world
            .tree
            .listener(listener)
            .unwrap()
            .common
            .provisioning_status,
        Status::PendingUpdate
    );
    world.settle();
    assert_eq!(world.tree.listener(listener).unwrap().default_pool_id, None);
}

#[test]
fn changing_a_pool_touches_every_listener_that_uses_it() {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let default = world.listener(json!({"default_pool_id": pool})).unwrap();
    world.settle();
    let by_policy = world.listener(json!({"protocol_port": 81})).unwrap();
    world.settle();
    let policy = world
        .policy(
            by_policy,
            json!({"action": "REDIRECT_TO_POOL", "redirect_pool_id": pool}),
        )
        .unwrap();
    world.settle();
    let other = world.listener(json!({"protocol_port": 82})).unwrap();
    world.settle();
    let pending = |world: &crate::testing::World, id| {
        world.tree.listener(id).unwrap().common.provisioning_status == Status::PendingUpdate
    };
    world.put_pool(pool, json!({"name": "x"})).unwrap();
    assert!(pending(&world, default) && !pending(&world, other));
    assert!(
        !pending(&world, by_policy),
        "a policy without rules uses no pool"
    );
    world.settle();
    world.rule(policy, json!({})).unwrap();
    world.settle();
    world.member(pool, json!({})).unwrap();
    assert!(pending(&world, default) && pending(&world, by_policy) && !pending(&world, other));
}

#[test]
fn null_at_put_resets_what_can_be_reset() {
    let mut world = world();
    let pool = world.pool(json!({"name": "n", "tags": ["a"]})).unwrap();
    world.settle();
    let fault = world
        .put_pool(pool, json!({"lb_algorithm": null}))
        .unwrap_err();
    assert_eq!(code(&fault), 400);
    let fault = world
        .put_pool(pool, json!({"protocol": "HTTP"}))
        .unwrap_err();
    assert_eq!(code(&fault), 400);
    world
        .put_pool(
            pool,
            json!({"name": null, "session_persistence": null, "tls_enabled": null,
            "admin_state_up": null, "tags": []}),
        )
        .unwrap();
    let pool = world.tree.pool(pool).unwrap();
    assert_eq!(pool.common.name, "");
    assert!(pool.common.tags.is_empty() && !pool.common.admin_state_up);
}
