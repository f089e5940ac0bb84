//! The walk of [`super::capability`] over a listener's fields.

use serde_json::{Value, json};

use super::capability::{
    Fate::{self, Invalid, Refused, Served},
    assert_complete, judge,
};
use crate::{
    capability::CapabilitySet,
    enums::ForwardingMode,
    id::PoolId,
    testing::{AUTHORITY, CERTIFICATE, World, merged, world},
};

fn tls(fields: Value) -> Value {
    let base = json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE});
    merged(base, fields)
}

fn headers(name: &str, value: &str) -> Value {
    json!({"insert_headers": {name: value}})
}

fn plain() -> Vec<(Value, Fate)> {
    vec![
        (
            json!({"protocol": "HTTP", "protocol_port": 1, "name": "n", "description": "d",
            "admin_state_up": false, "tags": ["t"], "allowed_cidrs": ["192.0.2.0/24"]}),
            Served,
        ),
        (json!({"protocol": "TCP"}), Served),
        (json!({"protocol": "HTTPS"}), Refused("protocol", "HTTPS")),
        (json!({"protocol": "UDP"}), Refused("protocol", "UDP")),
        (json!({"protocol": "SCTP"}), Refused("protocol", "SCTP")),
        (
            json!({"protocol": "PROMETHEUS"}),
            Refused("protocol", "PROMETHEUS"),
        ),
        (json!({"connection_limit": -1}), Served),
        (json!({"connection_limit": 0}), Served),
        (
            json!({"connection_limit": 5}),
            Refused("connection_limit", "5"),
        ),
        (
            json!({"timeout_client_data": 1, "timeout_member_connect": 1, "timeout_member_data": 1}),
            Served,
        ),
        (json!({"timeout_tcp_inspect": 0}), Served),
        (
            json!({"timeout_tcp_inspect": 1}),
            Refused("timeout_tcp_inspect", "1"),
        ),
        (json!({"default_pool_id": "tcp", "protocol": "TCP"}), Served),
        (
            json!({"default_pool_id": "http", "protocol": "TCP"}),
            Refused("protocol", "HTTP"),
        ),
    ]
}

fn inserted_headers() -> Vec<(Value, Fate)> {
    vec![
        (headers("X-Forwarded-For", "true"), Served),
        (headers("X-Forwarded-Port", "True"), Served),
        (headers("X-Forwarded-Proto", "true"), Served),
        (headers("X-Forwarded-IP", "false"), Served),
        (
            headers("X-Forwarded-IP", "true"),
            Refused("insert_headers", "X-Forwarded-IP"),
        ),
        (
            headers("X-Client-IP", "TRUE"),
            Refused("insert_headers", "X-Client-IP"),
        ),
        (
            headers("X-Real-IP", "true"),
            Refused("insert_headers", "X-Real-IP"),
        ),
    ]
}

fn tls_options() -> Vec<(Value, Fate)> {
    vec![
        (tls(json!({"sni_container_refs": [CERTIFICATE]})), Served),
        (
            tls(headers("X-SSL-Client-CN", "true")),
            Refused("insert_headers", "X-SSL-Client-CN"),
        ),
        (
            tls(json!({"tls_ciphers": "ALL"})),
            Refused("tls_ciphers", "ALL"),
        ),
        (
            tls(json!({"tls_ciphers": crate::defaults::TLS_CIPHERS})),
            Served,
        ),
        (
            tls(json!({"tls_versions": ["TLSv1.3"]})),
            Refused("tls_versions", "TLSv1.3"),
        ),
        (tls(json!({"tls_versions": ["TLSv1.3", "TLSv1.2"]})), Served),
        (
            tls(json!({"alpn_protocols": ["h2"]})),
            Refused("alpn_protocols", "h2"),
        ),
        (tls(json!({"alpn_protocols": ["h2", "http/1.1"]})), Served),
        (
            tls(json!({"client_ca_tls_container_ref": AUTHORITY})),
            Refused("client_ca_tls_container_ref", AUTHORITY),
        ),
        (
            tls(
                json!({"client_ca_tls_container_ref": AUTHORITY, "client_authentication": "OPTIONAL"}),
            ),
            Refused("client_authentication", "OPTIONAL"),
        ),
        (tls(json!({"client_crl_container_ref": "crl"})), Invalid),
        (
            tls(json!({"hsts_max_age": 5})),
            Refused("hsts_max_age", "5"),
        ),
        (
            tls(json!({"hsts_max_age": 5, "hsts_preload": true, "hsts_include_subdomains": true})),
            Refused("hsts_max_age", "5"),
        ),
    ]
}

#[test]
fn listener() {
    let mut table = plain();
    table.extend(inserted_headers());
    table.extend(tls_options());
    assert_complete(
        &table,
        "protocol protocol_port name description admin_state_up tags \
        allowed_cidrs connection_limit default_pool_id default_tls_container_ref \
        sni_container_refs insert_headers timeout_client_data timeout_member_connect \
        timeout_member_data timeout_tcp_inspect client_ca_tls_container_ref client_authentication \
        client_crl_container_ref tls_ciphers tls_versions alpn_protocols hsts_max_age \
        hsts_include_subdomains hsts_preload",
    );
    for (fields, fate) in &table {
        let mut world = world();
        let tcp = world
            .pool(json!({"protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT"}))
            .unwrap();
        world.settle();
        let http = world.pool(json!({})).unwrap();
        world.settle();
        let mut body = fields.clone();
        match body["default_pool_id"].as_str() {
            Some("tcp") => body["default_pool_id"] = json!(tcp),
            Some(_) => body["default_pool_id"] = json!(http),
            None => drop(body.as_object_mut().unwrap().remove("default_pool_id")),
        }
        judge("listener", fields, fate, world.listener(body).map(drop));
    }
}

/// A load balancer of a flavor with this forwarding mode, whose pool of `protocol` has a member on 81.
fn direct(mode: ForwardingMode, protocol: &str) -> (World, PoolId) {
    let mut world = world();
    world.facts.capabilities = CapabilitySet::all();
    world.tree.load_balancer.placement.forwarding_mode = mode;
    let pool = world.pool(json!({"protocol": protocol})).unwrap();
    world.settle();
    world.member(pool, json!({"protocol_port": 81})).unwrap();
    world.settle();
    (world, pool)
}

#[test]
fn under_direct_return_members_listen_where_their_listener_does() {
    for (mode, fate) in [
        (ForwardingMode::Nat, Served),
        (ForwardingMode::DsrL2, Refused("protocol_port", "81")),
        (ForwardingMode::DsrIpip, Refused("protocol_port", "81")),
    ] {
        for protocol in ["TCP", "UDP", "SCTP"] {
            let (mut world, pool) = direct(mode, protocol);
            let fields =
                json!({"protocol": protocol, "protocol_port": 80, "default_pool_id": pool});
            let made = world.listener(fields.clone()).map(|_| ());
            judge("listener", &fields, &fate, made);
            world.settle();
            // The other way round: the listener is there first.
            let (mut world, pool) = direct(mode, protocol);
            let fields =
                json!({"protocol": protocol, "protocol_port": 81, "default_pool_id": pool});
            world.listener(fields).unwrap();
            world.settle();
            let member = json!({"protocol_port": 80, "address": "192.0.2.31"});
            let fate = match mode {
                ForwardingMode::Nat => Served,
                _ => Refused("protocol_port", "80"),
            };
            let made = world.member(pool, member.clone()).map(|_| ());
            judge("member", &member, &fate, made);
        }
    }
}

#[test]
fn what_an_amphora_serves_has_connections_of_its_own() {
    for proxied in [
        json!({"timeout_tcp_inspect": 100}),
        json!({"timeout_member_connect": 1234}),
    ] {
        let (mut world, pool) = direct(ForwardingMode::DsrL2, "TCP");
        let base = json!({"protocol": "TCP", "protocol_port": 80, "default_pool_id": pool});
        world.listener(merged(base, proxied)).unwrap();
    }
    let (mut world, pool) = direct(ForwardingMode::DsrIpip, "HTTP");
    let http = json!({"protocol": "HTTP", "protocol_port": 80, "default_pool_id": pool});
    world.listener(http).unwrap();
}
