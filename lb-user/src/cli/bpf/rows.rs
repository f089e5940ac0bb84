//! The maps' entries as rows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_agent::View;
use lb_common::{
    maps::{
        Addr, ListenerRecord, MAGLEV_SLOTS, address_kind, algorithm, flow, limits, listener_flags,
        listener_kind, live, maglev_slot_of, member_flags, vip_flags,
    },
    reason::Fate,
};
use lb_plan::datapath::{Allocations, DesiredMaps};
use serde_json::{Value, json};

use super::Row;

type Rows = Result<Vec<Row>, lb_agent::bpf::Error>;

/// An address of the maps for people.
pub(crate) fn address(addr: &Addr) -> IpAddr {
    if addr.is_v4() {
        let [.., a, b, c, d] = addr.0;
        return Ipv4Addr::new(a, b, c, d).into();
    }
    Ipv6Addr::from(addr.0).into()
}

/// The kind of a listener.
pub(crate) const fn kind(kind: u32) -> &'static str {
    match kind {
        listener_kind::STEER => "steer",
        listener_kind::NAT => "nat",
        listener_kind::DSR_L2 => "dsr-l2",
        listener_kind::DSR_IPIP => "dsr-ipip",
        _ => "unknown",
    }
}

/// The name of an IP protocol.
pub(crate) const fn protocol(number: u8) -> &'static str {
    match number {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => "unknown",
    }
}

/// How new flows of a listener get their member.
pub(crate) fn algorithm_of(listener: &ListenerRecord) -> Option<&'static str> {
    if listener.kind == listener_kind::STEER {
        return None;
    }
    Some(match listener.algorithm {
        algorithm::ROUND_ROBIN => "round_robin",
        algorithm::LEAST_CONNECTIONS => "least_connections",
        _ if listener.flags & listener_flags::HASH_ADDR_ONLY != 0 => "source_ip",
        _ => "source_ip_port",
    })
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn row(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

pub(super) fn vips(view: &View, names: &Allocations) -> Rows {
    let maps = view.read()?;
    let published = |index: &u32| maps.addresses.values().any(|word| low(*word) == *index);
    let vips = maps
        .address_records
        .iter()
        .filter(|(index, record)| record.kind == address_kind::VIP && published(index));
    Ok(vips
        .map(|(index, record)| {
            row(json!({
                "address": address(&record.addr),
                "segment": record.segment,
                "load_balancer": names.load_balancer_at(record.owner),
                "enabled": record.flags & vip_flags::ENABLED != 0,
                "ports": ports(&maps, record.ports_base, record.ports_mask),
                "lb": record.owner,
                "record": index,
            }))
        })
        .collect())
}

/// Low half of a word: the index it publishes.
pub(crate) const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

fn ports(maps: &DesiredMaps, base: u32, mask: u32) -> Vec<String> {
    let words = maps.ports.range(base..=base.saturating_add(mask));
    words
        .map(|(_, word)| {
            let [_, number, high, rest, ..] = word.to_be_bytes();
            let port = u16::from_be_bytes([high, rest]);
            format!("{}/{port}", protocol(number))
        })
        .collect()
}

pub(super) fn listeners(view: &View, names: &Allocations) -> Rows {
    let maps = view.read()?;
    let listeners = maps.listeners.iter();
    Ok(listeners
        .map(|(index, it)| {
            let owner = names.listener_at(*index);
            let count = view.flows_of_listener(*index);
            row(json!({
                "listener": owner.map(|(_, id)| id),
                "load_balancer": owner.map(|(lb, _)| lb),
                "protocol": protocol(it.protocol),
                "port": it.port.get(),
                "kind": kind(it.kind),
                "algorithm": algorithm_of(it),
                "active": live::active(count),
                "entries": live::entries(count),
                "connection_limit": it.connection_limit,
                "syn_per_second": it.syn_per_second,
                "idle_s": it.idle_s,
                "persistence_s": it.persistence_s,
                "cidrs": it.flags & listener_flags::CIDRS != 0,
                "index": index,
            }))
        })
        .collect())
}

pub(super) fn members(view: &View, names: &Allocations) -> Rows {
    let maps = view.read()?;
    let members = maps.members.iter();
    Ok(members
        .map(|(index, it)| {
            let owner = names.member_at(*index);
            let count = view.flows_of_member(*index);
            row(json!({
                "member": owner.map(|(_, _, id)| id),
                "pool": owner.map(|(_, pool, _)| pool),
                "address": address(&it.addr),
                "port": it.port.get(),
                "weight": it.weight,
                "segment": it.segment,
                "source": (it.snat != Addr::default()).then(|| address(&it.snat)),
                "next_hop": view.next_hop(*index).map(mac),
                "ifindex": it.ifindex,
                "mtu": it.mtu,
                "new_flows": it.flags & member_flags::NO_NEW_FLOWS == 0,
                "active": live::active(count),
                "entries": live::entries(count),
                "index": index,
            }))
        })
        .collect())
}

pub(super) fn flows(view: &View, names: &Allocations, limit: usize) -> Rows {
    let maps = view.read()?;
    let now = lb_sys::clock::monotonic_ns();
    let all = view.flows(false).chain(view.flows(true)).take(limit);
    Ok(all
        .map(|it| {
            let listener = maps.listeners.get(&it.listener);
            let member = u32::from(it.word.member());
            let target = maps.members.get(&member);
            let nat = listener.is_some_and(|it| it.kind == listener_kind::NAT);
            let refused = it.word.state() == flow::state::REFUSED;
            row(json!({
                "client": address(&it.client),
                "port": it.client_port,
                "protocol": listener.map(|it| protocol(it.protocol)),
                "vip_port": listener.map(|it| it.port.get()),
                "listener": names.listener_at(it.listener).map(|(_, id)| id),
                "member": target.map(|it| address(&it.addr)),
                "member_port": target.map(|it| it.port.get()),
                "source_port": (nat && !refused).then(|| it.word.port()),
                "state": it.state(),
                "idle_s": it.idle_s(now),
            }))
        })
        .collect())
}

pub(super) fn tables(view: &View, names: &Allocations) -> Rows {
    let maps = view.read()?;
    let mut rows = Vec::new();
    for slot in 0..limits::MAGLEV_TABLES {
        let Some((slots, turns)) = view.table(slot)? else {
            continue;
        };
        let user = maps.listeners.values().find(|listener| {
            listener.kind != listener_kind::STEER
                && [false, true]
                    .map(|v6| maglev_slot_of(listener.maglev, v6))
                    .contains(&slot)
        });
        let mut counts = std::collections::BTreeMap::<u16, usize>::new();
        for member in &slots {
            *counts.entry(*member).or_default() += 1;
        }
        for (member, count) in counts {
            let index = u32::from(member);
            let target = maps.members.get(&index);
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            let percent = count as f64 * 100.0 / MAGLEV_SLOTS as f64;
            rows.push(row(json!({
                "table": slot,
                "algorithm": user.and_then(algorithm_of),
                "turns": turns,
                "member": names.member_at(index).map(|(_, _, id)| id),
                "address": target.map(|it| address(&it.addr)),
                "port": target.map(|it| it.port.get()),
                "slots": count,
                "percent": (percent * 100.0).round() / 100.0,
                "index": index,
            })));
        }
    }
    Ok(rows)
}

pub(super) fn stats(view: &View, names: &Allocations) -> Rows {
    let maps = view.read()?;
    let mut rows = Vec::new();
    let mut add = |what, id: Value, index, it: lb_common::maps::ListenerCounters, count| {
        rows.push(row(json!({
            "of": what,
            "id": id,
            "packets_in": it.packets_in,
            "bytes_in": it.bytes_in,
            "packets_out": it.packets_out,
            "bytes_out": it.bytes_out,
            "active": live::active(count),
            "total": it.flows,
            "errors": it.errors,
            "index": index,
        })));
    };
    for index in maps.listeners.keys() {
        let id = json!(names.listener_at(*index).map(|(_, id)| id));
        let count = view.flows_of_listener(*index);
        add(
            "listener",
            id,
            *index,
            view.listener_counters(*index)?,
            count,
        );
    }
    for index in maps.members.keys() {
        let id = json!(names.member_at(*index).map(|(_, _, id)| id));
        let count = view.flows_of_member(*index);
        add("member", id, *index, view.member_counters(*index)?, count);
    }
    Ok(rows)
}

pub(super) fn reasons(view: &View) -> Rows {
    let counts = view.counters()?.into_iter();
    let seen = counts.filter(|count| count.packets != 0);
    Ok(seen
        .map(|count| {
            row(json!({
                "reason": count.reason.name(),
                "fate": fate(count.reason.fate()),
                "packets": count.packets,
            }))
        })
        .collect())
}

/// What became of a packet.
pub(crate) const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Passed => "passed",
        Fate::Forwarded => "forwarded",
        Fate::Dropped => "dropped",
    }
}
