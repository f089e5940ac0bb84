//! Walks every field of every request: what is served, what is refused with 501, and whether the
//! refusal names field and value.

use serde_json::{Value, json};

use crate::{
    fault::Fault,
    testing::{AUTHORITY, CERTIFICATE, World, posted, uuid, world},
};

/// What becomes of a field's value.
pub(super) enum Fate {
    Served,
    /// 501 that names this field and value.
    Refused(&'static str, &'static str),
    /// 400 by a rule of the contract, whatever the data path can do.
    Invalid,
}
use Fate::{Invalid, Refused, Served};

pub(super) fn judge(name: &str, fields: &Value, fate: &Fate, result: Result<(), Fault>) {
    match (fate, result) {
        (Served, Ok(())) => {}
        (
            Refused(field, value),
            Err(Fault::NotImplemented {
                field: f,
                value: v,
                reason,
            }),
        ) => {
            assert_eq!(
                (f.as_str(), v.as_str()),
                (*field, *value),
                "{name} {fields}"
            );
            assert!(!reason.is_empty());
        }
        (Invalid, Err(Fault::Invalid(_) | Fault::InvalidOption { .. })) => {}
        (_, other) => panic!("{name} {fields}: {other:?}"),
    }
}

/// Every field that a walk must have seen (contract section 14, without what has no effect).
pub(super) fn assert_complete(walked: &[(Value, Fate)], fields: &str) {
    for field in fields.split_whitespace() {
        let seen = walked.iter().any(|(value, _)| value.get(field).is_some());
        assert!(seen, "no row for {field}");
    }
}

#[test]
fn load_balancer() {
    let id = uuid(9);
    let table = [
        (
            json!({"name": "n", "description": "d", "admin_state_up": false, "tags": ["t"]}),
            Served,
        ),
        (
            json!({"vip_address": "192.0.2.9", "vip_port_id": id, "vip_network_id": id}),
            Served,
        ),
        (
            json!({"additional_vips": [{"subnet_id": id}], "provider": "amphora"}),
            Served,
        ),
        (json!({"listeners": [], "pools": []}), Served),
        (json!({"vip_qos_policy_id": null, "vip_sg_ids": []}), Served),
        (json!({"flavor_id": id, "availability_zone": "az"}), Served),
    ];
    assert_complete(
        &table,
        "name description admin_state_up tags vip_address vip_port_id \
        vip_network_id additional_vips provider listeners pools vip_qos_policy_id vip_sg_ids \
        flavor_id availability_zone",
    );
    for (fields, fate) in &table {
        judge(
            "loadbalancer",
            fields,
            fate,
            posted(fields.clone()).map(drop),
        );
    }
}

#[test]
fn pool() {
    let table = [
        (
            json!({"name": "n", "description": "d", "admin_state_up": false, "tags": ["t"]}),
            Served,
        ),
        (
            json!({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
            Served,
        ),
        (
            json!({"lb_algorithm": "LEAST_CONNECTIONS"}),
            Refused("lb_algorithm", "LEAST_CONNECTIONS"),
        ),
        (
            json!({"lb_algorithm": "SOURCE_IP"}),
            Refused("lb_algorithm", "SOURCE_IP"),
        ),
        (
            json!({"lb_algorithm": "SOURCE_IP_PORT"}),
            Refused("lb_algorithm", "SOURCE_IP_PORT"),
        ),
        (
            json!({"protocol": "TCP", "lb_algorithm": "SOURCE_IP"}),
            Served,
        ),
        (
            json!({"protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT"}),
            Served,
        ),
        (
            json!({"protocol": "TCP"}),
            Refused("lb_algorithm", "ROUND_ROBIN"),
        ),
        (
            json!({"protocol": "TCP", "lb_algorithm": "LEAST_CONNECTIONS"}),
            Refused("lb_algorithm", "LEAST_CONNECTIONS"),
        ),
        (json!({"protocol": "HTTPS"}), Refused("protocol", "HTTPS")),
        (json!({"protocol": "PROXY"}), Refused("protocol", "PROXY")),
        (
            json!({"protocol": "PROXYV2"}),
            Refused("protocol", "PROXYV2"),
        ),
        (json!({"protocol": "UDP"}), Refused("protocol", "UDP")),
        (json!({"protocol": "SCTP"}), Refused("protocol", "SCTP")),
        (
            json!({"session_persistence": {"type": "HTTP_COOKIE"}}),
            Refused("session_persistence", "HTTP_COOKIE"),
        ),
        (
            json!({"tls_enabled": false, "tls_ciphers": "ALL", "tls_versions": ["TLSv1"],
            "alpn_protocols": ["h2"]}),
            Served,
        ),
        (json!({"tls_enabled": true}), Refused("tls_enabled", "true")),
        (
            json!({"tls_container_ref": CERTIFICATE}),
            Refused("tls_container_ref", CERTIFICATE),
        ),
        (
            json!({"ca_tls_container_ref": AUTHORITY}),
            Refused("ca_tls_container_ref", AUTHORITY),
        ),
        (json!({"crl_container_ref": "r"}), Invalid),
    ];
    assert_complete(
        &table,
        "name description admin_state_up tags protocol lb_algorithm \
        session_persistence tls_enabled tls_container_ref ca_tls_container_ref crl_container_ref \
        tls_ciphers tls_versions alpn_protocols",
    );
    for (fields, fate) in &table {
        judge("pool", fields, fate, world().pool(fields.clone()).map(drop));
    }
}

#[test]
fn member() {
    let v6 = "2001:db8::5";
    let in_v6 = json!({"address": v6, "subnet_id": uuid(crate::testing::SUBNET_V6)});
    let table = [
        (
            json!({"name": "n", "admin_state_up": false, "tags": ["t"], "weight": 0,
            "address": "192.0.2.9", "protocol_port": 9, "monitor_port": 9,
            "monitor_address": "192.0.2.9", "subnet_id": uuid(crate::testing::SUBNET_V4)}),
            Served,
        ),
        (json!({"backup": false}), Served),
        (json!({"backup": true}), Refused("backup", "true")),
        (json!({"address": v6}), Refused("address", v6)),
        (
            json!({"monitor_address": v6}),
            Refused("monitor_address", v6),
        ),
        (json!({"request_sriov": true}), Invalid),
        (in_v6.clone(), Served),
    ];
    assert_complete(
        &table,
        "name admin_state_up tags weight address protocol_port monitor_port \
        monitor_address subnet_id backup request_sriov",
    );
    for (fields, fate) in &table {
        let mut world = world();
        let pool = world.pool(json!({})).unwrap();
        world.settle();
        judge(
            "member",
            fields,
            fate,
            world.member(pool, fields.clone()).map(drop),
        );
    }
    // NAT keeps the family, so a TCP pool takes members of the VIPs' families only.
    let mut world = world();
    let pool = world
        .pool(json!({"protocol": "TCP", "lb_algorithm": "SOURCE_IP"}))
        .unwrap();
    world.settle();
    judge(
        "member",
        &in_v6,
        &Refused("address", v6),
        world.member(pool, in_v6.clone()).map(drop),
    );
}

#[test]
fn health_monitor() {
    let table = [
        (
            json!({"type": "HTTP", "name": "n", "admin_state_up": false, "tags": ["t"], "delay": 0,
            "timeout": 0, "max_retries": 1, "max_retries_down": 1, "http_method": "HEAD",
            "url_path": "/", "expected_codes": "200", "http_version": 1.1, "domain_name": "a"}),
            Served,
        ),
        (json!({"type": "TCP"}), Served),
        (json!({"type": "HTTPS"}), Refused("type", "HTTPS")),
        (json!({"type": "PING"}), Refused("type", "PING")),
        (json!({"type": "TLS-HELLO"}), Refused("type", "TLS-HELLO")),
        (json!({"type": "UDP-CONNECT"}), Invalid),
        (json!({"type": "SCTP"}), Invalid),
    ];
    assert_complete(
        &table,
        "type name admin_state_up tags delay timeout max_retries \
        max_retries_down http_method url_path expected_codes http_version domain_name",
    );
    for (fields, fate) in &table {
        let mut world = world();
        let pool = world.pool(json!({})).unwrap();
        world.settle();
        judge(
            "healthmonitor",
            fields,
            fate,
            world.monitor(pool, fields.clone()).map(drop),
        );
    }
}

#[test]
fn a_put_is_judged_like_a_post() {
    let mut world: World = world();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    let listener = world.listener(json!({"default_pool_id": pool})).unwrap();
    world.settle();
    let before = world.tree.clone();
    let refused = [
        world.put_listener(listener, json!({"connection_limit": 9})),
        world.put_pool(pool, json!({"lb_algorithm": "LEAST_CONNECTIONS"})),
        world.put_pool(pool, json!({"session_persistence": {"type": "SOURCE_IP"}})),
    ];
    for result in refused {
        assert!(
            matches!(result, Err(Fault::NotImplemented { .. })),
            "{result:?}"
        );
    }
    assert_eq!(world.tree, before);
}
