//! Keeping a client on its member (contract 10.5).
//!
//! HTTP_COOKIE needs no state: the cookie names the member. SOURCE_IP and APP_COOKIE are tables of
//! ties, as HAProxy's stick tables: one a listener and pool, bounded, the least recently used go
//! first. A worker asks its own table only. What it learns is told to the control thread, which
//! tells the other workers and, through the agent, the other amphora of the pair; a new amphora asks
//! for all there is. Between a tie's making and its arrival elsewhere lie milliseconds, and a client
//! that is balanced anew then gets the tie that came last.
//!
//! Invariants: a tie to a member that is down, switched off or gone is passed over and made anew; one
//! to a drained member (weight 0) or to a backup holds.

mod book;
mod cookie;
mod ties;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use lb_model::{enums::SessionPersistenceType, resource::SessionPersistence};

pub(crate) use self::{
    book::{Book, Learned, Place, learned},
    cookie::{named, strip},
    ties::{COOKIE_BYTES_MAX, Ties},
};

/// The cookie of HTTP_COOKIE.
pub(crate) const COOKIE: &str = "SRV";

/// UDP and SCTP pools keep a client this long unless told otherwise, in seconds.
const TIMEOUT_S: u64 = 360;

/// How a pool keeps clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Persistence {
    #[default]
    None,
    SourceIp(Source),
    HttpCookie,
    /// Learned from members' answers.
    AppCookie {
        name: String,
    },
}

/// Which addresses are one client, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Leading bits that count.
    v4: u8,
    v6: u8,
    /// `None`: for ever.
    pub(crate) timeout: Option<Duration>,
}

impl Persistence {
    /// `datagrams`: a UDP or SCTP pool, whose ties end by themselves.
    pub(crate) fn of(spec: Option<&SessionPersistence>, datagrams: bool) -> Self {
        let Some(spec) = spec else {
            return Self::None;
        };
        match spec.kind {
            SessionPersistenceType::SourceIp => Self::SourceIp(Source::of(spec, datagrams)),
            SessionPersistenceType::HttpCookie => Self::HttpCookie,
            SessionPersistenceType::AppCookie => spec
                .cookie_name
                .clone()
                .map_or(Self::None, |name| Self::AppCookie { name }),
        }
    }

    /// Whether ties are kept in a table.
    pub(crate) fn has_table(&self) -> bool {
        matches!(self, Self::SourceIp(_) | Self::AppCookie { .. })
    }
}

impl Source {
    fn of(spec: &SessionPersistence, datagrams: bool) -> Self {
        let mask: Option<IpAddr> = spec
            .persistence_granularity
            .as_deref()
            .and_then(|mask| mask.parse().ok());
        let prefix = |mask: IpAddr| {
            ipnet::ip_mask_to_prefix(mask).or_else(|_no_mask| match mask {
                // A prefix as Octavia writes it for IPv6.
                IpAddr::V6(v6) => {
                    u8::try_from(v6.to_bits()).map_err(|_large| ipnet::PrefixLenError)
                }
                IpAddr::V4(_) => Err(ipnet::PrefixLenError),
            })
        };
        let of = |v6: bool, whole: u8| {
            mask.filter(|mask| mask.is_ipv6() == v6)
                .and_then(|mask| prefix(mask).ok())
                .map_or(whole, |prefix| prefix.min(whole))
        };
        let seconds = spec
            .persistence_timeout
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0)
            .unwrap_or(TIMEOUT_S);
        Self {
            v4: of(false, 32),
            v6: of(true, 128),
            timeout: datagrams.then(|| Duration::from_secs(seconds)),
        }
    }

    /// What stands for the client: its network, IPv4 mapped into IPv6.
    pub(crate) fn key(self, client: SocketAddr) -> [u8; 16] {
        let address = client.ip().to_canonical();
        let prefix = if address.is_ipv4() { self.v4 } else { self.v6 };
        let network = IpNet::new(address, prefix).map_or(address, |net| net.network());
        match network {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(timeout: Option<i64>, granularity: Option<&str>) -> SessionPersistence {
        SessionPersistence {
            kind: SessionPersistenceType::SourceIp,
            cookie_name: None,
            persistence_timeout: timeout,
            persistence_granularity: granularity.map(str::to_owned),
        }
    }

    fn same(source: Source, one: &str, other: &str) -> bool {
        let key = |text: &str| source.key(text.parse().expect("an address"));
        key(one) == key(other)
    }

    #[test]
    fn granularity_decides_who_is_one_client() {
        let whole = Source::of(&spec(None, None), false);
        assert!(same(whole, "192.0.2.1:5", "[::ffff:192.0.2.1]:6"));
        assert!(!same(whole, "192.0.2.1:5", "192.0.2.2:5"));
        let net = Source::of(&spec(None, Some("255.255.255.0")), true);
        assert!(same(net, "192.0.2.1:5", "192.0.2.250:5"));
        assert!(!same(net, "192.0.2.1:5", "192.0.3.1:5"));
        assert!(!same(net, "[2001:db8::1]:5", "[2001:db8::2]:5"));
        for v6 in ["ffff:ffff:ffff:ffff::", "::40"] {
            let net = Source::of(&spec(None, Some(v6)), true);
            assert!(same(net, "[2001:db8::1]:5", "[2001:db8::ffff]:5"), "{v6}");
            assert!(!same(net, "192.0.2.1:5", "192.0.2.2:5"));
        }
    }

    #[test]
    fn ties_of_datagrams_end_and_others_do_not() {
        let timeout = |given, datagrams| Source::of(&spec(given, None), datagrams).timeout;
        assert_eq!(timeout(None, false), None);
        assert_eq!(timeout(None, true), Some(Duration::from_secs(360)));
        assert_eq!(timeout(Some(5), true), Some(Duration::from_secs(5)));
    }
}
