//! How a change ends, applied or failed, and what that does to everything around it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    enums::{OperatingStatus, ProvisioningStatus as Status},
    testing::{World, posted, world},
    time::Timestamp,
    tree::Tree,
};

/// A whole tree at rest: listener with policy and rule, pool with member and monitor.
fn full() -> World {
    let mut world = posted(json!({
        "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "p"},
            "l7policies": [{"action": "REJECT",
                "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/x"}]}]}],
        "pools": [{"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": [{"address": "192.0.2.20", "protocol_port": 80}],
            "healthmonitor": {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}}],
    }))
    .unwrap();
    world.settle();
    world
}

fn statuses(world: &mut World) -> Vec<Status> {
    let commons = world.tree.commons_mut();
    commons
        .iter()
        .map(|common| common.provisioning_status)
        .collect()
}

#[test]
fn an_older_generation_settles_nothing() {
    let mut world = world();
    world.listener(json!({})).unwrap();
    let generation = world.tree.load_balancer.generation;
    let now = Timestamp(9);
    assert!(
        !world
            .tree
            .settle_applied(generation - 1, &BTreeSet::new(), now)
    );
    assert!(world.tree.is_pending());
    assert!(world.tree.settle_applied(generation, &BTreeSet::new(), now));
    assert!(!world.tree.is_pending());
}

#[test]
fn settling_twice_is_silent() {
    let mut world = full();
    let generation = world.tree.load_balancer.generation;
    let broken = [world.tree.listeners[0].id].into();
    assert!(world.tree.settle_applied(generation, &broken, Timestamp(9)));
    let before = world.tree.clone();
    assert!(
        !world
            .tree
            .settle_applied(generation, &broken, Timestamp(10))
    );
    assert_eq!(world.tree, before);
    assert!(
        !world.tree.settle_failed(Timestamp(11)),
        "nothing is pending"
    );
}

#[test]
fn monitors_policies_and_rules_show_their_switch() {
    let mut world = full();
    let policy = world.tree.listeners[0].l7policies[0].id;
    assert_eq!(
        world.tree.listeners[0].l7policies[0].rules[0]
            .common
            .operating_status,
        OperatingStatus::Online
    );
    world
        .put_policy(policy, json!({"admin_state_up": false}))
        .unwrap();
    world.settle();
    let policy = &world.tree.listeners[0].l7policies[0];
    assert_eq!(policy.common.operating_status, OperatingStatus::Offline);
    let monitor = world.tree.pools[0].health_monitor.as_ref().unwrap();
    assert_eq!(monitor.common.operating_status, OperatingStatus::Online);
}

#[test]
fn a_broken_listener_goes_to_error_and_comes_back_by_itself() {
    let mut world = full();
    let id = world.tree.listeners[0].id;
    let generation = world.tree.load_balancer.generation;
    world
        .tree
        .settle_applied(generation, &[id].into(), Timestamp(9));
    let common = &world.tree.listener(id).unwrap().common;
    assert_eq!(common.provisioning_status, Status::Error);
    assert_eq!(common.operating_status, OperatingStatus::Error);
    assert_eq!(
        world.tree.load_balancer.common.provisioning_status,
        Status::Active
    );
    // A change below it does not pretend to repair it.
    let pool = world.tree.pools[0].id;
    world.member(pool, json!({"protocol_port": 81})).unwrap();
    assert_eq!(
        world.tree.listener(id).unwrap().common.provisioning_status,
        Status::Error
    );
    world.settle();
    assert_eq!(
        world.tree.listener(id).unwrap().common.provisioning_status,
        Status::Active
    );
}

#[test]
fn a_failure_hits_what_was_asked_for_and_frees_the_rest() {
    type Change = fn(&mut World);
    // Places: load balancer, listener, policy, rule, pool, member, monitor, then what is new.
    const A: Status = Status::Active;
    const E: Status = Status::Error;
    let table: &[(&str, Change, &[Status])] = &[
        (
            "listener PUT",
            |w| {
                let id = w.tree.listeners[0].id;
                w.put_listener(id, json!({})).unwrap();
            },
            &[A, E, A, A, A, A, A],
        ),
        (
            "policy PUT",
            |w| {
                let id = w.tree.listeners[0].l7policies[0].id;
                w.put_policy(id, json!({"name": "x"})).unwrap();
            },
            &[A, A, E, A, A, A, A],
        ),
        (
            "rule PUT",
            |w| {
                let policy = &w.tree.listeners[0].l7policies[0];
                let (policy, rule) = (policy.id, policy.rules[0].id);
                w.put_rule(policy, rule, json!({})).unwrap();
            },
            &[A, A, A, E, A, A, A],
        ),
        (
            "pool PUT",
            |w| {
                let id = w.tree.pools[0].id;
                w.put_pool(id, json!({})).unwrap();
            },
            &[A, A, A, A, E, A, A],
        ),
        (
            "member PUT",
            |w| {
                let pool = &w.tree.pools[0];
                let (pool, member) = (pool.id, pool.members[0].id);
                w.put_member(pool, member, json!({})).unwrap();
            },
            &[A, A, A, A, A, E, A],
        ),
        (
            "monitor PUT",
            |w| {
                let id = w.tree.pools[0].health_monitor.as_ref().unwrap().id;
                w.put_monitor(id, json!({})).unwrap();
            },
            &[A, A, A, A, A, A, E],
        ),
        (
            "failover",
            |w| {
                w.run(Tree::failover_load_balancer).unwrap();
            },
            &[E, A, A, A, A, A, A],
        ),
    ];
    for (name, change, expected) in table {
        let mut world = full();
        change(&mut world);
        world.fail();
        assert_eq!(statuses(&mut world), *expected, "{name}");
        // What a host serves after all is not in ERROR.
        world.settle();
        assert!(
            statuses(&mut world).iter().all(|status| *status == A),
            "{name}"
        );
    }
}

#[test]
fn a_failed_create_leaves_the_load_balancer_in_error() {
    let mut world = posted(json!({})).unwrap();
    world.fail();
    assert_eq!(statuses(&mut world), [Status::Error]);
}

#[test]
fn a_failed_deletion_is_taken_back_as_a_new_generation() {
    let mut world = full();
    let id = world.tree.listeners[0].id;
    world
        .run(|tree, ctx| tree.delete_listener(id, ctx))
        .unwrap();
    let generation = world.tree.load_balancer.generation;
    world.fail();
    assert_eq!(
        world.tree.listener(id).unwrap().common.provisioning_status,
        Status::Error
    );
    assert_eq!(
        world.tree.load_balancer.common.provisioning_status,
        Status::Active
    );
    assert_eq!(world.tree.load_balancer.generation, generation + 1);
}

#[test]
fn after_any_settling_nothing_is_pending() {
    for fail in [false, true] {
        let mut world = full();
        let pool = world.tree.pools[0].id;
        world
            .batch(
                pool,
                json!([{"address": "192.0.2.21", "protocol_port": 1}]),
                false,
            )
            .unwrap();
        if fail {
            world.fail();
        } else {
            world.settle();
        }
        assert!(
            statuses(&mut world)
                .iter()
                .all(|status| !status.is_pending())
        );
    }
}

#[test]
fn a_load_balancer_that_could_not_be_deleted_is_in_error_and_its_children_are_not() {
    let mut world = full();
    world
        .run(|tree, ctx| tree.delete_load_balancer(true, ctx))
        .unwrap();
    world.fail();
    let statuses = statuses(&mut world);
    assert_eq!(statuses[0], Status::Error);
    assert!(statuses[1..].iter().all(|status| *status == Status::Active));
}
