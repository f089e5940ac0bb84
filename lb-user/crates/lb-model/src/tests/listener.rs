//! Listeners: field rules, TLS rules, null at PUT, the protocol matrix, order of checks.

use serde_json::{Value, json};

use crate::{
    enums::{ListenerProtocol, ProvisioningStatus as Status},
    testing::{CERTIFICATE, World, code, outcome, world},
};

fn post(fields: Value) -> u16 {
    outcome(&world().listener(fields))
}

#[test]
fn a_listener_begins_pending_under_a_locked_load_balancer() {
    let mut world = world();
    let generation = world.tree.load_balancer.generation;
    let id = world.listener(json!({})).unwrap();
    let listener = world.tree.listener(id).unwrap();
    assert_eq!(listener.common.provisioning_status, Status::PendingCreate);
    assert_eq!(listener.common.updated_at, None);
    let root = &world.tree.load_balancer;
    assert_eq!(root.common.provisioning_status, Status::PendingUpdate);
    assert!(root.common.updated_at.is_some());
    assert_eq!(root.generation, generation + 1);
    let fault = world.listener(json!({"protocol_port": 81})).unwrap_err();
    assert_eq!(code(&fault), 409);
    assert!(fault.public().contains("immutable") && fault.public().contains("Load Balancer"));
}

#[test]
fn a_refused_change_leaves_the_tree_as_it_was() {
    let mut world = world();
    world.listener(json!({})).unwrap();
    world.settle();
    let before = world.tree.clone();
    assert!(world.listener(json!({})).is_err());
    assert!(
        world
            .listener(json!({"protocol_port": 81, "hsts_max_age": 1}))
            .is_err()
    );
    assert!(
        world
            .listener(json!({"protocol_port": 81, "connection_limit": 7}))
            .is_err()
    );
    assert_eq!(world.tree, before);
}

#[test]
fn ports_conflict_within_one_l4_protocol() {
    let mut world = world();
    world.listener(json!({"protocol": "TCP"})).unwrap();
    world.settle();
    let fault = world.listener(json!({"protocol": "HTTP"})).unwrap_err();
    assert_eq!(code(&fault), 409);
    assert!(
        fault.public().contains("TCP"),
        "names the existing listener's protocol"
    );
    // UDP/80 beside TCP/80 is no conflict; that UDP is not served comes last.
    assert_eq!(outcome(&world.listener(json!({"protocol": "UDP"}))), 501);
}

#[test]
fn field_rules_at_create() {
    let table: &[(Value, u16)] = &[
        (json!({"protocol_port": 0}), 400),
        (json!({"protocol_port": 65_536}), 400),
        (json!({"protocol_port": "8080"}), 200),
        (json!({"protocol_port": "<absent>"}), 400),
        (json!({"protocol_port": null}), 400),
        (json!({"protocol": "http"}), 400),
        (json!({"protocol": "<absent>"}), 400),
        (json!({"name": 5}), 400),
        (json!({"name": "x".repeat(256)}), 400),
        (json!({"name": "ä".repeat(255)}), 200),
        (json!({"admin_state_up": "yes"}), 200),
        (json!({"admin_state_up": "maybe"}), 400),
        (json!({"id": "x"}), 400),
        (json!({"connection_limit": -2}), 400),
        (json!({"connection_limit": 0}), 200),
        (json!({"connection_limit": null}), 200),
        (json!({"timeout_client_data": -1}), 400),
        (json!({"timeout_client_data": 2_073_600_000_i64}), 200),
        (json!({"timeout_client_data": 2_073_600_001_i64}), 400),
        (json!({"loadbalancer_id": "x"}), 400),
        (
            json!({"default_pool_id": "00000000000000000000000000000000"}),
            404,
        ),
        (json!({"default_pool": {"name": "x"}}), 400),
        (json!({"l7policies": [{}]}), 400),
        (json!({"l7policies": []}), 200),
        (json!({"project_id": "someone else"}), 200),
        (json!({"insert_headers": {"X-Forwarded-For": "true"}}), 200),
        (
            json!({"insert_headers": {"X-Forwarded-For": "banana"}}),
            200,
        ),
        (json!({"insert_headers": {"x-forwarded-for": "true"}}), 400),
        (json!({"insert_headers": {"X-Forwarded-For": true}}), 400),
        (json!({"insert_headers": {"X-SSL-Client-CN": "true"}}), 400),
        (
            json!({"protocol": "TCP", "insert_headers": {"X-Forwarded-For": "true"}}),
            400,
        ),
        (json!({"allowed_cidrs": ["10.0.0.0/8"]}), 200),
        (json!({"allowed_cidrs": ["2001:db8::/32"]}), 400),
        (json!({"allowed_cidrs": ["10.0.0.0/33"]}), 400),
        (json!({"default_tls_container_ref": CERTIFICATE}), 400),
        (json!({"client_ca_tls_container_ref": "x"}), 400),
        (json!({"client_authentication": "MANDATORY"}), 400),
        (json!({"hsts_max_age": 1}), 400),
        (json!({"hsts_preload": true}), 400),
        (json!({"tls_ciphers": "a b"}), 400),
        (json!({"tls_ciphers": "ECDHE+AESGCM:!aNULL"}), 200),
        (json!({"tags": ["a", "a", "b"]}), 200),
        (json!({"tags": "a"}), 400),
        (json!({"tags": [1]}), 400),
        (json!({"tags": ["x".repeat(256)]}), 400),
    ];
    for (fields, expected) in table {
        assert_eq!(post(fields.clone()), *expected, "{fields}");
    }
}

#[test]
fn tls_rules_at_create() {
    let tls = |fields: Value| {
        let base =
            json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE});
        post(crate::testing::merged(base, fields))
    };
    let table: &[(Value, u16)] = &[
        (json!({}), 200),
        (json!({"default_tls_container_ref": "<absent>"}), 400),
        (
            json!({"default_tls_container_ref": "<absent>", "sni_container_refs": [CERTIFICATE]}),
            200,
        ),
        (json!({"sni_container_refs": ["nowhere"]}), 400),
        (json!({"sni_container_refs": ["broken"]}), 400),
        (json!({"insert_headers": {"X-SSL-Client-CN": "false"}}), 200),
        (json!({"tls_versions": []}), 400),
        (json!({"tls_versions": ["TLSv9"]}), 400),
        (json!({"tls_versions": ["TLSv1.3", "TLSv1.2"]}), 200),
        (json!({"alpn_protocols": []}), 400),
        (json!({"alpn_protocols": ["h3"]}), 400),
        (json!({"alpn_protocols": ["http/1.1"]}), 200),
        (json!({"client_authentication": "OPTIONAL"}), 400),
        (json!({"client_crl_container_ref": "x"}), 400),
        (json!({"hsts_include_subdomains": true}), 400),
    ];
    for (fields, expected) in table {
        assert_eq!(tls(fields.clone()), *expected, "{fields}");
    }
}

#[test]
fn an_unreadable_certificate_is_named_with_its_reason() {
    let fault = world()
        .listener(json!({"protocol": "TERMINATED_HTTPS",
            "sni_container_refs": [CERTIFICATE, "broken", "nowhere"]}))
        .unwrap_err();
    let text = fault.public();
    assert!(
        text.contains("broken (not a certificate), nowhere"),
        "{text}"
    );
    assert!(!text.contains(CERTIFICATE));
}

#[test]
fn tls_defaults_are_materialised_on_tls_listeners_only() {
    let mut world = world();
    let plain = world.listener(json!({})).unwrap();
    world.settle();
    let tls = world
        .listener(json!({"protocol": "TERMINATED_HTTPS", "protocol_port": 443,
            "default_tls_container_ref": CERTIFICATE}))
        .unwrap();
    let plain = world.tree.listener(plain).unwrap();
    assert_eq!((&plain.tls_ciphers, &plain.tls_versions), (&None, &None));
    let tls = world.tree.listener(tls).unwrap();
    assert_eq!(
        tls.tls_ciphers.as_deref(),
        Some(crate::defaults::TLS_CIPHERS)
    );
    assert_eq!(tls.tls_versions.as_ref().unwrap().len(), 2);
    assert_eq!(tls.alpn_protocols.as_ref().unwrap().len(), 3);
}

#[test]
fn null_at_put_resets_each_field() {
    let mut world = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let id = world
        .listener(
            json!({"name": "n", "description": "d", "default_pool_id": pool, "tags": ["t"],
            "timeout_client_data": 1, "timeout_member_connect": 1, "timeout_member_data": 1,
            "insert_headers": {"X-Forwarded-For": "true"}, "allowed_cidrs": ["10.0.0.1/8"]}),
        )
        .unwrap();
    world.settle();
    let cidrs = &world.tree.listener(id).unwrap().allowed_cidrs;
    assert_eq!(
        cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8"]
    );
    world
        .put_listener(
            id,
            json!({"name": null, "description": null, "admin_state_up": null,
            "connection_limit": null, "default_pool_id": null, "insert_headers": null,
            "timeout_client_data": null, "timeout_member_connect": null,
            "timeout_member_data": null, "timeout_tcp_inspect": null, "allowed_cidrs": null,
            "sni_container_refs": null, "default_tls_container_ref": null,
            "client_authentication": null, "tls_versions": null, "tags": null}),
        )
        .unwrap();
    let listener = world.tree.listener(id).unwrap();
    assert_eq!(
        (
            listener.common.name.as_str(),
            listener.common.description.as_str()
        ),
        ("", "")
    );
    assert!(!listener.common.admin_state_up, "null switches off");
    assert_eq!(listener.common.tags, ["t"], "null leaves tags");
    assert_eq!(listener.connection_limit, Some(-1));
    assert_eq!(listener.default_pool_id, None);
    assert!(listener.insert_headers.is_empty() && listener.allowed_cidrs.is_empty());
    assert_eq!(listener.timeout_client_data, Some(50_000));
    assert_eq!(listener.timeout_member_connect, Some(5_000));
    assert_eq!(listener.timeout_member_data, Some(50_000));
    assert_eq!(listener.timeout_tcp_inspect, Some(0));
    assert!(
        listener.tls_versions.is_some(),
        "the default, even without TLS"
    );
    assert_eq!(listener.common.provisioning_status, Status::PendingUpdate);
}

#[test]
fn immutable_fields_do_not_exist_at_put_and_an_empty_put_is_an_update() {
    let mut world = world();
    let id = world.listener(json!({})).unwrap();
    world.settle();
    for field in [
        "protocol",
        "protocol_port",
        "loadbalancer_id",
        "id",
        "project_id",
    ] {
        let fault = world.put_listener(id, json!({field: "x"})).unwrap_err();
        assert_eq!(code(&fault), 400);
        assert!(fault.public().contains(field));
    }
    world.put_listener(id, json!({})).unwrap();
    assert_eq!(
        world.tree.listener(id).unwrap().common.provisioning_status,
        Status::PendingUpdate
    );
}

#[test]
fn at_put_the_stored_certificates_count() {
    let mut world = world();
    let id = world
        .listener(json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE}))
        .unwrap();
    world.settle();
    // The stored reference is not read again.
    world.facts.certificates.clear();
    assert_eq!(outcome(&world.put_listener(id, json!({"name": "x"}))), 200);
    world.settle();
    // Given up, they leave it to be shown in ERROR; a client's CA does not stand in for them.
    let unset = json!({"default_tls_container_ref": null});
    assert_eq!(outcome(&world.put_listener(id, unset)), 200);
    world.settle();
    let crl = json!({"client_crl_container_ref": CERTIFICATE});
    assert_eq!(outcome(&world.put_listener(id, crl)), 400);
}

#[test]
fn default_pool_must_fit_every_listener_protocol_by_the_matrix() {
    for protocol in ListenerProtocol::ALL {
        let mut world: World = world();
        let pool = world.pool(json!({})).unwrap();
        world.settle();
        let result = world.listener(json!({"protocol": protocol, "default_pool_id": pool,
            "sni_container_refs": if *protocol == ListenerProtocol::TerminatedHttps
                { vec![CERTIFICATE] } else { vec![] }}));
        let expected = match protocol {
            ListenerProtocol::Http | ListenerProtocol::TerminatedHttps => 200,
            // The matrix allows it, the data path does not do it.
            ListenerProtocol::Tcp => 501,
            _ => 400,
        };
        assert_eq!(outcome(&result), expected, "{protocol}");
    }
}

#[test]
fn a_listener_in_error_can_be_repaired_and_deleted() {
    let mut world = world();
    let id = world.listener(json!({})).unwrap();
    world.fail();
    assert_eq!(
        world.tree.listener(id).unwrap().common.provisioning_status,
        Status::Error
    );
    world.put_listener(id, json!({})).unwrap();
    world.fail();
    world
        .run(|tree, ctx| tree.delete_listener(id, ctx))
        .unwrap();
    assert_eq!(
        world.tree.listener(id).unwrap().common.provisioning_status,
        Status::PendingDelete
    );
    world.settle();
    assert!(world.tree.listeners.is_empty());
}

#[test]
fn field_rules_come_before_the_lock_at_put_and_after_it_at_post() {
    let mut world = world();
    let id = world.listener(json!({})).unwrap();
    assert_eq!(outcome(&world.listener(json!({"hsts_max_age": 1}))), 409);
    assert_eq!(
        outcome(&world.put_listener(id, json!({"hsts_max_age": 1}))),
        400
    );
    assert_eq!(outcome(&world.put_listener(id, json!({}))), 409);
}
