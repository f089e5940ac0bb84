//! Members one by one and in batches.

use serde_json::{Value, json};

use crate::{
    enums::{OperatingStatus, ProvisioningStatus as Status},
    id::PoolId,
    limits,
    testing::{SUBNET_V4, SUBNET_V6, World, code, outcome, uuid, world},
};

fn with_pool() -> (World, PoolId) {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    (world, pool)
}

/// Ports and states of the pool's members, for batches.
fn members(world: &World, pool: PoolId) -> Vec<(u16, Status)> {
    let members = &world.tree.pool(pool).unwrap().members;
    members
        .iter()
        .map(|member| (member.protocol_port, member.common.provisioning_status))
        .collect()
}

#[test]
fn field_rules() {
    let table: &[(Value, u16)] = &[
        (json!({}), 200),
        (json!({"address": "<absent>"}), 400),
        (json!({"address": "example.com"}), 400),
        (json!({"address": "127.0.0.1"}), 400),
        (json!({"address": "169.254.169.254"}), 400),
        (json!({"address": "203.0.113.1"}), 400),
        (json!({"address": "192.0.2.200"}), 400),
        (json!({"monitor_address": "::ffff:203.0.113.1"}), 400),
        (json!({"monitor_address": "192.0.2.30"}), 200),
        (json!({"monitor_port": 0}), 400),
        (json!({"protocol_port": 0}), 400),
        (json!({"weight": 0}), 200),
        (json!({"weight": 256}), 200),
        (json!({"weight": 257}), 400),
        (json!({"weight": null}), 200),
        (json!({"subnet_id": uuid(SUBNET_V4)}), 200),
        (json!({"subnet_id": uuid(SUBNET_V6)}), 400),
        (json!({"subnet_id": uuid(0x77)}), 400),
        (json!({"request_sriov": true}), 400),
        (json!({"description": "x"}), 400),
        (
            json!({"address": "2001:db8::5", "subnet_id": uuid(SUBNET_V6)}),
            200,
        ),
        (json!({"address": "2001:db8::5"}), 501),
    ];
    for (fields, expected) in table {
        let (mut world, pool) = with_pool();
        assert_eq!(
            outcome(&world.member(pool, fields.clone())),
            *expected,
            "{fields}"
        );
    }
}

#[test]
fn address_and_port_are_unique_in_a_pool() {
    let (mut world, pool) = with_pool();
    world.member(pool, json!({})).unwrap();
    world.settle();
    assert_eq!(outcome(&world.member(pool, json!({}))), 409);
    assert_eq!(
        outcome(&world.member(pool, json!({"protocol_port": 81}))),
        200
    );
}

#[test]
fn a_member_begins_without_a_verdict() {
    let (mut world, pool) = with_pool();
    let first = world.member(pool, json!({})).unwrap();
    world.settle();
    world.monitor(pool, json!({})).unwrap();
    world.settle();
    let second = world.member(pool, json!({"protocol_port": 81})).unwrap();
    let status = |id| world.tree.member(pool, id).unwrap().common.operating_status;
    assert_eq!(status(first), OperatingStatus::NoMonitor);
    assert_eq!(status(second), OperatingStatus::Offline);
}

#[test]
fn a_pool_that_is_not_at_rest_is_named_in_the_fault() {
    let (mut world, pool) = with_pool();
    world.member(pool, json!({})).unwrap();
    let fault = world
        .member(pool, json!({"protocol_port": 81}))
        .unwrap_err();
    assert!(fault.public().starts_with("Pool "), "{}", fault.public());
    world.settle();
    world.listener(json!({})).unwrap();
    let fault = world
        .member(pool, json!({"protocol_port": 81}))
        .unwrap_err();
    assert!(
        fault.public().starts_with("Load Balancer "),
        "{}",
        fault.public()
    );
    assert_eq!(code(&fault), 409);
}

#[test]
fn null_at_put_resets_to_the_defaults() {
    let (mut world, pool) = with_pool();
    let id = world
        .member(
            pool,
            json!({"name": "n", "weight": 7, "monitor_port": 9, "monitor_address": "192.0.2.9"}),
        )
        .unwrap();
    world.settle();
    world
        .put_member(
            pool,
            id,
            json!({"name": null, "weight": null, "backup": null,
            "monitor_port": null, "monitor_address": null, "admin_state_up": null}),
        )
        .unwrap();
    let member = world.tree.member(pool, id).unwrap();
    assert_eq!((member.weight, member.backup), (1, false));
    assert_eq!(
        (member.monitor_port, member.monitor_address.as_ref()),
        (None, None)
    );
    assert!(member.common.name.is_empty() && !member.common.admin_state_up);
    world.settle();
    assert_eq!(
        outcome(&world.put_member(pool, id, json!({"address": "192.0.2.1"}))),
        400
    );
    assert_eq!(
        outcome(&world.put_member(pool, id, json!({"monitor_address": "127.0.0.1"}))),
        400
    );
}

#[test]
fn a_batch_creates_updates_and_deletes_in_one_step() {
    let (mut world, pool) = with_pool();
    let kept = world
        .member(
            pool,
            json!({"name": "kept", "weight": 9, "tags": ["t"], "monitor_port": 5,
            "subnet_id": uuid(SUBNET_V4)}),
        )
        .unwrap();
    world.settle();
    world.member(pool, json!({"protocol_port": 81})).unwrap();
    world.settle();
    let list = json!([
        {"address": "192.0.2.20", "protocol_port": 80},
        {"address": "192.0.2.20", "protocol_port": 82, "weight": 3},
    ]);
    world.batch(pool, list, false).unwrap();
    assert_eq!(
        members(&world, pool),
        [
            (80, Status::PendingUpdate),
            (81, Status::PendingDelete),
            (82, Status::PendingCreate)
        ]
    );
    let member = world.tree.member(pool, kept).unwrap();
    assert_eq!(
        (member.weight, member.monitor_port),
        (1, None),
        "defaults are written"
    );
    assert_eq!(member.common.name, "kept");
    assert_eq!(member.common.tags, ["t"]);
    assert!(member.subnet_id.is_some(), "what has no default stays");
    world.settle();
    assert_eq!(
        members(&world, pool),
        [(80, Status::Active), (82, Status::Active)]
    );
}

#[test]
fn an_additive_batch_leaves_the_others_alone() {
    let (mut world, pool) = with_pool();
    world.member(pool, json!({})).unwrap();
    world.settle();
    let list = json!([{"address": "192.0.2.20", "protocol_port": 81}]);
    world.batch(pool, list, true).unwrap();
    assert_eq!(
        members(&world, pool),
        [(80, Status::Active), (81, Status::PendingCreate)]
    );
}

#[test]
fn an_empty_batch_on_an_empty_pool_changes_nothing() {
    let (mut world, pool) = with_pool();
    let before = world.tree.clone();
    world.batch(pool, json!([]), false).unwrap();
    assert_eq!(world.tree, before);
    world.member(pool, json!({})).unwrap();
    world.settle();
    world.batch(pool, json!([]), true).unwrap();
    assert_eq!(members(&world, pool), [(80, Status::Active)]);
    world.batch(pool, json!([]), false).unwrap();
    assert_eq!(members(&world, pool), [(80, Status::PendingDelete)]);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let (mut world, pool) = with_pool();
    world.member(pool, json!({})).unwrap();
    world.settle();
    let before = world.tree.clone();
    let item = |port: u16| json!({"address": "192.0.2.20", "protocol_port": port});
    let twice = |port| json!([item(port), item(port)]);
    assert_eq!(
        outcome(&world.batch(pool, twice(80), false)),
        400,
        "existing twice"
    );
    assert_eq!(
        outcome(&world.batch(pool, twice(81), false)),
        409,
        "new twice"
    );
    let bad = json!([item(81), {"address": "127.0.0.1", "protocol_port": 1}]);
    assert_eq!(outcome(&world.batch(pool, bad, false)), 400);
    let unserved = json!([item(81), {"address": "192.0.2.21", "protocol_port": 1, "backup": true}]);
    assert_eq!(outcome(&world.batch(pool, unserved, false)), 501);
    assert_eq!(outcome(&world.batch(pool, json!({}), false)), 400);
    assert_eq!(world.tree, before);
}

#[test]
fn members_have_a_limit_that_a_batch_counts_net() {
    let (mut world, pool) = with_pool();
    let list = |from: usize| -> Value {
        (from..from + limits::MEMBERS_MAX)
            .map(|port| json!({"address": "192.0.2.20", "protocol_port": port}))
            .collect()
    };
    world.batch(pool, list(1), false).unwrap();
    world.settle();
    let more = json!({"protocol_port": 65_535});
    assert_eq!(outcome(&world.member(pool, more)), 403);
    let one = json!([{"address": "192.0.2.20", "protocol_port": 65_535}]);
    assert_eq!(outcome(&world.batch(pool, one, true)), 403);
    assert_eq!(outcome(&world.batch(pool, list(2), false)), 200);
}

#[test]
fn deleting_a_member_waits_for_the_hosts() {
    let (mut world, pool) = with_pool();
    let id = world.member(pool, json!({})).unwrap();
    world.settle();
    world
        .run(|tree, ctx| tree.delete_member(pool, id, ctx))
        .unwrap();
    assert_eq!(members(&world, pool), [(80, Status::PendingDelete)]);
    world.settle();
    assert!(members(&world, pool).is_empty());
    let result = world.run(|tree, ctx| tree.delete_member(pool, id, ctx));
    assert_eq!(outcome(&result), 404);
}
