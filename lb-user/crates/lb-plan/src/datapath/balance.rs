//! What of a listener and its pool decides how flows are balanced, in the terms of the maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::maps::{ListenerRecord, algorithm as map, limits, listener_flags};
use lb_model::{
    enums::{L4Protocol, LbAlgorithm, SessionPersistenceType},
    resource::SessionPersistence,
    spec::{ListenerSpec, PoolSpec},
};

/// Seconds that keepalived, Octavia's UDP and SCTP balancer, keeps a client by default.
const DATAGRAM_PERSISTENCE_S: u32 = 360;

/// The pool's algorithm in the maps.
pub(super) const fn algorithm(pool: &PoolSpec) -> u32 {
    match pool.lb_algorithm {
        LbAlgorithm::RoundRobin => map::ROUND_ROBIN,
        LbAlgorithm::LeastConnections => map::LEAST_CONNECTIONS,
        LbAlgorithm::SourceIp | LbAlgorithm::SourceIpPort => map::HASH,
    }
}

/// Fills what does not depend on places.
pub(super) fn fill(record: &mut ListenerRecord, listener: &ListenerSpec, pool: Option<&PoolSpec>) {
    let limit = listener.connection_limit.unwrap_or(0);
    record.connection_limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let idle = listener
        .timeout_client_data_ms
        .max(listener.timeout_member_data_ms);
    record.idle_s = seconds(idle).clamp(1, limits::IDLE_MAX_S);
    record.connect_s = seconds(listener.timeout_member_connect_ms).max(1);
    let Some(pool) = pool else { return };
    record.algorithm = algorithm(pool);
    if pool.lb_algorithm == LbAlgorithm::SourceIp {
        record.flags |= listener_flags::HASH_ADDR_ONLY;
    }
    if let Some(kept) = &pool.session_persistence
        && kept.kind == SessionPersistenceType::SourceIp
    {
        record.persistence_s = persistence(kept, listener.l4());
        let (v4, v6) = granularity(kept.persistence_granularity.as_deref());
        (record.persistence_bits_v4, record.persistence_bits_v6) = (v4, v6);
    }
}

fn seconds(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds.div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// HAProxy keeps a client's entry until its table is full; so is it here, within what a stamp tells.
fn persistence(kept: &SessionPersistence, l4: L4Protocol) -> u32 {
    let default = match l4 {
        L4Protocol::Tcp => limits::IDLE_MAX_S,
        L4Protocol::Udp | L4Protocol::Sctp => DATAGRAM_PERSISTENCE_S,
    };
    let given = kept.persistence_timeout;
    let given = given.and_then(|given| u32::try_from(given).ok());
    given.unwrap_or(default).clamp(1, limits::IDLE_MAX_S)
}

/// Leading bits that count, of either family: a netmask is of one of them.
fn granularity(mask: Option<&str>) -> (u8, u8) {
    const WHOLE: (u8, u8) = (32, 128);
    let Some(mask) = mask.map(str::trim) else {
        return WHOLE;
    };
    let ones = |ones: u32, most: u8| u8::try_from(ones).unwrap_or(most).min(most);
    match mask.parse() {
        Ok(IpAddr::V4(mask)) => (ones(Ipv4Addr::to_bits(mask).leading_ones(), 32), 128),
        Ok(IpAddr::V6(mask)) => (32, ones(Ipv6Addr::to_bits(mask).leading_ones(), 128)),
        // keepalived takes a prefix length for IPv6.
        Err(_not_an_address) => match mask.trim_start_matches('/').parse::<u8>() {
            Ok(bits) => (bits.min(32), bits.min(128)),
            Err(_nothing) => WHOLE,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netmask_is_read_in_any_of_its_forms() {
        for (mask, wanted) in [
            (None, (32, 128)),
            (Some("255.255.255.0"), (24, 128)),
            (Some("0.0.0.0"), (0, 128)),
            (Some("ffff:ffff::"), (32, 32)),
            (Some("64"), (32, 64)),
            (Some("nonsense"), (32, 128)),
        ] {
            assert_eq!(granularity(mask), wanted, "{mask:?}");
        }
    }

    #[test]
    fn a_client_is_kept_as_long_as_the_pool_says() {
        let kept = |timeout| SessionPersistence {
            kind: SessionPersistenceType::SourceIp,
            cookie_name: None,
            persistence_timeout: timeout,
            persistence_granularity: None,
        };
        assert_eq!(persistence(&kept(Some(7)), L4Protocol::Udp), 7);
        assert_eq!(persistence(&kept(None), L4Protocol::Sctp), 360);
        assert_eq!(
            persistence(&kept(None), L4Protocol::Tcp),
            limits::IDLE_MAX_S
        );
        assert_eq!(persistence(&kept(Some(0)), L4Protocol::Udp), 1);
    }
}
