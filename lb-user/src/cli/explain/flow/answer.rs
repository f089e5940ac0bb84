//! What was seen, in words.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::maps::{AddressRecord, ListenerRecord, address_kind, listener_kind, vip_flags};
use lb_model::{id::LoadBalancerId, spec::LoadBalancerSpec};
use lb_plan::{
    datapath::{Allocations, DesiredMaps},
    spec::{PathReason, decide_in},
};
use serde_json::{Map, Value, json};

use crate::cli::bpf::{address, algorithm_of, fate, kind, low};

use super::{Question, Seen, addr};

/// XDP's verdicts (linux/bpf.h).
const VERDICTS: [&str; 5] = ["ABORTED", "DROP", "PASS", "TX", "REDIRECT"];

fn vip<'a>(maps: &'a DesiredMaps, segment: u32, question: &Question) -> Option<&'a AddressRecord> {
    let wanted = addr(question.vip);
    let published = maps.addresses.values();
    published
        .filter_map(|word| maps.address_records.get(&low(*word)))
        .find(|record| record.segment == segment && record.addr == wanted)
}

/// The listener that the packet is for, and its index.
pub(super) fn listener<'a>(
    maps: &'a DesiredMaps,
    segment: u32,
    question: &Question,
) -> Option<(u32, &'a ListenerRecord)> {
    let record = vip(maps, segment, question)?;
    if record.kind != address_kind::VIP {
        return None;
    }
    let last = record.ports_base.saturating_add(record.ports_mask);
    let mut words = maps.ports.range(record.ports_base..=last);
    words.find_map(|(_, word)| {
        let index = low(*word);
        let listener = maps.listeners.get(&index)?;
        let is_its =
            listener.protocol == question.protocol && listener.port.get() == question.vip.port();
        is_its.then_some((index, listener))
    })
}

/// Everything, as JSON.
pub(super) fn of(
    seen: &Seen,
    names: &Allocations,
    specs: &BTreeMap<LoadBalancerId, LoadBalancerSpec>,
) -> Map<String, Value> {
    let verdict = VERDICTS.get(seen.ran.verdict as usize).copied();
    let mut answer = Map::new();
    let mut add = |key: &str, value: Value| {
        answer.insert(key.to_owned(), value);
    };
    add("interface", json!(seen.interface));
    add("segment", json!(seen.segment));
    add("verdict", json!(verdict.unwrap_or("unknown")));
    let reasons = seen.reasons.iter();
    let reasons = reasons.map(|it| json!({"reason": it.name(), "fate": fate(it.fate())}));
    add("reasons", reasons.collect());
    let record = vip(&seen.maps, seen.segment, &seen.question);
    add("vip", record.map_or(Value::Null, |it| vip_row(it, names)));
    let found = listener(&seen.maps, seen.segment, &seen.question);
    let row = found.map(|(index, it)| listener_row(index, it, names, specs));
    add("listener", row.unwrap_or_default());
    add("known_flow", json!(seen.known));
    add("member", member_row(seen, names));
    add("rewrite", rewrite(&seen.ran.packet));
    add("left_behind", json!(seen.left));
    answer
}

fn vip_row(record: &AddressRecord, names: &Allocations) -> Value {
    let what = match record.kind {
        address_kind::VIP => "vip",
        address_kind::AMPHORA => "amphora",
        _ => "source of NAT",
    };
    json!({
        "address": address(&record.addr),
        "kind": what,
        "enabled": record.kind != address_kind::VIP || record.flags & vip_flags::ENABLED != 0,
        "load_balancer": names.load_balancer_at(record.owner),
    })
}

fn listener_row(
    index: u32,
    record: &ListenerRecord,
    names: &Allocations,
    specs: &BTreeMap<LoadBalancerId, LoadBalancerSpec>,
) -> Value {
    let owner = names.listener_at(index);
    let why = owner.and_then(|(lb, id)| {
        let spec = specs.get(&lb)?;
        let listener = spec.listeners.iter().find(|it| it.id == id)?;
        Some(decide_in(spec, listener))
    });
    json!({
        "id": owner.map(|(_, id)| id),
        "kind": kind(record.kind),
        "path": if record.kind == listener_kind::STEER { "amphora" } else { "xdp" },
        "why": why.map(PathReason::name),
        "because": why.map(|why| why.to_string()),
        "algorithm": algorithm_of(record),
    })
}

fn member_row(seen: &Seen, names: &Allocations) -> Value {
    let Some(flow) = &seen.flow else {
        return Value::Null;
    };
    let index = u32::from(flow.word.member());
    let owner = names.member_at(index);
    let record = seen.maps.members.get(&index);
    json!({
        "id": owner.map(|(_, _, id)| id),
        "pool": owner.map(|(_, pool, _)| pool),
        "address": record.map(|it| address(&it.addr)),
        "port": record.map(|it| it.port.get()),
        "state": flow.state(),
    })
}

/// The headers that the packet has now, outermost first.
fn rewrite(packet: &[u8]) -> Value {
    let mut headers = Vec::new();
    let mut rest = packet.get(14..).unwrap_or_default();
    // An outer and an inner one.
    for _ in 0..2 {
        let Some((header, protocol, inner)) = header(rest) else {
            break;
        };
        headers.push(header);
        if !matches!(protocol, 4 | 41) {
            break;
        }
        rest = inner;
    }
    let mac = |at: usize| {
        let bytes = packet.get(at..at + 6).unwrap_or_default();
        let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        parts.join(":")
    };
    json!({"dst_mac": mac(0), "src_mac": mac(6), "headers": headers})
}

fn header(packet: &[u8]) -> Option<(String, u8, &[u8])> {
    let (from, to, protocol, rest): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 => (
            Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?).into(),
            Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into(),
            *packet.get(9)?,
            packet.get(usize::from(packet.first()? & 0xf) * 4..)?,
        ),
        6 => (
            Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?).into(),
            Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into(),
            *packet.get(6)?,
            packet.get(40..)?,
        ),
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk::<2>()?));
    let text = match protocol {
        4 | 41 => format!("{from} -> {to} (IP in IP)"),
        _ => {
            let (from_port, to_port) = (port(0)?, port(2)?);
            let from = std::net::SocketAddr::new(from, from_port);
            let to = std::net::SocketAddr::new(to, to_port);
            format!("{from} -> {to}")
        }
    };
    Some((text, protocol, rest))
}

/// For people: a line a fact.
pub(super) fn text(answer: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (key, value) in answer {
        let told = match value {
            Value::Null => "none".to_owned(),
            Value::Object(fields) => fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key}={}", plain(value)))
                .collect::<Vec<_>>()
                .join("  "),
            other => plain(other),
        };
        // Writing to a String does not fail.
        let _written = writeln!(out, "{:<12} {told}", key.replace('_', " "));
    }
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => fields.values().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::explain::flow::packet::Kind;

    #[test]
    fn headers_are_told_outermost_first() {
        let question = Question::parse("198.51.100.7:40000 -> 192.0.2.10:80/tcp").unwrap();
        let packet = question.packet(Kind::First);
        let told = rewrite(&packet);
        assert_eq!(told["headers"][0], "198.51.100.7:40000 -> 192.0.2.10:80");
        let mut around = packet[..14].to_vec();
        let mut outer = packet[14..34].to_vec();
        outer[9] = 4;
        around.extend(outer);
        around.extend(&packet[14..]);
        let told = rewrite(&around);
        assert_eq!(told["headers"][0], "198.51.100.7 -> 192.0.2.10 (IP in IP)");
        assert_eq!(told["headers"][1], "198.51.100.7:40000 -> 192.0.2.10:80");
        assert_eq!(rewrite(&[0; 3])["headers"], json!([]));
    }
}
