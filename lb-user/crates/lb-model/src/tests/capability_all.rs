//! With every capability declared, everything the contract allows is taken, and each row of the
//! table is lifted by its own capability and by no other.

use serde_json::{Value, json};

use crate::{
    capability::{self, Capability, CapabilitySet},
    enums::VnicType,
    fault::Fault,
    resource::Placement,
    testing::{AUTHORITY, CERTIFICATE, REVOCATION_LIST, World, merged, uuid, world},
};

fn capable() -> World {
    let mut world = world();
    world.facts.capabilities = CapabilitySet::all();
    world.tree.load_balancer.placement.member_sriov = true;
    world
}

fn tls(fields: Value) -> Value {
    let base = json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE});
    merged(base, fields)
}

fn on_headers(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), json!("true")))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// One object, and the capability without which it is refused.
fn listeners() -> Vec<(Value, Capability)> {
    vec![
        (json!({"protocol": "HTTPS"}), Capability::ListenerHttps),
        (json!({"protocol": "UDP"}), Capability::ListenerUdp),
        (json!({"protocol": "SCTP"}), Capability::ListenerSctp),
        (
            json!({"protocol": "PROMETHEUS"}),
            Capability::ListenerPrometheus,
        ),
        (json!({"connection_limit": 5}), Capability::ConnectionLimit),
        (json!({"timeout_tcp_inspect": 1}), Capability::TcpInspect),
        (
            tls(
                json!({"client_ca_tls_container_ref": AUTHORITY, "client_crl_container_ref": REVOCATION_LIST,
                "client_authentication": "MANDATORY"}),
            ),
            Capability::ClientAuthentication,
        ),
        (
            tls(json!({"tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256"})),
            Capability::TlsCiphers,
        ),
        (
            tls(json!({"tls_versions": ["TLSv1.1", "TLSv1.2"]})),
            Capability::TlsVersions,
        ),
        (
            tls(json!({"tls_versions": ["TLSv1.3"]})),
            Capability::TlsVersions,
        ),
        (
            tls(json!({"alpn_protocols": ["h2"]})),
            Capability::AlpnHttp2Only,
        ),
        (
            tls(json!({"hsts_max_age": 5, "hsts_preload": true, "hsts_include_subdomains": true})),
            Capability::Hsts,
        ),
        (
            json!({"insert_headers": on_headers(&["X-Forwarded-IP", "X-Client-IP", "X-Real-IP"])}),
            Capability::InsertClientAddress,
        ),
        (
            tls(json!({"insert_headers": on_headers(&["X-SSL-Client-Verify",
                "X-SSL-Client-Has-Cert", "X-SSL-Client-DN", "X-SSL-Client-CN", "X-SSL-Issuer",
                "X-SSL-Client-SHA1", "X-SSL-Client-Not-Before", "X-SSL-Client-Not-After"])})),
            Capability::InsertClientCertificate,
        ),
    ]
}

fn pools() -> Vec<(Value, Capability)> {
    let flow = |algorithm: &str| json!({"protocol": "TCP", "lb_algorithm": algorithm});
    let kept = |kind: Value| json!({ "session_persistence": kind });
    vec![
        (json!({"protocol": "HTTPS"}), Capability::PoolHttps),
        (json!({"protocol": "PROXY"}), Capability::PoolProxy),
        (json!({"protocol": "PROXYV2"}), Capability::PoolProxyV2),
        (
            json!({"protocol": "UDP", "lb_algorithm": "SOURCE_IP"}),
            Capability::PoolUdp,
        ),
        (
            json!({"protocol": "SCTP", "lb_algorithm": "SOURCE_IP"}),
            Capability::PoolSctp,
        ),
        (flow("ROUND_ROBIN"), Capability::FlowRoundRobin),
        (flow("LEAST_CONNECTIONS"), Capability::FlowLeastConnections),
        (
            json!({"lb_algorithm": "LEAST_CONNECTIONS"}),
            Capability::ProxyLeastConnections,
        ),
        (
            json!({"lb_algorithm": "SOURCE_IP"}),
            Capability::ProxySourceIp,
        ),
        (
            json!({"lb_algorithm": "SOURCE_IP_PORT"}),
            Capability::ProxySourceIpPort,
        ),
        (
            kept(json!({"type": "SOURCE_IP"})),
            Capability::PersistenceSourceIp,
        ),
        (
            kept(json!({"type": "HTTP_COOKIE"})),
            Capability::PersistenceHttpCookie,
        ),
        (
            kept(json!({"type": "APP_COOKIE", "cookie_name": "c"})),
            Capability::PersistenceAppCookie,
        ),
        (
            json!({"tls_enabled": true, "tls_container_ref": CERTIFICATE,
                "ca_tls_container_ref": AUTHORITY, "crl_container_ref": REVOCATION_LIST}),
            Capability::MemberTls,
        ),
    ]
}

fn members() -> Vec<(Value, Capability)> {
    vec![
        (json!({"backup": true}), Capability::MemberBackup),
        (json!({"request_sriov": true}), Capability::MemberSriov),
        (
            json!({"address": "2001:db8::5"}),
            Capability::MemberFamilies,
        ),
        (
            json!({"monitor_address": "2001:db8::5"}),
            Capability::MemberFamilies,
        ),
    ]
}

fn monitors() -> Vec<(Value, &'static str, Capability)> {
    vec![
        (json!({"type": "HTTPS"}), "HTTP", Capability::MonitorHttps),
        (json!({"type": "PING"}), "HTTP", Capability::MonitorPing),
        (
            json!({"type": "TLS-HELLO"}),
            "HTTP",
            Capability::MonitorTlsHello,
        ),
        (
            json!({"type": "UDP-CONNECT"}),
            "UDP",
            Capability::MonitorUdpConnect,
        ),
        (json!({"type": "SCTP"}), "SCTP", Capability::MonitorSctp),
    ]
}

fn rules() -> Vec<(Value, Capability)> {
    let rule = |kind: &str, value: &str| {
        json!({"type": kind, "compare_type": "EQUAL_TO",
        "value": value})
    };
    vec![
        (
            rule("SSL_CONN_HAS_CERT", "true"),
            Capability::L7ClientCertificate,
        ),
        (
            rule("SSL_VERIFY_RESULT", "0"),
            Capability::L7ClientCertificate,
        ),
        (
            merged(rule("SSL_DN_FIELD", "x"), json!({"key": "CN"})),
            Capability::L7ClientCertificate,
        ),
    ]
}

/// Every way to make one refused object in a world.
type Make = Box<dyn Fn(&mut World) -> Result<(), Fault>>;

fn table() -> Vec<(String, Capability, Make)> {
    let mut table: Vec<(String, Capability, Make)> = Vec::new();
    for (fields, lifted_by) in listeners() {
        let name = format!("listener {fields}");
        table.push((
            name,
            lifted_by,
            Box::new(move |world| world.listener(fields.clone()).map(drop)),
        ));
    }
    for (fields, lifted_by) in pools() {
        let name = format!("pool {fields}");
        table.push((
            name,
            lifted_by,
            Box::new(move |world| world.pool(fields.clone()).map(drop)),
        ));
    }
    for (fields, lifted_by) in members() {
        let name = format!("member {fields}");
        table.push((
            name,
            lifted_by,
            Box::new(move |world| {
                let pool = world.pool(json!({}))?;
                world.settle();
                world.member(pool, fields.clone()).map(drop)
            }),
        ));
    }
    for (fields, protocol, lifted_by) in monitors() {
        let name = format!("healthmonitor {fields}");
        table.push((
            name,
            lifted_by,
            Box::new(move |world| {
                let all = std::mem::replace(&mut world.facts.capabilities, CapabilitySet::all());
                let pool = world.pool(json!({"protocol": protocol}))?;
                world.settle();
                world.facts.capabilities = all;
                world.monitor(pool, fields.clone()).map(drop)
            }),
        ));
    }
    for (fields, lifted_by) in rules() {
        let name = format!("rule {fields}");
        table.push((
            name,
            lifted_by,
            Box::new(move |world| {
                let listener = world.listener(json!({}))?;
                world.settle();
                let policy = world.policy(listener, json!({}))?;
                world.settle();
                world.rule(policy, fields.clone()).map(drop)
            }),
        ));
    }
    table.push((
        "a flavor with an SR-IOV VIP".to_owned(),
        Capability::VipSriov,
        Box::new(|world| {
            let placement = Placement {
                vip_vnic_type: VnicType::Direct,
                ..Placement::default()
            };
            capability::placement(&placement, &world.facts)
        }),
    ));
    table.push((
        "a TCP listener's HTTP pool".to_owned(),
        Capability::ListenerTcpProxied,
        Box::new(|world| {
            let pool = world.pool(json!({}))?;
            world.settle();
            world
                .listener(json!({"protocol": "TCP", "default_pool_id": pool}))
                .map(drop)
        }),
    ));
    table
}

#[test]
fn each_refusal_is_lifted_by_its_capability_and_by_no_other() {
    for (name, lifted_by, make) in table() {
        let taken = make(&mut capable());
        assert!(taken.is_ok(), "{name}: {taken:?}");
        let mut world = capable();
        let others = Capability::ALL
            .iter()
            .copied()
            .filter(|it| *it != lifted_by);
        world.facts.capabilities = others.collect();
        let refused = make(&mut world);
        assert!(
            matches!(refused, Err(Fault::NotImplemented { .. })),
            "{name}: {refused:?}"
        );
    }
    for capability in Capability::ALL {
        assert!(
            table()
                .iter()
                .any(|(_, lifted_by, _)| lifted_by == capability),
            "{capability}"
        );
    }
}

#[test]
fn what_the_contract_itself_refuses_stays_refused() {
    let mut world = capable();
    let udp = world
        .pool(json!({"protocol": "UDP", "lb_algorithm": "SOURCE_IP"}))
        .unwrap();
    world.settle();
    let datagrams = json!({"protocol": "UDP", "protocol_port": 53, "default_pool_id": udp});
    world.listener(datagrams).unwrap();
    world.settle();
    let tcp = world.listener(json!({"protocol": "TCP"})).unwrap();
    world.settle();
    let table = [
        world
            .member(udp, json!({"address": "2001:db8::5"}))
            .map(drop),
        world.policy(tcp, json!({})).map(drop),
        world
            .listener(tls(
                json!({"protocol_port": 81, "tls_versions": ["SSLv3", "TLSv1.1"]}),
            ))
            .map(drop),
        world
            .pool(json!({"tls_enabled": true, "tls_versions": ["TLSv1"]}))
            .map(drop),
    ];
    for refused in table {
        assert!(
            matches!(refused, Err(Fault::NotImplemented { .. })),
            "{refused:?}"
        );
    }
    let no_pool = world.listener(json!({"protocol": "PROMETHEUS", "default_pool_id": udp}));
    assert!(matches!(no_pool, Err(Fault::Invalid(_))), "{no_pool:?}");
    assert!(
        world
            .member(udp, json!({"subnet_id": uuid(crate::testing::SUBNET_V4)}))
            .is_ok()
    );
}
