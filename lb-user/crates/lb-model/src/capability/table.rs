//! The rows: what is refused, why, and which capability lifts the refusal.
//!
//! A row looks at an object as it would be stored and names the value that offends.

use super::{Capability, CapabilitySet};
use crate::{
    defaults,
    enums::{
        ClientAuthentication, HealthMonitorType, L7RuleType, LbAlgorithm, ListenerProtocol,
        PoolProtocol, SessionPersistenceType, VnicType,
    },
    fault::Fault,
    protocol::INSERT_TLS_HEADERS,
    resource::{HealthMonitor, L7Rule, Listener, Member, Placement, Pool},
};

/// One thing that is refused unless the data path has its capability.
pub(super) struct Refusal<T: 'static> {
    lifted_by: Capability,
    field: &'static str,
    reason: &'static str,
    /// The offending value; `None`: nothing offends.
    refused: fn(&T) -> Option<String>,
}

/// Headers that are inserted when asked for, whatever the data path.
const INSERTED_HEADERS: &[&str] = &["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];

const NO_CLIENT_CERTIFICATES: &str = "client certificates are not asked for";
const NO_MEMBER_TLS: &str = "there is no TLS towards members";
const LISTENERS: &str = "listeners are HTTP, TERMINATED_HTTPS or TCP";
const POOLS: &str = "pools are HTTP or TCP";
const ALGORITHMS: &str =
    "HTTP pools balance by ROUND_ROBIN, TCP pools by SOURCE_IP or SOURCE_IP_PORT";
const MONITORS: &str = "monitors are HTTP or TCP";
const NO_SRIOV: &str = "ports are virtual ones";
const NOT_KEPT: &str = "clients are not kept on members";
const NOT_INSERTED: &str = "the header is not inserted";

pub(super) const LISTENER: &[Refusal<Listener>] = &[
    Refusal {
        lifted_by: Capability::ListenerHttps,
        field: "protocol",
        reason: LISTENERS,
        refused: |it| is(it.protocol, ListenerProtocol::Https),
    },
    Refusal {
        lifted_by: Capability::ListenerUdp,
        field: "protocol",
        reason: LISTENERS,
        refused: |it| is(it.protocol, ListenerProtocol::Udp),
    },
    Refusal {
        lifted_by: Capability::ListenerSctp,
        field: "protocol",
        reason: LISTENERS,
        refused: |it| is(it.protocol, ListenerProtocol::Sctp),
    },
    Refusal {
        lifted_by: Capability::ListenerPrometheus,
        field: "protocol",
        reason: LISTENERS,
        refused: |it| is(it.protocol, ListenerProtocol::Prometheus),
    },
    Refusal {
        lifted_by: Capability::ConnectionLimit,
        field: "connection_limit",
        reason: "connection limits are not enforced",
        refused: |it| it.connection_limit.filter(|limit| *limit > 0).map(text),
    },
    Refusal {
        lifted_by: Capability::TcpInspect,
        field: "timeout_tcp_inspect",
        reason: "content is not inspected before forwarding",
        refused: |it| it.timeout_tcp_inspect.filter(|time| *time != 0).map(text),
    },
    Refusal {
        lifted_by: Capability::ClientAuthentication,
        field: "client_authentication",
        reason: NO_CLIENT_CERTIFICATES,
        refused: |it| {
            let asked = it.client_authentication != ClientAuthentication::None;
            given(asked, it.client_authentication)
        },
    },
    Refusal {
        lifted_by: Capability::ClientAuthentication,
        field: "client_ca_tls_container_ref",
        reason: NO_CLIENT_CERTIFICATES,
        refused: |it| it.client_ca_tls_container_ref.clone(),
    },
    Refusal {
        lifted_by: Capability::ClientAuthentication,
        field: "client_crl_container_ref",
        reason: NO_CLIENT_CERTIFICATES,
        refused: |it| it.client_crl_container_ref.clone(),
    },
    Refusal {
        lifted_by: Capability::TlsCiphers,
        field: "tls_ciphers",
        reason: "only the default cipher list is served",
        refused: |it| {
            let ciphers = it.tls_ciphers.clone().filter(|_| terminates_tls(it));
            ciphers.filter(|ciphers| ciphers != defaults::TLS_CIPHERS)
        },
    },
    Refusal {
        lifted_by: Capability::TlsVersions,
        field: "tls_versions",
        reason: "TLSv1.2 and TLSv1.3 are served, both",
        refused: |it| {
            let versions = it.tls_versions.as_ref().filter(|_| terminates_tls(it))?;
            let both = |version: &&str| versions.iter().any(|own| own == version);
            let exact = versions.iter().all(|version| is_modern(version))
                && defaults::TLS_VERSIONS.iter().all(both);
            given(!exact, versions.join(","))
        },
    },
    Refusal {
        lifted_by: Capability::AlpnHttp2Only,
        field: "alpn_protocols",
        reason: "HTTP/1 is served, and must be among them",
        refused: |it| {
            let protocols = it.alpn_protocols.as_ref().filter(|_| terminates_tls(it))?;
            let http1 = |id: &String| id == "http/1.1" || id == "http/1.0";
            given(!protocols.iter().any(http1), protocols.join(","))
        },
    },
    Refusal {
        lifted_by: Capability::Hsts,
        field: "hsts_max_age",
        reason: "the HSTS header is not inserted",
        refused: |it| it.hsts_max_age.map(text),
    },
    Refusal {
        lifted_by: Capability::InsertClientCertificate,
        field: "insert_headers",
        reason: NOT_INSERTED,
        refused: |it| asked_for(it, |name| INSERT_TLS_HEADERS.contains(&name)),
    },
    Refusal {
        lifted_by: Capability::InsertClientAddress,
        field: "insert_headers",
        reason: NOT_INSERTED,
        refused: |it| {
            asked_for(it, |name| {
                !INSERTED_HEADERS.contains(&name) && !INSERT_TLS_HEADERS.contains(&name)
            })
        },
    },
];

pub(super) const POOL: &[Refusal<Pool>] = &[
    Refusal {
        lifted_by: Capability::PoolHttps,
        field: "protocol",
        reason: POOLS,
        refused: |it| is(it.protocol, PoolProtocol::Https),
    },
    Refusal {
        lifted_by: Capability::PoolProxy,
        field: "protocol",
        reason: POOLS,
        refused: |it| is(it.protocol, PoolProtocol::Proxy),
    },
    Refusal {
        lifted_by: Capability::PoolProxyV2,
        field: "protocol",
        reason: POOLS,
        refused: |it| is(it.protocol, PoolProtocol::ProxyV2),
    },
    Refusal {
        lifted_by: Capability::PoolUdp,
        field: "protocol",
        reason: POOLS,
        refused: |it| is(it.protocol, PoolProtocol::Udp),
    },
    Refusal {
        lifted_by: Capability::PoolSctp,
        field: "protocol",
        reason: POOLS,
        refused: |it| is(it.protocol, PoolProtocol::Sctp),
    },
    Refusal {
        lifted_by: Capability::FlowRoundRobin,
        field: "lb_algorithm",
        reason: ALGORITHMS,
        refused: |it| balances(it, true, LbAlgorithm::RoundRobin),
    },
    Refusal {
        lifted_by: Capability::FlowLeastConnections,
        field: "lb_algorithm",
        reason: ALGORITHMS,
        refused: |it| balances(it, true, LbAlgorithm::LeastConnections),
    },
    Refusal {
        lifted_by: Capability::ProxyLeastConnections,
        field: "lb_algorithm",
        reason: ALGORITHMS,
        refused: |it| balances(it, false, LbAlgorithm::LeastConnections),
    },
    Refusal {
        lifted_by: Capability::ProxySourceIp,
        field: "lb_algorithm",
        reason: ALGORITHMS,
        refused: |it| balances(it, false, LbAlgorithm::SourceIp),
    },
    Refusal {
        lifted_by: Capability::ProxySourceIpPort,
        field: "lb_algorithm",
        reason: ALGORITHMS,
        refused: |it| balances(it, false, LbAlgorithm::SourceIpPort),
    },
    Refusal {
        lifted_by: Capability::PersistenceSourceIp,
        field: "session_persistence",
        reason: NOT_KEPT,
        refused: |it| keeps(it, SessionPersistenceType::SourceIp),
    },
    Refusal {
        lifted_by: Capability::PersistenceHttpCookie,
        field: "session_persistence",
        reason: NOT_KEPT,
        refused: |it| keeps(it, SessionPersistenceType::HttpCookie),
    },
    Refusal {
        lifted_by: Capability::PersistenceAppCookie,
        field: "session_persistence",
        reason: NOT_KEPT,
        refused: |it| keeps(it, SessionPersistenceType::AppCookie),
    },
    Refusal {
        lifted_by: Capability::MemberTls,
        field: "tls_enabled",
        reason: NO_MEMBER_TLS,
        refused: |it| given(it.tls_enabled, it.tls_enabled),
    },
    Refusal {
        lifted_by: Capability::MemberTls,
        field: "tls_container_ref",
        reason: NO_MEMBER_TLS,
        refused: |it| it.tls_container_ref.clone(),
    },
    Refusal {
        lifted_by: Capability::MemberTls,
        field: "ca_tls_container_ref",
        reason: NO_MEMBER_TLS,
        refused: |it| it.ca_tls_container_ref.clone(),
    },
    Refusal {
        lifted_by: Capability::MemberTls,
        field: "crl_container_ref",
        reason: NO_MEMBER_TLS,
        refused: |it| it.crl_container_ref.clone(),
    },
];

pub(super) const PLACEMENT: &[Refusal<Placement>] = &[Refusal {
    lifted_by: Capability::VipSriov,
    field: "sriov_vip",
    reason: NO_SRIOV,
    refused: |it| {
        let direct = it.vip_vnic_type == VnicType::Direct;
        given(direct, direct)
    },
}];

pub(super) const MEMBER: &[Refusal<Member>] = &[
    Refusal {
        lifted_by: Capability::MemberBackup,
        field: "backup",
        reason: "backup members are not held back",
        refused: |it| given(it.backup, it.backup),
    },
    Refusal {
        lifted_by: Capability::MemberSriov,
        field: "request_sriov",
        reason: NO_SRIOV,
        refused: |it| {
            let direct = it.vnic_type == VnicType::Direct;
            given(direct, direct)
        },
    },
];

pub(super) const HEALTH_MONITOR: &[Refusal<HealthMonitor>] = &[
    Refusal {
        lifted_by: Capability::MonitorHttps,
        field: "type",
        reason: MONITORS,
        refused: |it| is(it.kind, HealthMonitorType::Https),
    },
    Refusal {
        lifted_by: Capability::MonitorPing,
        field: "type",
        reason: MONITORS,
        refused: |it| is(it.kind, HealthMonitorType::Ping),
    },
    Refusal {
        lifted_by: Capability::MonitorTlsHello,
        field: "type",
        reason: MONITORS,
        refused: |it| is(it.kind, HealthMonitorType::TlsHello),
    },
    Refusal {
        lifted_by: Capability::MonitorUdpConnect,
        field: "type",
        reason: MONITORS,
        refused: |it| is(it.kind, HealthMonitorType::UdpConnect),
    },
    Refusal {
        lifted_by: Capability::MonitorSctp,
        field: "type",
        reason: MONITORS,
        refused: |it| is(it.kind, HealthMonitorType::Sctp),
    },
];

pub(super) const L7RULE: &[Refusal<L7Rule>] = &[Refusal {
    lifted_by: Capability::L7ClientCertificate,
    field: "type",
    reason: NO_CLIENT_CERTIFICATES,
    refused: |it| {
        let tls = matches!(
            it.kind,
            L7RuleType::SslConnHasCert | L7RuleType::SslVerifyResult | L7RuleType::SslDnField
        );
        given(tls, it.kind)
    },
}];

/// The first refusal that nothing lifts.
pub(super) fn walk<T>(
    rows: &[Refusal<T>],
    object: &T,
    supported: &CapabilitySet,
) -> Result<(), Fault> {
    for row in rows {
        if supported.has(row.lifted_by) {
            continue;
        }
        if let Some(value) = (row.refused)(object) {
            return Err(Fault::not_implemented(row.field, value, row.reason));
        }
    }
    Ok(())
}

fn is<T: Copy + PartialEq + std::fmt::Display>(value: T, refused: T) -> Option<String> {
    given(value == refused, value)
}

/// `flows`: without a proxy between, so that whole flows are balanced.
fn balances(pool: &Pool, flows: bool, algorithm: LbAlgorithm) -> Option<String> {
    let flow = matches!(
        pool.protocol,
        PoolProtocol::Tcp | PoolProtocol::Udp | PoolProtocol::Sctp
    );
    given(
        flow == flows && pool.lb_algorithm == algorithm,
        pool.lb_algorithm,
    )
}

fn keeps(pool: &Pool, kind: SessionPersistenceType) -> Option<String> {
    let kept = pool.session_persistence.as_ref()?;
    is(kept.kind, kind)
}

/// The first header that is switched on and that `refused` names.
fn asked_for(listener: &Listener, refused: fn(&str) -> bool) -> Option<String> {
    let mut on = listener.insert_headers.iter();
    on.find(|(name, value)| value.eq_ignore_ascii_case("true") && refused(name))
        .map(|(name, _)| name.clone())
}

fn terminates_tls(listener: &Listener) -> bool {
    listener.protocol == ListenerProtocol::TerminatedHttps
}

fn is_modern(version: &str) -> bool {
    defaults::TLS_VERSIONS.contains(&version)
}

fn given(refused: bool, value: impl std::fmt::Display) -> Option<String> {
    refused.then(|| value.to_string())
}

fn text(value: impl std::fmt::Display) -> String {
    value.to_string()
}
