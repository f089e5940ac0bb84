//! The load balancer's own verbs, and the envelope of its bodies.

use serde_json::{Value, json};

use crate::{
    enums::{OperatingStatus, ProvisioningStatus as Status},
    request::{LoadBalancerCreate, LoadBalancerUpdate},
    testing::{SUBNET_V4, World, code, outcome, posted, uuid, world},
    tree::Tree,
};

fn put(world: &mut World, fields: &Value) -> u16 {
    let request = LoadBalancerUpdate::parse(&json!({ "loadbalancer": fields }));
    outcome(
        &request.and_then(|request| world.run(|tree, ctx| tree.update_load_balancer(request, ctx))),
    )
}

fn status(world: &World) -> Status {
    world.tree.load_balancer.common.provisioning_status
}

#[test]
fn a_new_load_balancer_is_pending_and_offline() {
    let world = posted(json!({"name": "n"})).unwrap();
    let root = &world.tree.load_balancer;
    assert_eq!(root.common.provisioning_status, Status::PendingCreate);
    assert_eq!(root.common.operating_status, OperatingStatus::Offline);
    assert_eq!((root.common.updated_at, root.generation), (None, 1));
    assert_eq!(root.provider, "amphora");
}

#[test]
fn field_rules_at_create() {
    let id = uuid(7);
    let table: &[(Value, u16)] = &[
        (json!({"vip_subnet_id": null}), 400),
        (
            json!({"vip_subnet_id": null, "vip_address": "192.0.2.9"}),
            400,
        ),
        (
            json!({"vip_subnet_id": uuid(SUBNET_V4).simple().to_string()}),
            200,
        ),
        (json!({"vip_subnet_id": format!("{{{id}}}")}), 400),
        (json!({"vip_address": "x"}), 400),
        (json!({"additional_vips": [{}]}), 400),
        (
            json!({"additional_vips": [{"subnet_id": uuid(SUBNET_V4)}]}),
            400,
        ),
        (
            json!({"additional_vips": [{"subnet_id": id}, {"subnet_id": id}]}),
            400,
        ),
        (
            json!({"additional_vips": [{"subnet_id": id, "nonsense": 1}]}),
            400,
        ),
        (json!({"provider": "octavia"}), 200),
        (json!({"provider": "ovn"}), 400),
        (json!({"provider": null}), 200),
        (json!({"flavor_id": "x"}), 400),
        (json!({"availability_zone": 1}), 400),
        (json!({"vip_qos_policy_id": id}), 400),
        (json!({"vip_qos_policy_id": null}), 200),
        (json!({"vip_sg_ids": [id]}), 400),
        (json!({"vip_sg_ids": ["x"]}), 400),
        (json!({"vip_sg_ids": null}), 200),
        (json!({"vip_sg_ids": []}), 200),
        (json!({"project_id": "x".repeat(37)}), 400),
        (json!({"topology": "SINGLE"}), 400),
    ];
    for (fields, expected) in table {
        assert_eq!(outcome(&posted(fields.clone())), *expected, "{fields}");
    }
}

#[test]
fn the_envelope_is_checked() {
    for body in [
        json!({}),
        json!([]),
        json!(null),
        json!("x"),
        json!({"lb": {}}),
        json!({"loadbalancer": []}),
        json!({"loadbalancer": null}),
        json!({"loadbalancer": {"vip_subnet_id": uuid(1)}, "other": 1}),
    ] {
        assert_eq!(outcome(&LoadBalancerCreate::parse(&body)), 400, "{body}");
    }
}

#[test]
fn tenant_id_is_a_synonym() {
    let parse = |fields: Value| {
        let body = crate::testing::merged(json!({"vip_subnet_id": uuid(1)}), fields);
        LoadBalancerCreate::parse(&json!({"loadbalancer": body}))
            .unwrap()
            .project_id
    };
    assert_eq!(parse(json!({"tenant_id": "t"})).as_deref(), Some("t"));
    assert_eq!(parse(json!({"project_id": "p"})).as_deref(), Some("p"));
    assert_eq!(parse(json!({})), None);
}

#[test]
fn only_an_active_load_balancer_is_updated() {
    let mut world = posted(json!({"name": "n", "tags": ["t"]})).unwrap();
    assert_eq!(put(&mut world, &json!({"name": "x"})), 409);
    world.settle();
    assert_eq!(
        put(&mut world, &json!({"name": null, "admin_state_up": null})),
        200
    );
    let common = &world.tree.load_balancer.common;
    assert!(common.name.is_empty() && !common.admin_state_up);
    assert_eq!(common.tags, ["t"]);
    let request = LoadBalancerUpdate::parse(&json!({"loadbalancer": {}})).unwrap();
    let fault = world
        .run(|tree, ctx| tree.update_load_balancer(request, ctx))
        .unwrap_err();
    assert!(fault.public().contains("PENDING_UPDATE") && fault.public().contains("immutable"));
    world.fail();
    assert_eq!(status(&world), Status::Error);
    assert_eq!(put(&mut world, &json!({})), 409, "ERROR is not mutable");
    assert_eq!(
        put(&mut world, &json!({"vip_address": "192.0.2.1"})),
        400,
        "no such field"
    );
}

#[test]
fn children_need_a_cascade() {
    let mut world = world();
    world.pool(json!({})).unwrap();
    world.settle();
    let fault = world
        .run(|tree, ctx| tree.delete_load_balancer(false, ctx))
        .unwrap_err();
    assert_eq!(code(&fault), 400);
    world
        .run(|tree, ctx| tree.delete_load_balancer(true, ctx))
        .unwrap();
    assert_eq!(status(&world), Status::PendingDelete);
    assert_eq!(
        world.tree.pools[0].common.provisioning_status,
        Status::Active
    );
    world.settle();
    assert!(world.tree.is_deleted());
}

#[test]
fn a_load_balancer_in_error_can_be_deleted_and_failed_over() {
    let mut world = posted(json!({})).unwrap();
    let failover = |world: &mut World| outcome(&world.run(Tree::failover_load_balancer));
    assert_eq!(failover(&mut world), 409);
    world.fail();
    assert_eq!(failover(&mut world), 200);
    assert_eq!(status(&world), Status::PendingUpdate);
    assert_eq!(world.tree.load_balancer.failover_count, 1);
    assert_eq!(failover(&mut world), 409);
    world.fail();
    assert_eq!(status(&world), Status::Error);
    world
        .run(|tree, ctx| tree.delete_load_balancer(false, ctx))
        .unwrap();
    world.settle();
    assert!(world.tree.is_deleted());
}
