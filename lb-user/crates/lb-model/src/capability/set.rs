//! Names of what a data path can do beyond the least, and sets of them.
//!
//! An agent declares the names its host supports; the server judges requests by what every host
//! declares. The least needs no name: HTTP, TERMINATED_HTTPS and TCP listeners, round robin over
//! HTTP members, hashing over TCP members, HTTP and TCP monitors.
//!
//! Invariants: a name means the same for ever; unknown names of a newer agent are passed over.

use std::collections::BTreeSet;

use crate::enums::wire_enum;

wire_enum!(
    /// One thing a data path can do.
    Capability {
        /// TLS passed through to members.
        ListenerHttps = "listener-https",
        /// UDP listeners.
        ListenerUdp = "listener-udp",
        /// SCTP listeners.
        ListenerSctp = "listener-sctp",
        /// Metrics on a port of the load balancer.
        ListenerPrometheus = "listener-prometheus",
        /// TCP listeners that send to pools a proxy must serve.
        ListenerTcpProxied = "listener-tcp-proxied",
        /// `connection_limit` above 0.
        ConnectionLimit = "connection-limit",
        /// `timeout_tcp_inspect` above 0.
        TcpInspect = "tcp-inspect",
        /// Client certificates: asked for, checked, revoked.
        ClientAuthentication = "client-authentication",
        /// Any `tls_ciphers` the contract allows.
        TlsCiphers = "tls-ciphers",
        /// Any `tls_versions` with one of TLSv1.2 and TLSv1.3.
        TlsVersions = "tls-versions",
        /// HTTP/2 without HTTP/1.
        AlpnHttp2Only = "alpn-http2-only",
        /// The Strict-Transport-Security header.
        Hsts = "hsts",
        /// X-Forwarded-IP, X-Client-IP and X-Real-IP.
        InsertClientAddress = "insert-client-address",
        /// The X-SSL-* headers.
        InsertClientCertificate = "insert-client-certificate",
        /// TLS passed through to members.
        PoolHttps = "pool-https",
        /// PROXY protocol, version 1.
        PoolProxy = "pool-proxy",
        /// PROXY protocol, version 2.
        PoolProxyV2 = "pool-proxyv2",
        /// UDP members.
        PoolUdp = "pool-udp",
        /// SCTP members.
        PoolSctp = "pool-sctp",
        /// LEAST_CONNECTIONS behind a proxy.
        ProxyLeastConnections = "proxy-least-connections",
        /// SOURCE_IP behind a proxy.
        ProxySourceIp = "proxy-source-ip",
        /// SOURCE_IP_PORT behind a proxy.
        ProxySourceIpPort = "proxy-source-ip-port",
        /// ROUND_ROBIN for TCP, UDP and SCTP.
        FlowRoundRobin = "flow-round-robin",
        /// LEAST_CONNECTIONS for TCP, UDP and SCTP.
        FlowLeastConnections = "flow-least-connections",
        /// Clients kept by their address.
        PersistenceSourceIp = "persistence-source-ip",
        /// Clients kept by a cookie of ours.
        PersistenceHttpCookie = "persistence-http-cookie",
        /// Clients kept by a cookie of the members'.
        PersistenceAppCookie = "persistence-app-cookie",
        /// TLS towards members, checked and with a certificate when asked for.
        MemberTls = "member-tls",
        /// Members held back until no other is usable.
        MemberBackup = "member-backup",
        /// Members of an IP version that no VIP has.
        MemberFamilies = "member-families",
        /// VIPs on SR-IOV virtual functions.
        VipSriov = "vip-sriov",
        /// Members behind SR-IOV virtual functions.
        MemberSriov = "member-sriov",
        /// HTTP probes over TLS.
        MonitorHttps = "monitor-https",
        /// ICMP echo.
        MonitorPing = "monitor-ping",
        /// TLS handshakes as probes.
        MonitorTlsHello = "monitor-tls-hello",
        /// UDP probes.
        MonitorUdpConnect = "monitor-udp-connect",
        /// SCTP probes.
        MonitorSctp = "monitor-sctp",
        /// L7 rules on client certificates.
        L7ClientCertificate = "l7-client-certificate",
    }
);

/// What this version's data path can do.
const DATA_PATH: &[Capability] = &[
    Capability::ClientAuthentication,
    Capability::TlsCiphers,
    Capability::TlsVersions,
    Capability::AlpnHttp2Only,
    Capability::Hsts,
    Capability::InsertClientAddress,
    Capability::InsertClientCertificate,
    Capability::MemberTls,
    Capability::L7ClientCertificate,
    Capability::MonitorHttps,
    Capability::MonitorPing,
    Capability::MonitorTlsHello,
    Capability::MonitorUdpConnect,
    Capability::MonitorSctp,
    Capability::ListenerPrometheus,
    Capability::PersistenceAppCookie,
    Capability::PersistenceHttpCookie,
    Capability::PoolProxy,
    Capability::PoolProxyV2,
    Capability::ProxyLeastConnections,
    Capability::ProxySourceIp,
    Capability::ProxySourceIpPort,
    Capability::TcpInspect,
    Capability::MemberBackup,
    Capability::PersistenceSourceIp,
    Capability::ConnectionLimit,
    Capability::ListenerTcpProxied,
    Capability::ListenerHttps,
    Capability::ListenerUdp,
    Capability::ListenerSctp,
    Capability::PoolHttps,
    Capability::PoolUdp,
    Capability::PoolSctp,
    Capability::FlowRoundRobin,
    Capability::FlowLeastConnections,
];

/// What a host, or every host, can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(BTreeSet<Capability>);

impl CapabilitySet {
    /// What this version's agent carries out.
    #[must_use]
    pub fn data_path() -> Self {
        DATA_PATH.iter().copied().collect()
    }

    /// Everything the contract allows: what an agent that carries out nothing declares.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.iter().copied().collect()
    }

    /// What was declared, without what is not known here.
    pub fn from_names<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter();
        names
            .filter_map(|name| name.as_ref().parse().ok())
            .collect()
    }

    /// The names to declare.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether it holds a capability.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// What both can do.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.intersection(&other.0).copied().collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_wire_and_unknown_ones_are_passed_over() {
        let mut names = CapabilitySet::all().names();
        assert_eq!(names.len(), Capability::ALL.len());
        names.insert("teleportation".to_owned());
        assert_eq!(CapabilitySet::from_names(&names), CapabilitySet::all());
        let no_names: [&str; 0] = [];
        assert_eq!(
            CapabilitySet::from_names(no_names),
            CapabilitySet::default()
        );
    }

    #[test]
    fn hosts_can_do_what_each_of_them_can() {
        let one: CapabilitySet = [Capability::Hsts, Capability::PoolUdp]
            .into_iter()
            .collect();
        let other: CapabilitySet = [Capability::Hsts, Capability::PoolSctp]
            .into_iter()
            .collect();
        let both: CapabilitySet = [Capability::Hsts].into_iter().collect();
        assert_eq!(one.intersection(&other), both);
        assert_eq!(one.intersection(&CapabilitySet::all()), one);
        assert!(both.has(Capability::Hsts));
        assert!(!both.has(Capability::PoolUdp));
    }
}
