//! Who handles a listener's packets: XDP, or the amphora that XDP steers to.
//!
//! What: [`decide`] looks at a listener, its default pool and what the flavor says, and answers with
//! the path and the one reason that decided, for `lbaas explain` and for people.
//!
//! Invariants: pure, and a function of what a specification holds, so that server and agent cannot
//! disagree. What only a proxy can do (looking into the payload, adding to it, a second connection
//! of its own) is never given to XDP, whatever the flavor asks for.

use std::fmt;

use lb_model::{
    defaults,
    enums::{ForwardingMode, L4Path, ListenerProtocol, PoolProtocol, SessionPersistenceType},
    spec::{ListenerPath, ListenerSpec, LoadBalancerSpec},
};

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct PathInputs<'a> {
    /// The listener's protocol.
    pub protocol: ListenerProtocol,
    /// Milliseconds.
    pub timeout_tcp_inspect_ms: u64,
    /// Milliseconds.
    pub timeout_member_connect_ms: u64,
    /// Its default pool.
    pub pool: Option<PoolInputs>,
    /// What the flavor says of who.
    pub l4_path: L4Path,
    /// What the flavor says of how.
    pub forwarding_mode: ForwardingMode,
    /// IP versions of the VIPs.
    pub vips: &'a Families,
}

/// What of the pool the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct PoolInputs {
    /// Protocol towards members.
    pub protocol: PoolProtocol,
    /// TLS towards members.
    pub tls_enabled: bool,
    /// How clients are kept on members.
    pub persistence: Option<SessionPersistenceType>,
    /// IP versions of the members.
    pub members: Families,
}

/// Which IP versions there are among some addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Those of `addresses`.
    pub fn of(addresses: impl Iterator<Item = std::net::IpAddr>) -> Self {
        addresses.fold(Self::default(), |mut all, address| {
            all.v4 |= address.is_ipv4();
            all.v6 |= address.is_ipv6();
            all
        })
    }

    const fn any(self) -> bool {
        self.v4 || self.v6
    }

    /// Whether each version of `self` is one of `other`'s.
    const fn within(self, other: Self) -> bool {
        (!self.v4 || other.v4) && (!self.v6 || other.v6)
    }
}

/// Why a listener has its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathReason {
    /// XDP: whole flows are balanced, and nothing asks for more.
    Flows,
    /// XDP: the flavor says so, at the cost of `timeout_member_connect`.
    FlavorXdp,
    /// Amphora: the protocol is one that is looked into.
    Layer7,
    /// Amphora: the flavor says so.
    FlavorProxy,
    /// Amphora: the pool speaks the PROXY protocol.
    ProxyProtocol,
    /// Amphora: TLS towards members.
    MemberTls,
    /// Amphora: clients are kept by a cookie.
    CookiePersistence,
    /// Amphora: content is waited for before a member is chosen.
    TcpInspect,
    /// Amphora: members are given up after a time of the listener's own.
    MemberConnectTimeout,
    /// Amphora: clients of one IP version, members of the other.
    MemberFamilies,
}

impl PathReason {
    /// The path that it leads to.
    #[must_use]
    pub const fn path(self) -> ListenerPath {
        match self {
            Self::Flows | Self::FlavorXdp => ListenerPath::Xdp,
            _ => ListenerPath::Amphora,
        }
    }

    /// For programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::FlavorXdp => "flavor_xdp",
            Self::Layer7 => "layer7",
            Self::FlavorProxy => "flavor_proxy",
            Self::ProxyProtocol => "proxy_protocol",
            Self::MemberTls => "member_tls",
            Self::CookiePersistence => "cookie_persistence",
            Self::TcpInspect => "tcp_inspect",
            Self::MemberConnectTimeout => "member_connect_timeout",
            Self::MemberFamilies => "member_families",
        }
    }
}

impl fmt::Display for PathReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flows => "whole flows are balanced, which XDP does",
            Self::FlavorXdp => "the flavor's l4_path is xdp: timeout_member_connect is not heeded",
            Self::Layer7 => "the listener's protocol is terminated by the amphora",
            Self::FlavorProxy => "the flavor's l4_path is proxy",
            Self::ProxyProtocol => "the pool's protocol is PROXY or PROXYV2, which adds a header",
            Self::MemberTls => "the pool has tls_enabled",
            Self::CookiePersistence => "the pool keeps clients by a cookie",
            Self::TcpInspect => "timeout_tcp_inspect is not 0",
            Self::MemberConnectTimeout => "timeout_member_connect is not the default",
            Self::MemberFamilies => {
                "there are VIPs of an IP version that no member has, and NAT keeps the version"
            }
        })
    }
}

/// Who handles a listener's packets ([`PathReason::path`]), and why.
#[must_use]
pub fn decide(inputs: &PathInputs<'_>) -> PathReason {
    match inputs.protocol {
        ListenerProtocol::Http
        | ListenerProtocol::TerminatedHttps
        | ListenerProtocol::Prometheus => return PathReason::Layer7,
        // No proxy speaks it; pools of both datagram protocols know none of what follows.
        ListenerProtocol::Sctp => return PathReason::Flows,
        ListenerProtocol::Udp if inputs.l4_path == L4Path::Proxy => {
            return PathReason::FlavorProxy;
        }
        ListenerProtocol::Udp => return PathReason::Flows,
        ListenerProtocol::Tcp | ListenerProtocol::Https => {}
    }
    if inputs.l4_path == L4Path::Proxy {
        return PathReason::FlavorProxy;
    }
    if let Some(reason) = inputs.pool.and_then(|pool| proxied(inputs, pool)) {
        return reason;
    }
    if inputs.timeout_tcp_inspect_ms > 0 {
        return PathReason::TcpInspect;
    }
    let default = u64::try_from(defaults::TIMEOUT_MEMBER_CONNECT_MS);
    if default != Ok(inputs.timeout_member_connect_ms) {
        return match inputs.l4_path {
            L4Path::Xdp => PathReason::FlavorXdp,
            L4Path::Auto | L4Path::Proxy => PathReason::MemberConnectTimeout,
        };
    }
    PathReason::Flows
}

/// The same for a listener of a specification: what the agent knows.
#[must_use]
pub fn decide_in(spec: &LoadBalancerSpec, listener: &ListenerSpec) -> PathReason {
    let id = listener.default_pool_id;
    let pool = spec.pools.iter().find(|pool| Some(pool.id) == id);
    decide(&PathInputs {
        protocol: listener.protocol,
        timeout_tcp_inspect_ms: listener.timeout_tcp_inspect_ms,
        timeout_member_connect_ms: listener.timeout_member_connect_ms,
        pool: pool.map(|pool| PoolInputs {
            protocol: pool.protocol,
            tls_enabled: pool.tls.is_some(),
            persistence: pool.session_persistence.as_ref().map(|kept| kept.kind),
            members: Families::of(pool.members.iter().map(|member| member.address)),
        }),
        l4_path: spec.l4_path,
        forwarding_mode: spec.forwarding_mode,
        vips: &Families::of(spec.vips.iter().map(|vip| vip.address)),
    })
}

/// Why a pool needs a proxy, when it does.
fn proxied(inputs: &PathInputs<'_>, pool: PoolInputs) -> Option<PathReason> {
    if matches!(pool.protocol, PoolProtocol::Proxy | PoolProtocol::ProxyV2) {
        return Some(PathReason::ProxyProtocol);
    }
    if pool.tls_enabled {
        return Some(PathReason::MemberTls);
    }
    if matches!(
        pool.persistence,
        Some(SessionPersistenceType::HttpCookie | SessionPersistenceType::AppCookie)
    ) {
        return Some(PathReason::CookiePersistence);
    }
    // An outer header may be of another version than what is in it.
    let crosses = inputs.forwarding_mode == ForwardingMode::DsrIpip;
    let reached = crosses || inputs.vips.within(pool.members);
    (pool.members.any() && !reached).then_some(PathReason::MemberFamilies)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Families = Families {
        v4: true,
        v6: false,
    };
    const BOTH: Families = Families { v4: true, v6: true };

    fn pool() -> PoolInputs {
        PoolInputs {
            protocol: PoolProtocol::Tcp,
            tls_enabled: false,
            persistence: None,
            members: BOTH,
        }
    }

    fn inputs(protocol: ListenerProtocol) -> PathInputs<'static> {
        PathInputs {
            protocol,
            timeout_tcp_inspect_ms: 0,
            timeout_member_connect_ms: 5_000,
            pool: Some(pool()),
            l4_path: L4Path::Auto,
            forwarding_mode: ForwardingMode::Nat,
            vips: &BOTH,
        }
    }

    #[test]
    fn each_protocol_has_its_path_and_the_flavor_changes_some() {
        use ListenerProtocol as P;
        use PathReason as R;
        // Columns: auto, xdp, proxy.
        let table = [
            (P::Http, [R::Layer7; 3]),
            (P::TerminatedHttps, [R::Layer7; 3]),
            (P::Prometheus, [R::Layer7; 3]),
            (P::Tcp, [R::Flows, R::Flows, R::FlavorProxy]),
            (P::Https, [R::Flows, R::Flows, R::FlavorProxy]),
            (P::Udp, [R::Flows, R::Flows, R::FlavorProxy]),
            (P::Sctp, [R::Flows; 3]),
        ];
        assert_eq!(table.len(), P::ALL.len());
        for (protocol, row) in table {
            for (l4_path, wanted) in L4Path::ALL.iter().zip(row) {
                let got = decide(&PathInputs {
                    l4_path: *l4_path,
                    ..inputs(protocol)
                });
                assert_eq!(got, wanted, "{protocol} {l4_path}");
            }
        }
    }

    #[test]
    fn what_only_a_proxy_does_goes_to_the_amphora() {
        use PathReason as R;
        type Change = fn(&mut PathInputs<'static>, &mut PoolInputs);
        let table: [(Change, R); 11] = [
            (
                |_, pool| pool.protocol = PoolProtocol::Proxy,
                R::ProxyProtocol,
            ),
            (
                |_, pool| pool.protocol = PoolProtocol::ProxyV2,
                R::ProxyProtocol,
            ),
            (|_, pool| pool.protocol = PoolProtocol::Http, R::Flows),
            (|_, pool| pool.tls_enabled = true, R::MemberTls),
            (
                |_, pool| pool.persistence = Some(SessionPersistenceType::HttpCookie),
                R::CookiePersistence,
            ),
            (
                |_, pool| pool.persistence = Some(SessionPersistenceType::SourceIp),
                R::Flows,
            ),
            (|it, _| it.timeout_tcp_inspect_ms = 1, R::TcpInspect),
            (
                |it, _| it.timeout_member_connect_ms = 5_001,
                R::MemberConnectTimeout,
            ),
            (|_, pool| pool.members = V4, R::MemberFamilies),
            (|_, pool| pool.members = Families::default(), R::Flows),
            (
                |it, pool| {
                    it.forwarding_mode = ForwardingMode::DsrIpip;
                    pool.members = V4;
                },
                R::Flows,
            ),
        ];
        for (change, wanted) in table {
            for protocol in [ListenerProtocol::Tcp, ListenerProtocol::Https] {
                let (mut inputs, mut pool) = (inputs(protocol), pool());
                change(&mut inputs, &mut pool);
                inputs.pool = Some(pool);
                assert_eq!(decide(&inputs), wanted, "{protocol}");
                inputs.l4_path = L4Path::Xdp;
                let forced = match wanted {
                    R::MemberConnectTimeout => R::FlavorXdp,
                    other => other,
                };
                assert_eq!(decide(&inputs), forced, "{protocol} by l4_path: xdp");
            }
        }
    }

    #[test]
    fn a_listener_without_a_pool_waits_for_it_in_xdp() {
        let reason = decide(&PathInputs {
            pool: None,
            ..inputs(ListenerProtocol::Tcp)
        });
        assert_eq!(reason, PathReason::Flows);
        assert_eq!(reason.path(), ListenerPath::Xdp);
    }
}
