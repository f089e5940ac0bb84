//! Octavia's enumerations in their wire spelling (contract section 2). Case-sensitive.

use serde::{Deserialize, Serialize};

/// A value outside an enumeration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not one of {allowed}")]
pub struct UnknownValue {
    /// What was given.
    pub value: String,
    /// What could have been given, joined by `, `.
    pub allowed: String,
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the contract's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The wire spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::enums::UnknownValue;

            fn from_str(text: &str) -> Result<Self, $crate::enums::UnknownValue> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| $crate::enums::UnknownValue {
                    value: text.to_owned(),
                    allowed: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

pub(crate) use wire_enum;

wire_enum!(
    /// Where an object stands on its way to what was asked for (contract 4.1).
    ProvisioningStatus {
        PendingCreate = "PENDING_CREATE",
        PendingUpdate = "PENDING_UPDATE",
        PendingDelete = "PENDING_DELETE",
        Active = "ACTIVE",
        Error = "ERROR",
        Deleted = "DELETED",
    }
);
wire_enum!(
    /// What is observed of an object (contract 4.2).
    OperatingStatus {
        Online = "ONLINE",
        Offline = "OFFLINE",
        Degraded = "DEGRADED",
        Error = "ERROR",
        Draining = "DRAINING",
        NoMonitor = "NO_MONITOR",
    }
);
wire_enum!(
    /// How many amphorae a load balancer has and how they share its traffic.
    Topology {
        Single = "SINGLE",
        ActiveStandby = "ACTIVE_STANDBY",
    }
);
wire_enum!(
    /// What kind of port carries an address.
    #[derive(Default)]
    VnicType {
        /// A virtual one.
        #[default]
        Normal = "normal",
        /// An SR-IOV virtual function.
        Direct = "direct",
    }
);
wire_enum!(
    /// How the data path hands a client's packets to members.
    #[derive(Default)]
    ForwardingMode {
        /// Both ways through us, with an address of ours: members need nothing.
        #[default]
        Nat = "nat",
        /// One way, on the members' own link: members have the VIP on a loopback.
        DsrL2 = "dsr-l2",
        /// One way, in an IPIP tunnel: members have the VIP and take tunnels.
        DsrIpip = "dsr-ipip",
    }
);
wire_enum!(
    /// Who may handle listeners that the data path could serve.
    #[derive(Default)]
    L4Path {
        /// The data path where it can, else an amphora.
        #[default]
        Auto = "auto",
        /// The data path.
        Xdp = "xdp",
        /// Always an amphora.
        Proxy = "proxy",
    }
);
wire_enum!(
    /// A listener's protocol.
    ListenerProtocol {
        Http = "HTTP",
        Https = "HTTPS",
        Tcp = "TCP",
        TerminatedHttps = "TERMINATED_HTTPS",
        Udp = "UDP",
        Sctp = "SCTP",
        Prometheus = "PROMETHEUS",
    }
);
wire_enum!(
    /// A pool's protocol.
    PoolProtocol {
        Http = "HTTP",
        Https = "HTTPS",
        Proxy = "PROXY",
        ProxyV2 = "PROXYV2",
        Tcp = "TCP",
        Udp = "UDP",
        Sctp = "SCTP",
    }
);
wire_enum!(
    /// How a pool chooses a member.
    LbAlgorithm {
        RoundRobin = "ROUND_ROBIN",
        LeastConnections = "LEAST_CONNECTIONS",
        SourceIp = "SOURCE_IP",
        SourceIpPort = "SOURCE_IP_PORT",
    }
);
wire_enum!(
    /// How a client is kept on its member.
    SessionPersistenceType {
        SourceIp = "SOURCE_IP",
        HttpCookie = "HTTP_COOKIE",
        AppCookie = "APP_COOKIE",
    }
);
wire_enum!(
    /// How a member's health is probed.
    HealthMonitorType {
        Http = "HTTP",
        Https = "HTTPS",
        Ping = "PING",
        Tcp = "TCP",
        TlsHello = "TLS-HELLO",
        UdpConnect = "UDP-CONNECT",
        Sctp = "SCTP",
    }
);
wire_enum!(
    /// What an L7 policy does with a request it matches.
    L7PolicyAction {
        Reject = "REJECT",
        RedirectToUrl = "REDIRECT_TO_URL",
        RedirectToPool = "REDIRECT_TO_POOL",
        RedirectPrefix = "REDIRECT_PREFIX",
    }
);
wire_enum!(
    /// What an L7 rule looks at.
    L7RuleType {
        Cookie = "COOKIE",
        FileType = "FILE_TYPE",
        Header = "HEADER",
        HostName = "HOST_NAME",
        Path = "PATH",
        SslConnHasCert = "SSL_CONN_HAS_CERT",
        SslVerifyResult = "SSL_VERIFY_RESULT",
        SslDnField = "SSL_DN_FIELD",
    }
);
wire_enum!(
    /// How an L7 rule compares.
    L7RuleCompareType {
        Contains = "CONTAINS",
        EndsWith = "ENDS_WITH",
        EqualTo = "EQUAL_TO",
        Regex = "REGEX",
        StartsWith = "STARTS_WITH",
    }
);
wire_enum!(
    /// Whether clients of a TLS listener must show a certificate.
    #[derive(Default)]
    ClientAuthentication {
        #[default]
        None = "NONE",
        Optional = "OPTIONAL",
        Mandatory = "MANDATORY",
    }
);
wire_enum!(
    /// An amphora's part in its load balancer.
    AmphoraRole {
        Master = "MASTER",
        Backup = "BACKUP",
        Standalone = "STANDALONE",
    }
);
wire_enum!(
    /// An amphora's life.
    AmphoraStatus {
        Allocated = "ALLOCATED",
        Booting = "BOOTING",
        Ready = "READY",
        PendingCreate = "PENDING_CREATE",
        PendingDelete = "PENDING_DELETE",
        Deleted = "DELETED",
        Error = "ERROR",
        FailoverStopped = "FAILOVER_STOPPED",
    }
);

impl ProvisioningStatus {
    /// Whether an API change may touch the object (contract 4.1: ACTIVE only).
    #[must_use]
    pub const fn is_mutable(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether a load balancer in this state may be deleted or failed over.
    #[must_use]
    pub const fn is_deletable(self) -> bool {
        matches!(self, Self::Active | Self::Error)
    }

    /// Whether work is under way.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(
            self,
            Self::PendingCreate | Self::PendingUpdate | Self::PendingDelete
        )
    }
}

/// The L4 protocol a listener occupies its port with: ports conflict only within one (contract 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum L4Protocol {
    /// TCP and everything on it.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl L4Protocol {
    /// IP protocol number (IANA).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl ListenerProtocol {
    /// The L4 protocol below.
    #[must_use]
    pub const fn l4(self) -> L4Protocol {
        match self {
            Self::Http | Self::Https | Self::Tcp | Self::TerminatedHttps | Self::Prometheus => {
                L4Protocol::Tcp
            }
            Self::Udp => L4Protocol::Udp,
            Self::Sctp => L4Protocol::Sctp,
        }
    }

    /// Whether the proxy looks into HTTP on this listener (L7 policies are possible).
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::TerminatedHttps)
    }
}
