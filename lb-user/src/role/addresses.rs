//! The addresses of the machine a server runs on: no member may have one of them, or a load balancer
//! would be a way into the control plane.
//!
//! Read once at start, from the namespace the process was started in. Left out: addresses that come
//! later (an agent on the same host tells of those).

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr},
};

/// Every local address, of both families.
pub(crate) fn of_this_machine() -> BTreeSet<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut addresses = local_ipv4(&read("/proc/self/net/fib_trie"));
    addresses.extend(local_ipv6(&read("/proc/self/net/if_inet6")));
    addresses
}

/// Leaves of the routing trie that are the host's own.
fn local_ipv4(fib_trie: &str) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    let mut leaf: Option<IpAddr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            addresses.extend(leaf);
        }
    }
    addresses
}

/// One address a line, as 32 hexadecimal digits.
fn local_ipv6(if_inet6: &str) -> BTreeSet<IpAddr> {
    let parse = |line: &str| {
        let digits = line.split_whitespace().next()?;
        let number = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(number)))
    };
    if_inet6.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_host_itself_are_taken() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.0\n        /24 link UNICAST\nLocal:\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        let found: Vec<String> = local_ipv4(trie).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.7"]);
        let six = "20010db8000000000000000000000007 02 40 00 80 eth0\n";
        let found: Vec<String> = local_ipv6(six).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["2001:db8::7"]);
    }

    #[test]
    fn loopback_is_always_there() {
        assert!(of_this_machine().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
