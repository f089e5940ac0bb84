//! What the data path cannot do yet: one table, asked after everything else (contract 3.4: the
//! provider's 501 comes last). Nothing becomes ACTIVE that does not work.
//!
//! A row looks at an object as it would be stored, so that POST, PUT, a batch and a single-call
//! create are judged alike. When the data path learns something, its row goes.

use std::net::IpAddr;

use crate::{
    ctx::Facts,
    defaults,
    enums::{
        ClientAuthentication, HealthMonitorType, L7RuleType, LbAlgorithm, ListenerProtocol,
        PoolProtocol,
    },
    fault::Fault,
    request::load_balancer::ExternalOptions,
    resource::{HealthMonitor, L7Rule, Listener, Member, Pool},
    tree::Tree,
};

/// One thing that is refused.
struct Row<T: 'static> {
    field: &'static str,
    reason: &'static str,
    /// The offending value; `None`: nothing offends.
    refused: fn(&T) -> Option<String>,
}

/// Headers that are inserted when asked for.
const INSERTED_HEADERS: &[&str] = &["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];

const NEEDS_NEUTRON: &str = "it needs the Networking service";

const EXTERNAL: &[Row<ExternalOptions>] = &[
    Row {
        field: "vip_qos_policy_id",
        reason: NEEDS_NEUTRON,
        refused: |options| options.vip_qos_policy_id.map(|id| id.to_string()),
    },
    Row {
        field: "vip_sg_ids",
        reason: NEEDS_NEUTRON,
        refused: |options| given(!options.vip_sg_ids.is_empty(), options.vip_sg_ids.join(",")),
    },
    Row {
        field: "flavor_id",
        reason: "there are no flavors",
        refused: |options| options.flavor_id.map(|id| id.to_string()),
    },
    Row {
        field: "availability_zone",
        reason: "there are no availability zones",
        refused: |options| options.availability_zone.clone(),
    },
];

const LISTENER: &[Row<Listener>] = &[
    Row {
        field: "protocol",
        reason: "listeners are HTTP, TERMINATED_HTTPS or TCP",
        refused: |listener| {
            let served = matches!(
                listener.protocol,
                ListenerProtocol::Http | ListenerProtocol::TerminatedHttps | ListenerProtocol::Tcp
            );
            given(!served, listener.protocol)
        },
    },
    Row {
        field: "connection_limit",
        reason: "connection limits are not enforced",
        refused: |listener| {
            listener
                .connection_limit
                .filter(|limit| *limit > 0)
                .map(text)
        },
    },
    Row {
        field: "timeout_tcp_inspect",
        reason: "content is not inspected before forwarding",
        refused: |listener| {
            listener
                .timeout_tcp_inspect
                .filter(|time| *time != 0)
                .map(text)
        },
    },
    Row {
        field: "client_authentication",
        reason: NO_CLIENT_CERTIFICATES,
        refused: |listener| {
            let asked = listener.client_authentication != ClientAuthentication::None;
            given(asked, listener.client_authentication)
        },
    },
    Row {
        field: "client_ca_tls_container_ref",
        reason: NO_CLIENT_CERTIFICATES,
        refused: |listener| listener.client_ca_tls_container_ref.clone(),
    },
    Row {
        field: "client_crl_container_ref",
        reason: NO_CLIENT_CERTIFICATES,
        refused: |listener| listener.client_crl_container_ref.clone(),
    },
    Row {
        field: "tls_ciphers",
        reason: "only the default cipher list is served",
        refused: |listener| {
            let ciphers = listener
                .tls_ciphers
                .clone()
                .filter(|_| terminates_tls(listener));
            ciphers.filter(|ciphers| ciphers != defaults::TLS_CIPHERS)
        },
    },
    Row {
        field: "tls_versions",
        reason: "TLSv1.2 and TLSv1.3 are served, both",
        refused: |listener| {
            let versions = listener
                .tls_versions
                .as_ref()
                .filter(|_| terminates_tls(listener))?;
            let default = defaults::TLS_VERSIONS;
            let exact = versions
                .iter()
                .all(|version| default.contains(&version.as_str()))
                && default
                    .iter()
                    .all(|version| versions.iter().any(|own| own == version));
            given(!exact, versions.join(","))
        },
    },
    Row {
        field: "alpn_protocols",
        reason: "HTTP/1 is served, and must be among them",
        refused: |listener| {
            let protocols = listener
                .alpn_protocols
                .as_ref()
                .filter(|_| terminates_tls(listener))?;
            let http1 = protocols
                .iter()
                .any(|id| id == "http/1.1" || id == "http/1.0");
            given(!http1, protocols.join(","))
        },
    },
    Row {
        field: "hsts_max_age",
        reason: "the HSTS header is not inserted",
        refused: |listener| listener.hsts_max_age.map(text),
    },
    Row {
        field: "insert_headers",
        reason: "the header is not inserted",
        refused: |listener| {
            let mut on = listener.insert_headers.iter();
            let unknown = on.find(|(name, value)| {
                value.eq_ignore_ascii_case("true") && !INSERTED_HEADERS.contains(&name.as_str())
            });
            unknown.map(|(name, _)| name.clone())
        },
    },
];

const NO_CLIENT_CERTIFICATES: &str = "client certificates are not asked for";
const NO_MEMBER_TLS: &str = "there is no TLS towards members";

const POOL: &[Row<Pool>] = &[
    Row {
        field: "protocol",
        reason: "pools are HTTP or TCP",
        refused: |pool| {
            let served = matches!(pool.protocol, PoolProtocol::Http | PoolProtocol::Tcp);
            given(!served, pool.protocol)
        },
    },
    Row {
        field: "lb_algorithm",
        reason: "HTTP pools balance by ROUND_ROBIN, TCP pools by SOURCE_IP or SOURCE_IP_PORT",
        refused: |pool| {
            let served = match pool.protocol {
                PoolProtocol::Tcp => matches!(
                    pool.lb_algorithm,
                    LbAlgorithm::SourceIp | LbAlgorithm::SourceIpPort
                ),
                _ => pool.lb_algorithm == LbAlgorithm::RoundRobin,
            };
            given(!served, pool.lb_algorithm)
        },
    },
    Row {
        field: "session_persistence",
        reason: "clients are not kept on members",
        refused: |pool| {
            pool.session_persistence
                .as_ref()
                .map(|kept| text(kept.kind))
        },
    },
    Row {
        field: "tls_enabled",
        reason: NO_MEMBER_TLS,
        refused: |pool| given(pool.tls_enabled, pool.tls_enabled),
    },
    Row {
        field: "tls_container_ref",
        reason: NO_MEMBER_TLS,
        refused: |pool| pool.tls_container_ref.clone(),
    },
    Row {
        field: "ca_tls_container_ref",
        reason: NO_MEMBER_TLS,
        refused: |pool| pool.ca_tls_container_ref.clone(),
    },
    Row {
        field: "crl_container_ref",
        reason: NO_MEMBER_TLS,
        refused: |pool| pool.crl_container_ref.clone(),
    },
];

const MEMBER: &[Row<Member>] = &[Row {
    field: "backup",
    reason: "backup members are not held back",
    refused: |member| given(member.backup, member.backup),
}];

const HEALTH_MONITOR: &[Row<HealthMonitor>] = &[Row {
    field: "type",
    reason: "monitors are HTTP or TCP",
    refused: |monitor| {
        let served = matches!(
            monitor.kind,
            HealthMonitorType::Http | HealthMonitorType::Tcp
        );
        given(!served, monitor.kind)
    },
}];

const L7RULE: &[Row<L7Rule>] = &[Row {
    field: "type",
    reason: NO_CLIENT_CERTIFICATES,
    refused: |rule| {
        let tls = matches!(
            rule.kind,
            L7RuleType::SslConnHasCert | L7RuleType::SslVerifyResult | L7RuleType::SslDnField
        );
        given(tls, rule.kind)
    },
}];

/// Options of a load balancer that need services which are not there.
pub(crate) fn external(options: &ExternalOptions) -> Result<(), Fault> {
    walk(EXTERNAL, options)
}

/// A listener as it would be stored, with its default pool.
pub(crate) fn listener(tree: &Tree, listener: &Listener) -> Result<(), Fault> {
    walk(LISTENER, listener)?;
    match listener.default_pool_id {
        None => Ok(()),
        Some(id) => pair(listener, tree.pool(id)?),
    }
}

/// A pool as it would be stored, with the listeners that use it.
pub(crate) fn pool(tree: &Tree, pool: &Pool) -> Result<(), Fault> {
    walk(POOL, pool)?;
    tree.listeners_using(pool.id)
        .try_for_each(|listener| pair(listener, pool))
}

/// A member as it would be stored: its address must be of a family we have an address of.
pub(crate) fn member(
    tree: &Tree,
    pool: &Pool,
    member: &Member,
    facts: &Facts,
) -> Result<(), Fault> {
    walk(MEMBER, member)?;
    let vip_has = |address: IpAddr| {
        tree.vip_addresses()
            .any(|vip| vip.is_ipv4() == address.is_ipv4())
    };
    let subnet = member.subnet_id.and_then(|id| facts.subnet(id));
    let reaches = |address: IpAddr| {
        subnet.is_some_and(|subnet| subnet.cidr.addr().is_ipv4() == address.is_ipv4())
            || vip_has(address)
    };
    // NAT keeps the family, whatever subnet the member is in.
    let usable = match pool.protocol {
        PoolProtocol::Tcp => vip_has(member.address),
        _ => reaches(member.address),
    };
    if !usable {
        return Err(Fault::not_implemented(
            "address",
            member.address,
            "its IP version is none of the VIPs'",
        ));
    }
    match member.monitor_address {
        Some(address) if !reaches(address) => Err(Fault::not_implemented(
            "monitor_address",
            address,
            "its IP version is none of the VIPs'",
        )),
        _ => Ok(()),
    }
}

/// A monitor as it would be stored.
pub(crate) fn health_monitor(monitor: &HealthMonitor) -> Result<(), Fault> {
    walk(HEALTH_MONITOR, monitor)
}

/// Whether a listener can have policies at all.
pub(crate) fn l7policy(listener: &Listener) -> Result<(), Fault> {
    if listener.protocol.is_http() {
        return Ok(());
    }
    Err(Fault::not_implemented(
        "listener_id",
        listener.id,
        format!(
            "L7 policies need an HTTP listener, this one is {}",
            listener.protocol
        ),
    ))
}

/// A rule as it would be stored.
pub(crate) fn l7rule(rule: &L7Rule) -> Result<(), Fault> {
    walk(L7RULE, rule)
}

/// What the protocol matrix allows but no path serves.
fn pair(listener: &Listener, pool: &Pool) -> Result<(), Fault> {
    if listener.protocol == ListenerProtocol::Tcp && pool.protocol != PoolProtocol::Tcp {
        return Err(Fault::not_implemented(
            "protocol",
            pool.protocol,
            "a TCP listener is served with TCP pools only",
        ));
    }
    Ok(())
}

fn walk<T>(rows: &[Row<T>], object: &T) -> Result<(), Fault> {
    for row in rows {
        if let Some(value) = (row.refused)(object) {
            return Err(Fault::not_implemented(row.field, value, row.reason));
        }
    }
    Ok(())
}

fn terminates_tls(listener: &Listener) -> bool {
    listener.protocol == ListenerProtocol::TerminatedHttps
}

fn given(refused: bool, value: impl std::fmt::Display) -> Option<String> {
    refused.then(|| value.to_string())
}

fn text(value: impl std::fmt::Display) -> String {
    value.to_string()
}
