//! A tenant's health monitor, made ready to run against one member.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lb_model::{
    enums::HealthMonitorType,
    id::{MemberId, PoolId},
    resource::HealthMonitor,
    spec::{MemberSpec, PoolSpec},
};

use crate::{codes::ExpectedCodes, health::Thresholds, source::Sources};

/// What is asked of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A TCP connection.
    Tcp,
    /// A TCP connection, a request, a status code.
    Http {
        /// The whole request, as sent.
        request: Vec<u8>,
        /// Codes that pass.
        expected: ExpectedCodes,
    },
    /// As [`Self::Http`] within TLS; the member's certificate is not looked at.
    Https {
        /// The whole request, as sent.
        request: Vec<u8>,
        /// Codes that pass.
        expected: ExpectedCodes,
        /// Server name to ask for.
        name: Option<String>,
    },
    /// The first record of a TLS handshake.
    TlsHello,
    /// ICMP echo.
    Ping,
    /// A datagram that is not refused.
    UdpConnect,
    /// An SCTP INIT that is acknowledged.
    Sctp,
}

/// One member to probe, and how. Equal plans need no restart of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// Pool.
    pub pool_id: PoolId,
    /// Member.
    pub member_id: MemberId,
    /// Where to.
    pub target: SocketAddr,
    /// Where from.
    pub source: Option<IpAddr>,
    /// What.
    pub check: Check,
    /// From the start of one check to the start of the next.
    pub delay: Duration,
    /// For one check as a whole.
    pub timeout: Duration,
    /// When health turns.
    pub thresholds: Thresholds,
    /// What was known before this process.
    pub last_known_up: Option<bool>,
}

/// The plans for a pool: one per member; none without a monitor.
#[must_use]
pub fn plans(pool: &PoolSpec, sources: &Sources) -> Vec<ProbePlan> {
    let Some(monitor) = &pool.health_monitor else {
        return Vec::new();
    };
    pool.members
        .iter()
        .map(|member| plan(pool.id, member, monitor, sources))
        .collect()
}

fn plan(
    pool_id: PoolId,
    member: &MemberSpec,
    monitor: &HealthMonitor,
    sources: &Sources,
) -> ProbePlan {
    let target = SocketAddr::new(
        member.monitor_address.unwrap_or(member.address),
        member.monitor_port.unwrap_or(member.port),
    );
    ProbePlan {
        pool_id,
        member_id: member.id,
        target,
        source: sources.towards(target.ip(), member.subnet_id),
        check: check(monitor, target),
        delay: Duration::from_secs(monitor.delay.max(1).into()),
        timeout: Duration::from_secs(monitor.timeout.max(1).into()),
        thresholds: Thresholds {
            rise: monitor.max_retries,
            fall: monitor.max_retries_down,
        },
        last_known_up: member.last_known_up,
    }
}

fn check(monitor: &HealthMonitor, target: SocketAddr) -> Check {
    let expected = || ExpectedCodes::parse(monitor.expected_codes.as_deref().unwrap_or("200"));
    match monitor.kind {
        HealthMonitorType::Tcp => Check::Tcp,
        HealthMonitorType::Http => Check::Http {
            request: request(monitor, target),
            expected: expected(),
        },
        HealthMonitorType::Https => Check::Https {
            request: request(monitor, target),
            expected: expected(),
            name: monitor.domain_name.clone(),
        },
        HealthMonitorType::Ping => Check::Ping,
        HealthMonitorType::TlsHello => Check::TlsHello,
        HealthMonitorType::UdpConnect => Check::UdpConnect,
        HealthMonitorType::Sctp => Check::Sctp,
    }
}

/// `GET / HTTP/1.0` without Host unless told otherwise; Host only with 1.1 (contract 10.6).
fn request(monitor: &HealthMonitor, target: SocketAddr) -> Vec<u8> {
    let method = monitor.http_method.as_deref().unwrap_or("GET");
    let path = monitor.url_path.as_deref().unwrap_or("/");
    let mut request = if monitor.http_version.as_deref() == Some("1.1") {
        // A 1.1 request without Host is refused by most servers, so the member's address stands in.
        let host = monitor
            .domain_name
            .clone()
            .unwrap_or_else(|| target.to_string());
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n")
    } else {
        format!("{method} {path} HTTP/1.0\r\n")
    };
    if matches!(method, "POST" | "PUT" | "PATCH") {
        request.push_str("content-length: 0\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}
