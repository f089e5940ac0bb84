//! Client to member and back: addresses, ports, checksums, next hops and the state of flows.

use std::collections::BTreeMap;

use anyhow::Context as _;
use lb_common::{
    maglev,
    maps::{
        Addr, AddressRecord, Be16, ListenerRecord, MAGLEV_SLOTS, MAGLEV_VALUE_BYTES, MemberRecord,
        address_kind, event_kind,
        flow::state,
        listener_flags, listener_kind,
        live::{self, ListenerLive},
        maglev_slots, names, neighbour_word, segment_word,
    },
    packet::tcp_flags,
    reason::Reason,
};
use lb_sys::bpf::{Map, Shape, map_type};
use zerocopy::IntoBytes as _;

use super::{
    frames::{CLIENT_MAC, CLIENT_PORT, Family, Frame, OUR_MAC, Seen, TTL, see},
    world::{INGRESS, LB, SEGMENT, World, XDP_DROP, XDP_REDIRECT},
};

const LISTENER: u32 = 31;
pub(crate) const PORT: u16 = 8080;
pub(crate) const MEMBER_PORT: u16 = 9000;
/// Interface and segment that members are behind.
const MEMBER_DEVICE: u32 = 55;
pub(crate) const MEMBER_SEGMENT: u32 = 9;
pub(crate) const DEVICE_MAC: [u8; 6] = [2, 0x0e, 0, 0, 0, 2];

/// Members of `family`: their indices and weights.
pub(crate) fn members(family: Family) -> [(u16, u32); 3] {
    match family {
        Family::V4 => [(101, 1), (102, 1), (103, 2)],
        Family::V6 => [(201, 1), (202, 1), (203, 2)],
    }
}

pub(crate) fn member_addr(family: Family, index: u16) -> Addr {
    family.addr(2, u8::try_from(index % 100).unwrap())
}

pub(crate) fn snat(family: Family) -> Addr {
    family.addr(2, 200)
}

pub(crate) fn member_mac(index: u16) -> [u8; 6] {
    [2, 0xbb, 0, 0, 0, u8::try_from(index % 256).unwrap()]
}

pub(crate) fn listener(family: Family) -> u32 {
    LISTENER + u32::from(family == Family::V6)
}

fn udp_listener(family: Family) -> u32 {
    listener(family) + 10
}

pub(crate) fn sctp_listener(family: Family) -> u32 {
    listener(family) + 20
}

pub(crate) fn world(test: &str, flags: u32) -> anyhow::Result<Option<World>> {
    let Some(mut world) = World::with_pair(test)? else {
        return Ok(None);
    };
    world.device(INGRESS)?;
    world.device(MEMBER_DEVICE)?;
    for family in Family::BOTH {
        let slot = listener(family);
        let record = ListenerRecord {
            kind: listener_kind::NAT,
            flags,
            lb: LB,
            maglev: maglev_slots(Some(slot), Some(slot)),
            ..ListenerRecord::default()
        };
        // A flow's key names its listener, which has one protocol.
        for (protocol, listener) in [
            (6, listener(family)),
            (17, udp_listener(family)),
            (132, sctp_listener(family)),
        ] {
            let record = ListenerRecord { protocol, ..record };
            world.listener(listener, &record)?;
            world.port(family, protocol, PORT, listener)?;
        }
        world.address(&AddressRecord {
            segment: MEMBER_SEGMENT,
            kind: address_kind::SNAT,
            addr: snat(family),
            owner: LB,
            ports_base: 0,
            ports_mask: 0,
            flags: 0,
        })?;
        for (index, _) in members(family) {
            let member = MemberRecord {
                segment: MEMBER_SEGMENT,
                ifindex: MEMBER_DEVICE,
                addr: member_addr(family, index),
                snat: snat(family),
                port: Be16::new(MEMBER_PORT),
                src_mac: DEVICE_MAC,
                lb: LB,
                weight: 1,
                mtu: 0,
                flags: 0,
                _pad: 0,
            };
            world.set(names::MEMBERS, u32::from(index), &member)?;
            world.set(
                names::NEIGHBOURS,
                u32::from(index),
                &neighbour_word(member_mac(index)),
            )?;
        }
        fill_maglev(&world, slot, &members(family))?;
    }
    Ok(Some(world))
}

pub(crate) fn fill_maglev(world: &World, slot: u32, members: &[(u16, u32)]) -> anyhow::Result<()> {
    let mut entries: Vec<_> = members
        .iter()
        .map(|(index, weight)| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&index.to_le_bytes());
            maglev::Entry::new(&id, *weight, *index)
        })
        .collect();
    let mut table = vec![0u16; MAGLEV_VALUE_BYTES / 2];
    maglev::fill(&mut entries, &mut table[..MAGLEV_SLOTS]);
    let inner = Map::create(
        Shape {
            map_type: map_type::ARRAY,
            key_size: 4,
            value_size: u32::try_from(MAGLEV_VALUE_BYTES)?,
            max_entries: 1,
            flags: 0,
        },
        "maglev",
    )?;
    inner.update(&[0; 4], table.as_bytes())?;
    world.set_inner(names::MAGLEV, slot, &inner)
}

/// Sends a packet from the client's side.
pub(crate) fn forward(world: &World, frame: &Frame) -> anyhow::Result<Result<Seen, Reason>> {
    from_segment(world, SEGMENT, frame, Reason::NatForward)
}

/// Sends a packet from the members' side.
pub(crate) fn back(world: &World, frame: &Frame) -> anyhow::Result<Result<Seen, Reason>> {
    from_segment(world, MEMBER_SEGMENT, frame, Reason::NatReverse)
}

fn from_segment(
    world: &World,
    segment: u32,
    frame: &Frame,
    good: Reason,
) -> anyhow::Result<Result<Seen, Reason>> {
    world.set(names::SEGMENTS, INGRESS, &segment_word(segment))?;
    let bytes = frame.build()?;
    let out = world.xdp(&bytes)?;
    if out.reason == good {
        assert_eq!(out.verdict, XDP_REDIRECT);
        return Ok(Ok(see(&out.bytes)?));
    }
    assert_eq!(out.verdict, XDP_DROP);
    assert_eq!(out.bytes, bytes, "dropped, so untouched");
    Ok(Err(out.reason))
}

/// The member's answer to a packet that reached it.
pub(crate) fn answer(to: &Seen, frame: &Frame, flags: u8) -> Frame {
    Frame {
        flags: frame.flags.map(|_| flags),
        ..frame.clone()
    }
    .from(to.dst, to.dst_port)
    .to(to.src, to.src_port)
}

/// Frames of TCP and UDP in both families, each opening a flow.
fn openers() -> Vec<Frame> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| [Frame::syn(family, PORT), Frame::udp(family, PORT)])
        .collect()
}

fn states(world: &World) -> anyhow::Result<Vec<u8>> {
    Ok(world
        .flows()?
        .iter()
        .map(|(_, word)| word.state())
        .collect())
}

#[test]
fn a_flow_goes_to_a_member_and_comes_back() -> anyhow::Result<()> {
    let Some(world) = world("nat", 0)? else {
        return Ok(());
    };
    for frame in openers() {
        let family = frame.family;
        let seen = forward(&world, &frame)?.unwrap();
        let (index, _) = members(family)
            .into_iter()
            .find(|(index, _)| member_addr(family, *index) == seen.dst)
            .context("one of the members")?;
        assert_eq!((seen.src, seen.dst_port), (snat(family), MEMBER_PORT));
        assert!((20_000..60_000).contains(&seen.src_port));
        assert_eq!(
            (seen.dst_mac, seen.src_mac),
            (member_mac(index), DEVICE_MAC)
        );
        assert_eq!(seen.ttl, TTL - 1);
        let reply = answer(&seen, &frame, tcp_flags::SYN | tcp_flags::ACK);
        let returned = back(&world, &reply)?.unwrap();
        let expected = Seen {
            src: family.vip(),
            dst: family.client(),
            src_port: PORT,
            dst_port: CLIENT_PORT,
            ttl: TTL - 1,
            dst_mac: CLIENT_MAC,
            src_mac: OUR_MAC,
        };
        assert_eq!(returned, expected);
        // What follows takes the same way.
        let next = Frame {
            flags: frame.flags.map(|_| tcp_flags::ACK),
            ..frame.clone()
        };
        assert_eq!(forward(&world, &next)?.unwrap(), seen);
    }
    for family in Family::BOTH {
        for listener in [listener(family), udp_listener(family)] {
            let counters = world.counters(listener)?;
            assert_eq!(
                (counters.packets_in, counters.packets_out, counters.flows),
                (2, 1, 1)
            );
            assert!(counters.bytes_in > counters.bytes_out);
        }
    }
    assert_eq!((world.flows()?.len(), world.ports_in_use()?), (4, 4));
    assert!(
        states(&world)?
            .iter()
            .all(|state| *state == state::ESTABLISHED)
    );
    Ok(())
}

#[test]
fn choice_is_stable_and_follows_weights() -> anyhow::Result<()> {
    let Some(world) = world("shares", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let mut counts = BTreeMap::new();
        for port in 1000..1800 {
            let frame = Frame::syn(family, PORT).from(family.client(), port);
            let seen = forward(&world, &frame)?.unwrap();
            *counts.entry(seen.dst.0[15]).or_insert(0u32) += 1;
            assert_eq!(forward(&world, &frame)?.unwrap(), seen, "a retransmission");
        }
        let share = |host: u8| counts.get(&host).copied().unwrap_or_default();
        assert!((150..250).contains(&share(1)), "{counts:?}");
        assert!((150..250).contains(&share(2)), "{counts:?}");
        assert!((340..460).contains(&share(3)), "{counts:?}");
    }
    Ok(())
}

#[test]
fn by_address_only_all_ports_of_a_client_share_a_member() -> anyhow::Result<()> {
    let Some(world) = world("address only", listener_flags::HASH_ADDR_ONLY)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let mut used = Vec::new();
        for host in 1..40 {
            let mut chosen = None;
            for port in 1..5 {
                let frame = Frame::syn(family, PORT).from(family.addr(1, host), port);
                let seen = forward(&world, &frame)?.unwrap();
                assert_eq!(*chosen.get_or_insert(seen.dst), seen.dst);
            }
            used.extend(chosen);
        }
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 3, "clients are spread");
    }
    Ok(())
}

#[test]
fn what_belongs_to_no_flow_is_dropped() -> anyhow::Result<()> {
    let Some(world) = world("no flow", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for flags in [
            tcp_flags::ACK,
            tcp_flags::RST,
            tcp_flags::FIN | tcp_flags::ACK,
            tcp_flags::SYN | tcp_flags::ACK,
            tcp_flags::SYN | tcp_flags::FIN,
        ] {
            let expected = if flags == tcp_flags::RST {
                Reason::NoFlow
            } else {
                Reason::ResetSent
            };
            let out = world.xdp(&Frame::tcp(family, PORT, flags).build()?)?;
            assert_eq!(out.reason, expected);
        }
        let stray = Frame::ack(family, 0)
            .from(member_addr(family, 1), MEMBER_PORT)
            .to(snat(family), 33_333);
        assert_eq!(back(&world, &stray)?, Err(Reason::NoReverseFlow));
        let old = Frame {
            ttl: 1,
            ..Frame::udp(family, PORT)
        };
        assert_eq!(forward(&world, &old)?, Err(Reason::Ttl));
    }
    Ok(())
}

#[test]
fn a_flow_of_one_segment_is_unknown_in_another() -> anyhow::Result<()> {
    let Some(mut world) = world("segments", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let frame = Frame::syn(family, PORT);
    forward(&world, &frame)?.unwrap();
    world.vip(
        SEGMENT + 1,
        family.vip(),
        family.ports_base(),
        lb_common::maps::vip_flags::ENABLED,
    )?;
    let ack = Frame::ack(family, PORT);
    assert_eq!(
        from_segment(&world, SEGMENT + 1, &ack, Reason::ResetSent)?.map(|seen| seen.dst),
        Ok(family.client())
    );
    Ok(())
}

#[test]
fn fin_and_rst_end_a_flow_and_a_syn_begins_another() -> anyhow::Result<()> {
    let Some(world) = world("states", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let syn = Frame::syn(family, PORT);
        let seen = forward(&world, &syn)?.unwrap();
        let all_are = |state: u8| -> anyhow::Result<bool> {
            let flows = world.flows()?.into_iter();
            let states: Vec<_> = flows
                .filter(|(of, _)| *of == family)
                .map(|(_, word)| word.state())
                .collect();
            Ok(states == [state])
        };
        assert!(all_are(state::OPENING)?);
        back(
            &world,
            &answer(&seen, &syn, tcp_flags::SYN | tcp_flags::ACK),
        )?
        .unwrap();
        assert!(all_are(state::ANSWERED)?);
        forward(&world, &Frame::ack(family, PORT))?.unwrap();
        assert!(all_are(state::ESTABLISHED)?);
        back(
            &world,
            &answer(&seen, &syn, tcp_flags::FIN | tcp_flags::ACK),
        )?
        .unwrap();
        assert!(all_are(state::MEMBER_CLOSED)?);
        // The other direction goes on.
        forward(&world, &Frame::ack(family, PORT))?.unwrap();
        assert!(all_are(state::MEMBER_CLOSED)?);
        forward(&world, &Frame::tcp(family, PORT, tcp_flags::RST))?.unwrap();
        assert!(all_are(state::CLOSED)?);
        // The pool has another member by now: the old port opens a flow to that one.
        fill_maglev(&world, listener(family), &[(members(family)[0].0, 1)])?;
        let again = forward(&world, &syn)?.unwrap();
        assert_eq!(again.dst, member_addr(family, members(family)[0].0));
        assert!(all_are(state::OPENING)?);
    }
    Ok(())
}

#[test]
fn an_established_flow_keeps_its_member_when_the_pool_changes() -> anyhow::Result<()> {
    let Some(world) = world("pool changes", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let seen = forward(&world, &Frame::syn(family, PORT))?.unwrap();
    let other = members(family)
        .into_iter()
        .find(|(index, _)| member_addr(family, *index) != seen.dst)
        .context("another member")?;
    fill_maglev(&world, listener(family), &[other])?;
    assert_eq!(forward(&world, &Frame::ack(family, PORT))?.unwrap(), seen);
    Ok(())
}

#[test]
fn the_next_hop_is_the_agents_word_of_the_moment() -> anyhow::Result<()> {
    let Some(world) = world("next hop", 0)? else {
        return Ok(());
    };
    let family = Family::V6;
    forward(&world, &Frame::syn(family, PORT))?.unwrap();
    for (index, _) in members(family) {
        world.set(
            names::NEIGHBOURS,
            u32::from(index),
            &neighbour_word([4, 4, 4, 4, 4, 4]),
        )?;
    }
    let moved = forward(&world, &Frame::ack(family, PORT))?.unwrap();
    assert_eq!(moved.dst_mac, [4; 6]);
    Ok(())
}

#[test]
fn what_is_missing_for_a_new_flow_has_its_reason() -> anyhow::Result<()> {
    let Some(mut world) = world("missing", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let syn = Frame::syn(family, PORT);
    world.events()?;
    for (index, _) in members(family) {
        world.set(names::NEIGHBOURS, u32::from(index), &0u64)?;
    }
    assert_eq!(forward(&world, &syn)?, Err(Reason::NoNeighbour));
    let events = world.events()?;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind, events[0].lb),
        (event_kind::NO_NEIGHBOUR, LB)
    );
    assert!(
        members(family)
            .iter()
            .any(|(index, _)| u32::from(*index) == events[0].from)
    );
    for (index, _) in members(family) {
        world.set(
            names::NEIGHBOURS,
            u32::from(index),
            &neighbour_word(member_mac(index)),
        )?;
    }
    assert!(world.flows()?.is_empty(), "nothing is left of what failed");
    world.remove_device(MEMBER_DEVICE)?;
    assert_eq!(forward(&world, &syn)?, Err(Reason::NoDevice));
    world.device(MEMBER_DEVICE)?;
    fill_maglev(&world, listener(family), &[])?;
    let other = Frame::syn(family, PORT).from(family.client(), 7);
    assert_eq!(forward(&world, &other)?, Err(Reason::NoMember));
    let none = ListenerRecord {
        kind: listener_kind::NAT,
        flags: 0,
        lb: LB,
        maglev: maglev_slots(None, None),
        ..ListenerRecord::default()
    };
    world.listener(listener(family), &none)?;
    assert_eq!(forward(&world, &other)?, Err(Reason::NoMember));
    Ok(())
}

#[test]
fn a_flood_of_new_flows_leaves_established_ones_alone() -> anyhow::Result<()> {
    let Some(world) = world("flood", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let mut open = Vec::new();
    for port in 1..=40 {
        let syn = Frame::syn(family, PORT).from(family.client(), port);
        let seen = forward(&world, &syn)?.unwrap();
        let answer = answer(&seen, &syn, tcp_flags::SYN | tcp_flags::ACK);
        back(&world, &answer)?.unwrap();
        let ack = Frame::ack(family, PORT).from(family.client(), port);
        forward(&world, &ack)?.unwrap();
        open.push((port, seen));
    }
    // The test's table has 2048 slots.
    for port in 1000..=4500 {
        let syn = Frame::syn(family, PORT).from(family.addr(1, 9), port);
        forward(&world, &syn)?.unwrap();
    }
    for (port, seen) in open {
        let ack = Frame::ack(family, PORT).from(family.client(), port);
        assert_eq!(forward(&world, &ack)?.unwrap(), seen);
    }
    // Entry and port, or neither; and all are counted.
    let flows = world.flows()?.len();
    assert_eq!(flows, world.ports_in_use()?);
    let live: ListenerLive = world
        .get(names::LISTENER_LIVE, &listener(family).to_ne_bytes())?
        .context("a listener's counts")?;
    let counted = (live::entries(live.flows), live::active(live.flows));
    assert_eq!(counted, (u32::try_from(flows)?, u32::try_from(flows)?));
    Ok(())
}

#[test]
fn source_ports_run_out_per_member_and_come_back() -> anyhow::Result<()> {
    let Some(world) = world("ports run out", 0)? else {
        return Ok(());
    };
    // One port, so one flow a member.
    world.configure_all(true, 0, (30_000, 30_000))?;
    let family = Family::V6;
    let mut open = Vec::new();
    for port in 1..=40 {
        let syn = Frame::syn(family, PORT).from(family.client(), port);
        match forward(&world, &syn)? {
            Ok(seen) => open.push((port, seen)),
            Err(reason) => assert_eq!(reason, Reason::SnatExhausted),
        }
    }
    assert_eq!(open.len(), 3, "{open:?}");
    let (port, seen) = open[0];
    let rst = Frame::tcp(family, PORT, tcp_flags::RST).from(family.client(), port);
    forward(&world, &rst)?.unwrap();
    let syn = Frame::syn(family, PORT).from(family.client(), port);
    assert_eq!(forward(&world, &syn)?.unwrap(), seen);
    Ok(())
}
