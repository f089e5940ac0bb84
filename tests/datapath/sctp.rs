//! SCTP: both ways through NAT with its CRC, states by chunks, DSR, errors about it, and what is told to who
//! speaks of an association that nobody knows.

use anyhow::{Context as _, ensure};
use etherparse::{IpNumber, NetHeaders, PacketBuilder, PacketHeaders};
use lb_common::{
    crc32c,
    maps::{
        Addr, ListenerRecord, algorithm,
        flow::state,
        listener_kind,
        live::{self, ListenerLive},
        maglev_slots, names, segment_word,
    },
    packet::sctp::chunk,
    reason::Reason,
};

use super::{
    frames::{CLIENT_MAC, CLIENT_PORT, Family, Frame, OUR_MAC, TTL},
    icmp::{Message, icmp},
    nat::{self, MEMBER_PORT, MEMBER_SEGMENT, PORT, member_addr, sctp_listener, snat},
    world::{INGRESS, LB, Outcome, SEGMENT, World, XDP_DROP, XDP_REDIRECT},
};

const TAG: u32 = 0xfeed_beef;
const DATA: u8 = 0;
const COOKIE_ECHO: u8 = 10;

/// A packet from the client to the VIP until said otherwise.
#[derive(Clone, Debug)]
struct Packet {
    frame: Frame,
    tag: u32,
    /// Types and bodies.
    chunks: Vec<(u8, usize)>,
}

fn sctp(family: Family, kind: u8) -> Packet {
    let body = match kind {
        chunk::INIT | chunk::INIT_ACK => 16,
        DATA => 12 + 500,
        _ => 0,
    };
    Packet {
        frame: Frame::udp(family, PORT),
        tag: if kind == chunk::INIT { 0 } else { TAG },
        chunks: vec![(kind, body)],
    }
}

/// The first packet of an association.
pub(crate) fn init(family: Family) -> anyhow::Result<Vec<u8>> {
    sctp(family, chunk::INIT).build()
}

impl Packet {
    fn from(self, src: Addr, src_port: u16) -> Self {
        let frame = self.frame.from(src, src_port);
        Self { frame, ..self }
    }

    fn to(self, dst: Addr, dst_port: u16) -> Self {
        let frame = self.frame.to(dst, dst_port);
        Self { frame, ..self }
    }

    /// As bytes, with a right checksum.
    fn build(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = self.frame.src_port.to_be_bytes().to_vec();
        bytes.extend(self.frame.dst_port.to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        for (kind, body) in &self.chunks {
            bytes.extend([*kind, 0]);
            bytes.extend(u16::try_from(4 + body)?.to_be_bytes());
            bytes.extend((0..=u8::MAX).cycle().take(body.next_multiple_of(4)));
        }
        let sum = crc32c::full(&bytes);
        bytes[8..12].copy_from_slice(&sum);
        let mut out = Vec::new();
        PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
            .ip(self.frame.ip()?)
            .write(&mut out, IpNumber(132), &bytes)?;
        Ok(out)
    }
}

/// What an SCTP packet says of itself, its checksums checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    src: Addr,
    dst: Addr,
    src_port: u16,
    dst_port: u16,
    ttl: u8,
    /// From the tag on, without the checksum.
    tag: u32,
    chunks: Vec<u8>,
}

fn see(bytes: &[u8]) -> anyhow::Result<Seen> {
    let packet = PacketHeaders::from_ethernet_slice(bytes)?;
    let (src, dst, ttl) = match packet.net.as_ref().context("no network header")? {
        NetHeaders::Ipv4(header, _) => {
            let right = header.calc_header_checksum();
            ensure!(header.header_checksum == right, "IPv4 checksum");
            let (src, dst) = (Addr::v4(header.source), Addr::v4(header.destination));
            ensure!(header.protocol == IpNumber(132), "protocol");
            (src, dst, header.time_to_live)
        }
        NetHeaders::Ipv6(header, _) => {
            let (src, dst) = (Addr::v6(header.source), Addr::v6(header.destination));
            ensure!(header.next_header == IpNumber(132), "protocol");
            (src, dst, header.hop_limit)
        }
        NetHeaders::Arp(_) => anyhow::bail!("ARP"),
    };
    let bytes = packet.payload.slice();
    let mut summed = bytes.to_vec();
    summed[8..12].fill(0);
    ensure!(bytes[8..12] == crc32c::full(&summed), "CRC32c");
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    Ok(Seen {
        src,
        dst,
        src_port: word(0),
        dst_port: word(2),
        ttl,
        tag: u32::from_be_bytes(bytes[4..8].try_into()?),
        chunks: bytes[12..].to_vec(),
    })
}

fn run(world: &World, segment: u32, packet: &Packet) -> anyhow::Result<Outcome> {
    world.set(names::SEGMENTS, INGRESS, &segment_word(segment))?;
    world.xdp(&packet.build()?)
}

fn forward(world: &World, packet: &Packet) -> anyhow::Result<Seen> {
    let out = run(world, SEGMENT, packet)?;
    ensure!(
        (out.verdict, out.reason) == (XDP_REDIRECT, Reason::NatForward),
        "{:?}",
        out.reason
    );
    see(&out.bytes)
}

fn back(world: &World, packet: &Packet) -> anyhow::Result<Seen> {
    let out = run(world, MEMBER_SEGMENT, packet)?;
    ensure!(
        (out.verdict, out.reason) == (XDP_REDIRECT, Reason::NatReverse),
        "{:?}",
        out.reason
    );
    see(&out.bytes)
}

/// The member's answer to what reached it.
fn answer(family: Family, to: &Seen, kind: u8) -> Packet {
    sctp(family, kind)
        .from(to.dst, to.dst_port)
        .to(to.src, to.src_port)
}

/// States of a family's flows.
fn states(world: &World, family: Family) -> anyhow::Result<Vec<u8>> {
    let flows = world.flows()?.into_iter();
    let flows = flows.filter(|(of, _)| *of == family);
    Ok(flows.map(|(_, word)| word.state()).collect())
}

/// The NAT world with its SCTP listeners changed.
fn changed(test: &str, change: impl Fn(&mut ListenerRecord)) -> anyhow::Result<Option<World>> {
    let Some(world) = nat::world(test, 0)? else {
        return Ok(None);
    };
    for family in Family::BOTH {
        let slot = nat::listener(family);
        let mut record = ListenerRecord {
            kind: listener_kind::NAT,
            lb: LB,
            maglev: maglev_slots(Some(slot), Some(slot)),
            protocol: 132,
            ..ListenerRecord::default()
        };
        change(&mut record);
        world.listener(sctp_listener(family), &record)?;
    }
    Ok(Some(world))
}

#[test]
fn an_association_goes_through_nat_both_ways_from_init_to_shutdown() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let sent = sctp(family, chunk::INIT);
        let init = forward(&world, &sent)?;
        assert_eq!((init.src, init.dst_port), (snat(family), MEMBER_PORT));
        assert_eq!((init.ttl, init.tag), (TTL - 1, 0));
        assert_eq!(init.chunks, see(&sent.build()?)?.chunks, "chunks stay");
        assert_eq!(states(&world, family)?, [state::OPENING]);
        let returned = back(&world, &answer(family, &init, chunk::INIT_ACK))?;
        assert_eq!(
            (
                returned.src,
                returned.src_port,
                returned.dst,
                returned.dst_port
            ),
            (family.vip(), PORT, family.client(), CLIENT_PORT)
        );
        assert_eq!(states(&world, family)?, [state::ANSWERED]);
        // Of any length, padded or not, alone or bundled.
        for chunks in [
            vec![(COOKIE_ECHO, 37)],
            vec![(DATA, 13)],
            vec![(DATA, 1400)],
            vec![(3, 12), (DATA, 17), (DATA, 301)],
        ] {
            let packet = Packet {
                chunks,
                ..sctp(family, DATA)
            };
            let there = forward(&world, &packet)?;
            assert_eq!(
                (there.dst, there.src_port, there.tag),
                (init.dst, init.src_port, TAG)
            );
            back(
                &world,
                &Packet {
                    chunks: packet.chunks,
                    ..answer(family, &init, DATA)
                },
            )?;
        }
        assert_eq!(states(&world, family)?, [state::ESTABLISHED]);
        let counters = world.counters(sctp_listener(family))?;
        let lengths = |kinds: &[&[(u8, usize)]]| -> usize {
            let of = |chunks: &[(u8, usize)]| -> usize {
                chunks
                    .iter()
                    .map(|(_, body)| 4 + body.next_multiple_of(4))
                    .sum()
            };
            let header = 12 + if family == Family::V4 { 20 } else { 40 };
            kinds.iter().map(|chunks| header + of(chunks)).sum()
        };
        let all = lengths(&[
            &[(1, 16)],
            &[(10, 37)],
            &[(0, 13)],
            &[(0, 1400)],
            &[(3, 12), (0, 17), (0, 301)],
        ]);
        // INIT and INIT ACK are of one length here.
        assert_eq!(usize::try_from(counters.bytes_in)?, all, "IP length");
        assert_eq!(usize::try_from(counters.bytes_out)?, all);
        assert_eq!((counters.flows, counters.errors), (1, 0));
        forward(&world, &sctp(family, chunk::SHUTDOWN))?;
        assert_eq!(states(&world, family)?, [state::CLIENT_CLOSED]);
        back(&world, &answer(family, &init, chunk::SHUTDOWN_ACK))?;
        assert_eq!(states(&world, family)?, [state::CLOSED]);
        forward(&world, &sctp(family, chunk::SHUTDOWN_COMPLETE))?;
        assert_eq!(states(&world, family)?, [state::CLOSED]);
        let live: ListenerLive = world
            .get(names::LISTENER_LIVE, &sctp_listener(family).to_ne_bytes())?
            .context("a listener's counts")?;
        assert_eq!(live::active(live.flows), 0);
        // The same port opens another.
        forward(&world, &sctp(family, chunk::INIT))?;
        assert_eq!(states(&world, family)?, [state::OPENING]);
    }
    Ok(())
}

#[test]
fn a_wrong_checksum_stays_wrong() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp sums", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let mut bytes = sctp(family, chunk::INIT).build()?;
    bytes[42] ^= 1;
    let out = world.xdp(&bytes)?;
    assert_eq!(out.reason, Reason::NatForward);
    assert!(see(&out.bytes).is_err(), "nothing is made good");
    Ok(())
}

#[test]
fn abort_ends_an_association_also_behind_other_chunks() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp abort", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for chunks in [vec![(chunk::ABORT, 0)], vec![(3, 13), (chunk::ABORT, 4)]] {
            let init = forward(&world, &sctp(family, chunk::INIT))?;
            back(&world, &answer(family, &init, chunk::INIT_ACK))?;
            let abort = Packet {
                chunks,
                ..sctp(family, DATA)
            };
            forward(&world, &abort)?;
            assert_eq!(states(&world, family)?, [state::CLOSED]);
        }
    }
    Ok(())
}

#[test]
fn an_init_that_is_aborted_goes_to_another_member_next_time() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp refused", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let first = forward(&world, &sctp(family, chunk::INIT))?;
        let refusal = run(
            &world,
            MEMBER_SEGMENT,
            &answer(family, &first, chunk::ABORT),
        )?;
        assert_eq!(
            (refusal.verdict, refusal.reason),
            (XDP_DROP, Reason::MemberRefused)
        );
        let second = forward(&world, &sctp(family, chunk::INIT))?;
        assert_ne!(second.dst, first.dst);
    }
    Ok(())
}

#[test]
fn what_nobody_knows_is_answered_with_abort() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp unknown", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for (kind, told) in [
            (DATA, chunk::ABORT),
            (COOKIE_ECHO, chunk::ABORT),
            (chunk::INIT_ACK, chunk::ABORT),
            (chunk::SHUTDOWN, chunk::ABORT),
            (chunk::SHUTDOWN_ACK, chunk::SHUTDOWN_COMPLETE),
        ] {
            let out = run(&world, SEGMENT, &sctp(family, kind))?;
            assert_eq!((out.verdict, out.reason), (XDP_REDIRECT, Reason::AbortSent));
            let expected = Seen {
                src: family.vip(),
                dst: family.client(),
                src_port: PORT,
                dst_port: CLIENT_PORT,
                ttl: 64,
                tag: TAG,
                // The tag is the one that came.
                chunks: vec![told, 1, 0, 4],
            };
            assert_eq!(see(&out.bytes)?, expected);
            assert_eq!(
                (&out.bytes[..6], &out.bytes[6..12]),
                (&CLIENT_MAC[..], &OUR_MAC[..])
            );
        }
        for kind in [chunk::ABORT, chunk::SHUTDOWN_COMPLETE, chunk::COOKIE_ACK] {
            let out = run(&world, SEGMENT, &sctp(family, kind))?;
            assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::NoFlow));
        }
        let stray = sctp(family, DATA)
            .from(member_addr(family, 1), MEMBER_PORT)
            .to(snat(family), 33_333);
        let out = run(&world, MEMBER_SEGMENT, &stray)?;
        assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::NoReverseFlow));
    }
    assert!(world.flows()?.is_empty());
    Ok(())
}

#[test]
fn aborts_are_so_many_a_second() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp rate", 0)? else {
        return Ok(());
    };
    let budget: lb_common::maps::Config = world.get(names::CONFIG, &[0; 4])?.context("config")?;
    let none = lb_common::maps::Config {
        rst_per_second: 0,
        ..budget
    };
    world.set(names::CONFIG, 0, &none)?;
    let packet = sctp(Family::V4, DATA);
    let out = run(&world, SEGMENT, &packet)?;
    assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::NoFlow));
    assert_eq!(out.bytes, packet.build()?, "dropped, so untouched");
    Ok(())
}

#[test]
fn what_is_no_sctp_is_dropped_with_its_reason() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp broken", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let headers = if family == Family::V4 { 34 } else { 54 };
        let good = sctp(family, chunk::INIT);
        let tagged = Packet {
            tag: TAG,
            ..good.clone()
        };
        let untagged = Packet {
            tag: 0,
            ..sctp(family, DATA)
        };
        let accompanied = Packet {
            chunks: vec![(chunk::INIT, 16), (DATA, 20)],
            ..good.clone()
        };
        let empty = Packet {
            chunks: Vec::new(),
            ..sctp(family, DATA)
        };
        for (packet, reason) in [
            (&tagged, Reason::Malformed),
            (&untagged, Reason::Malformed),
            (&accompanied, Reason::Malformed),
            (&empty, Reason::Truncated),
        ] {
            let out = run(&world, SEGMENT, packet)?;
            assert_eq!((out.verdict, out.reason), (XDP_DROP, reason), "{packet:?}");
        }
        let mut lying = good.build()?;
        lying[headers + 14] = 0xff;
        let out = world.xdp(&lying)?;
        assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::Malformed));
        assert_eq!(out.bytes, lying);
        let other = good.clone().to(family.vip(), PORT + 1);
        assert_eq!(run(&world, SEGMENT, &other)?.reason, Reason::NoListener);
    }
    Ok(())
}

#[test]
fn dsr_leaves_the_packet_as_it_is() -> anyhow::Result<()> {
    for kind in [listener_kind::DSR_IPIP, listener_kind::DSR_L2] {
        let Some(world) = changed("sctp dsr", |record| record.kind = kind)? else {
            return Ok(());
        };
        for family in Family::BOTH {
            let from = match (kind, family) {
                (listener_kind::DSR_L2, _) => 14,
                (_, Family::V4) => 34,
                (_, Family::V6) => 54,
            };
            let mut head = None;
            for (chunk, after) in [
                (chunk::INIT, state::OPENING),
                (COOKIE_ECHO, state::ESTABLISHED),
                (DATA, state::ESTABLISHED),
                (chunk::SHUTDOWN, state::CLOSED),
            ] {
                let packet = sctp(family, chunk);
                let out = run(&world, SEGMENT, &packet)?;
                assert_eq!(
                    (out.verdict, out.reason),
                    (XDP_REDIRECT, Reason::DsrForward)
                );
                assert_eq!(out.bytes[from..], packet.build()?[14..]);
                // All to one member.
                let dst = out.bytes[..6].to_vec();
                assert_eq!(*head.get_or_insert(dst.clone()), dst);
                assert_eq!(states(&world, family)?, [after]);
            }
        }
    }
    Ok(())
}

#[test]
fn members_are_chosen_as_for_tcp() -> anyhow::Result<()> {
    for algorithm in [
        algorithm::HASH,
        algorithm::ROUND_ROBIN,
        algorithm::LEAST_CONNECTIONS,
    ] {
        let Some(world) = changed("sctp choice", |record| {
            record.algorithm = algorithm;
            record.persistence_s = 60;
            record.persistence_bits_v4 = 32;
            record.persistence_bits_v6 = 128;
        })?
        else {
            return Ok(());
        };
        for family in Family::BOTH {
            let mut used = Vec::new();
            for host in 1..30 {
                let to = |port| {
                    let init = sctp(family, chunk::INIT).from(family.addr(1, host), port);
                    Ok::<_, anyhow::Error>(forward(&world, &init)?.dst)
                };
                let first = to(1000)?;
                assert_eq!(to(1001)?, first, "persistence");
                used.push(first);
            }
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.len(), 3, "algorithm {algorithm}");
        }
    }
    Ok(())
}

#[test]
fn errors_about_an_association_are_translated_with_what_they_quote() -> anyhow::Result<()> {
    let Some(world) = nat::world("sctp errors", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let headers = if family == Family::V4 { 20 } else { 40 };
        let init = sctp(family, chunk::INIT);
        let forwarded = run(&world, SEGMENT, &init)?.bytes;
        let to_member = see(&forwarded)?;
        let reply = run(
            &world,
            MEMBER_SEGMENT,
            &answer(family, &to_member, chunk::INIT_ACK),
        )?
        .bytes;
        // All of it, the checksum just so, and as little as there must be.
        for quoted in [usize::MAX, headers + 12, headers + 8] {
            for (sent, segment, to, was) in [
                (&forwarded, MEMBER_SEGMENT, snat(family), init.build()?),
                (
                    &reply,
                    SEGMENT,
                    family.vip(),
                    answer(family, &to_member, chunk::INIT_ACK).build()?,
                ),
            ] {
                let quote = &sent[14..sent.len().min(14 + quoted.min(1000))];
                let router = family.addr(3, 254);
                let error = icmp(family, router, to, &Message::TooBig(quote))?;
                world.set(names::SEGMENTS, INGRESS, &segment_word(segment))?;
                let out = world.xdp(&error)?;
                assert_eq!(
                    (out.verdict, out.reason),
                    (XDP_REDIRECT, Reason::NatIcmpError)
                );
                let inside = &out.bytes[14 + headers + 8..];
                // As it was sent but for the hop that it went.
                let mut expected = was[14..14 + inside.len()].to_vec();
                let (ttl, sum) = if family == Family::V4 {
                    (8, 10..12)
                } else {
                    (7, 0..0)
                };
                expected[ttl] -= 1;
                expected[sum.clone()].copy_from_slice(&inside[sum]);
                assert_eq!(inside, expected, "quoting {quoted} bytes");
            }
        }
    }
    Ok(())
}
