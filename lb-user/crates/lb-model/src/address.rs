//! Which addresses no member and no monitor may have (design invariant 7).
//!
//! A member is never a hole into the host: what would reach this machine itself, its neighbours by
//! accident, or somebody else's amphora is refused here, and again where packets and probes leave.
//! IPv6 forms that carry an IPv4 address (mapped, compatible) are judged by what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::fault::Fault;

/// Refused whatever the configuration says (Octavia's `reserved_ips`: the metadata service).
const RESERVED: &[Ipv4Addr] = &[Ipv4Addr::new(169, 254, 169, 254)];

/// Addresses that are known to be ours or denied, gathered by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForbiddenAddresses {
    /// Configured deny list (`members.deny_cidrs`).
    pub deny: Vec<IpNet>,
    /// Addresses of the hosts, the agents, the server, the database.
    pub hosts: Vec<IpAddr>,
    /// Amphora and SNAT addresses of load balancers.
    pub amphorae: Vec<IpAddr>,
}

impl ForbiddenAddresses {
    /// Refuses `address` in `field` when a member must not have it.
    pub fn check(&self, field: &str, address: IpAddr) -> Result<(), Fault> {
        match self.reason(address) {
            None => Ok(()),
            Some(reason) => Err(Fault::not_an_option(
                address,
                format!("member {field}: {reason}"),
            )),
        }
    }

    /// Why a member must not have this address; `None`: it may.
    #[must_use]
    pub fn reason(&self, address: IpAddr) -> Option<&'static str> {
        let plain = plain(address);
        intrinsic(plain)
            .or_else(|| self.configured(plain))
            .or_else(|| {
                (plain != address)
                    .then(|| self.configured(address))
                    .flatten()
            })
    }

    fn configured(&self, address: IpAddr) -> Option<&'static str> {
        if self.hosts.iter().any(|host| plain(*host) == address) {
            Some("it belongs to a host of the load balancer service")
        } else if self.amphorae.iter().any(|own| plain(*own) == address) {
            Some("it belongs to an amphora")
        } else if self.deny.iter().any(|net| net.contains(&address)) {
            Some("it is denied by the operator")
        } else {
            None
        }
    }
}

/// The IPv4 address inside an IPv6 form of it.
#[must_use]
pub fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
    }
}

/// `::ffff:a.b.c.d` and `::a.b.c.d`, but neither `::` nor `::1`.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return Some(v4);
    }
    let compatible = v6.segments().iter().take(6).all(|segment| *segment == 0);
    match v6.to_ipv4() {
        Some(v4) if compatible && !v6.is_unspecified() && !v6.is_loopback() => Some(v4),
        _ => None,
    }
}

fn intrinsic(address: IpAddr) -> Option<&'static str> {
    let (reserved, broadcast, link_local, this_network) = match address {
        IpAddr::V4(v4) => (
            RESERVED.contains(&v4),
            v4.is_broadcast(),
            v4.is_link_local(),
            v4.octets().first() == Some(&0),
        ),
        IpAddr::V6(v6) => (false, false, v6.is_unicast_link_local(), false),
    };
    if reserved {
        Some("it is reserved")
    } else if address.is_loopback() {
        Some("it is a loopback address")
    } else if address.is_unspecified() || this_network {
        Some("it is an unspecified address")
    } else if address.is_multicast() {
        Some("it is a multicast address")
    } else if broadcast {
        Some("it is a broadcast address")
    } else if link_local {
        Some("it is a link-local address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden() -> ForbiddenAddresses {
        ForbiddenAddresses {
            deny: vec![
                "198.51.100.0/24".parse().unwrap(),
                "2001:db8:dead::/48".parse().unwrap(),
            ],
            hosts: vec![
                "203.0.113.1".parse().unwrap(),
                "2001:db8::1".parse().unwrap(),
            ],
            amphorae: vec!["192.0.2.20".parse().unwrap()],
        }
    }

    #[test]
    fn addresses_that_would_reach_us_are_refused_in_every_spelling() {
        for bad in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "239.1.1.1",
            "ff02::1",
            "::ffff:224.0.0.1",
            "255.255.255.255",
            "169.254.1.1",
            "fe80::1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "203.0.113.1",
            "::ffff:203.0.113.1",
            "2001:db8::1",
            "192.0.2.20",
            "::ffff:192.0.2.20",
            "198.51.100.7",
            "::ffff:198.51.100.7",
            "2001:db8:dead::7",
        ] {
            let address = bad.parse().unwrap();
            let fault = forbidden().check("address", address).unwrap_err();
            assert!(
                fault
                    .public()
                    .contains("is not a valid option for member address"),
                "{bad}"
            );
        }
    }

    #[test]
    fn ordinary_addresses_pass() {
        for good in [
            "192.0.2.10",
            "10.0.0.1",
            "2001:db8::2",
            "::ffff:192.0.2.10",
            "fd00::1",
        ] {
            assert_eq!(
                forbidden().check("address", good.parse().unwrap()),
                Ok(()),
                "{good}"
            );
        }
    }
}
