//! Health monitors: field rules, null at PUT, what deleting one means for members.

use serde_json::{Value, json};

use crate::{
    enums::{OperatingStatus, ProvisioningStatus as Status},
    testing::{outcome, world},
};

#[test]
fn field_rules_at_create() {
    let table: &[(Value, u16)] = &[
        (json!({}), 200),
        (json!({"type": "TCP"}), 200),
        (json!({"type": "<absent>"}), 400),
        (json!({"delay": "<absent>"}), 400),
        (json!({"delay": null}), 400),
        (json!({"delay": 0, "timeout": 9}), 200),
        (json!({"max_retries": 0}), 400),
        (json!({"max_retries": 11}), 400),
        (json!({"max_retries_down": 11}), 400),
        (json!({"max_retries_down": null}), 200),
        (json!({"http_method": "get"}), 400),
        (json!({"http_method": "HEAD"}), 200),
        (json!({"type": "TCP", "http_method": "GET"}), 400),
        (json!({"type": "TCP", "url_path": null}), 200),
        (json!({"url_path": "x"}), 400),
        (json!({"expected_codes": "200,201-204"}), 400),
        (json!({"http_version": 1.1, "domain_name": "a.b"}), 200),
        (json!({"http_version": "1.1", "domain_name": "a.b"}), 200),
        (json!({"http_version": 1, "domain_name": "a.b"}), 400),
        (json!({"http_version": 2}), 400),
        (json!({"http_version": [1.1]}), 400),
        (json!({"domain_name": "a.b"}), 400),
        (json!({"http_version": 1.1, "domain_name": ""}), 400),
        (json!({"type": "UDP-CONNECT"}), 400),
        (json!({"type": "PING"}), 501),
        (json!({"type": "HTTPS"}), 501),
        (
            json!({"pool_id": "11111111-1111-1111-1111-111111111111"}),
            404,
        ),
    ];
    for (fields, expected) in table {
        let mut world = world();
        let pool = world.pool(json!({})).unwrap();
        world.settle();
        assert_eq!(
            outcome(&world.monitor(pool, fields.clone())),
            *expected,
            "{fields}"
        );
    }
}

#[test]
fn a_pool_has_one_monitor() {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    world.monitor(pool, json!({})).unwrap();
    world.settle();
    assert_eq!(outcome(&world.monitor(pool, json!({}))), 409);
    // The fields are judged before the duplicate is.
    assert_eq!(outcome(&world.monitor(pool, json!({"url_path": "x"}))), 400);
}

#[test]
fn null_at_put_resets_some_and_is_refused_for_others() {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let id = world
        .monitor(
            pool,
            json!({"http_method": "HEAD", "url_path": "/x", "expected_codes": "204",
            "max_retries_down": 9, "http_version": 1.1, "domain_name": "a.b"}),
        )
        .unwrap();
    world.settle();
    for field in ["delay", "timeout", "max_retries"] {
        assert_eq!(
            outcome(&world.put_monitor(id, json!({field: null}))),
            400,
            "{field}"
        );
    }
    assert_eq!(
        outcome(&world.put_monitor(id, json!({"http_version": 1.0}))),
        400,
        "domain_name"
    );
    assert_eq!(
        outcome(&world.put_monitor(id, json!({"http_version": null}))),
        200,
        "taken back, as Octavia allows"
    );
    world.settle();
    assert_eq!(
        outcome(&world.put_monitor(id, json!({"type": "TCP"}))),
        400,
        "immutable"
    );
    world
        .put_monitor(
            id,
            json!({"http_method": null, "url_path": null, "expected_codes": null,
            "max_retries_down": null, "http_version": null, "domain_name": null, "delay": 8}),
        )
        .unwrap();
    let (_, monitor) = world.tree.health_monitor(id).unwrap();
    assert_eq!(monitor.http_method.as_deref(), Some("GET"));
    assert_eq!(monitor.url_path.as_deref(), Some("/"));
    assert_eq!(monitor.expected_codes.as_deref(), Some("200"));
    assert_eq!((monitor.max_retries_down, monitor.delay), (3, 8));
    assert_eq!(
        (&monitor.http_version, &monitor.domain_name),
        (&None, &None)
    );
}

#[test]
fn http_fields_are_refused_at_put_for_other_types_even_as_null() {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let id = world.monitor(pool, json!({"type": "TCP"})).unwrap();
    world.settle();
    let (_, monitor) = world.tree.health_monitor(id).unwrap();
    assert_eq!((&monitor.http_method, &monitor.url_path), (&None, &None));
    assert_eq!(
        outcome(&world.put_monitor(id, json!({"url_path": null}))),
        400
    );
    assert_eq!(outcome(&world.put_monitor(id, json!({"delay": 9}))), 200);
}

#[test]
fn deleting_a_monitor_takes_the_verdicts_with_it() {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let member = world.member(pool, json!({})).unwrap();
    world.settle();
    let id = world.monitor(pool, json!({})).unwrap();
    let status = |world: &crate::testing::World| {
        world
            .tree
            .member(pool, member)
            .unwrap()
            .common
            .operating_status
    };
    assert_eq!(
        world.tree.pool(pool).unwrap().common.provisioning_status,
        Status::PendingUpdate
    );
    world.settle();
    let (_, monitor) = world.tree.health_monitor(id).unwrap();
    assert_eq!(monitor.common.operating_status, OperatingStatus::Online);
    world.tree.pools[0].members[0].common.operating_status = OperatingStatus::Error;
    world
        .run(|tree, ctx| tree.delete_health_monitor(id, ctx))
        .unwrap();
    assert_eq!(status(&world), OperatingStatus::Error);
    world.settle();
    assert_eq!(status(&world), OperatingStatus::NoMonitor);
    assert!(world.tree.health_monitor(id).is_err());
}
