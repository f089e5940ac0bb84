//! Packets nobody thought of: cut, changed, prolonged, with any header fields; against the parser as it runs
//! on the host, and against a rewrite that computes every checksum anew.

use anyhow::{Context as _, ensure};
use lb_common::{
    checksum,
    maps::{Addr, names, segment_word},
    packet::{Ends, Icmp, Link, Network, Transport, is_martian, tcp_flags},
    reason::{Fate, Reason},
};

use super::{
    frames::{CLIENT_MAC, Family, Frame, OUR_MAC, with_macs},
    nat::{self, DEVICE_MAC, MEMBER_SEGMENT, PORT, member_mac, members},
    world::{ACTIVE, INGRESS, SEGMENT, STEER_PORT, World, XDP_REDIRECT, veth},
};

/// Xorshift: the same packets in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % below.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> anyhow::Result<T> {
        choices
            .get(self.below(choices.len()))
            .cloned()
            .context("a choice")
    }
}

/// What becomes of a packet in a world with a pair of amphorae and nothing else; `None`: ICMP, of which only
/// that it does not pass is said here.
fn expected(frame: &[u8]) -> (Option<Reason>, Option<usize>) {
    match walk(frame) {
        Ok(l3) => (Some(Reason::Steered), Some(l3)),
        Err(Some(reason)) => (Some(reason), None),
        Err(None) => (None, None),
    }
}

fn walk(frame: &[u8]) -> Result<usize, Option<Reason>> {
    let link = Link::parse(frame)?;
    let ends = Ends::parse(frame, link.l3, link.is_v6)?;
    let family = if link.is_v6 { Family::V6 } else { Family::V4 };
    if ends.dst != family.vip() {
        return Err(Some(Reason::NotOurs));
    }
    let byte = |at: usize| frame.get(link.l3 + at).copied();
    if link.is_v6
        && byte(6) == Some(58)
        && byte(40).is_some_and(|kind| Icmp::of(kind, true) == Icmp::Discovery)
    {
        return Err(Some(Reason::NeighbourDiscovery));
    }
    if link.has_vlan {
        return Err(Some(Reason::Vlan));
    }
    if link.is_group {
        return Err(Some(Reason::LinkGroup));
    }
    let network = Network::parse(frame, link.l3, link.is_v6)?;
    if is_martian(&ends.src, link.is_v6) {
        return Err(Some(Reason::MartianSource));
    }
    if ends.src == ends.dst {
        return Err(Some(Reason::Land));
    }
    if network.protocol == if link.is_v6 { 58 } else { 1 } {
        return Err(None);
    }
    let transport = Transport::parse(frame, &network)?;
    if transport.dst_port.get() != STEER_PORT || network.protocol == 132 {
        return Err(Some(Reason::NoListener));
    }
    Ok(link.l3)
}

fn any_frame(random: &mut Random) -> anyhow::Result<Vec<u8>> {
    let family = random.of(&Family::BOTH)?;
    let tags = random.of(&[
        vec![],
        vec![],
        vec![],
        vec![],
        vec![],
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 9],
    ])?;
    let flags = random.of(&[
        None,
        Some(tcp_flags::SYN),
        Some(tcp_flags::ACK),
        Some(tcp_flags::RST),
    ])?;
    let options = if family == Family::V4 && random.below(4) == 0 {
        vec![1; 4 * random.below(11)]
    } else {
        Vec::new()
    };
    let payload = random.below(64);
    let base = Frame {
        flags,
        tags,
        options,
        ttl: random.of(&[1, 2, 64, 255])?,
        payload: random.bytes(payload),
        ..Frame::syn(family, random.of(&[STEER_PORT, STEER_PORT, 81])?)
    };
    let base = match random.below(16) {
        0 => base.to(family.addr(0, 99), STEER_PORT),
        1 => base.to(family.addr(2, 1), STEER_PORT),
        _ => base,
    };
    let mut frame = base.build()?;
    if family == Family::V6 && base.tags.is_empty() && random.below(3) == 0 {
        extend(random, &mut frame)?;
    }
    for _ in 0..random.below(4) {
        match random.below(5) {
            0 => frame.truncate(14 + random.below(frame.len() - 13)),
            1 => {
                let more = random.below(40);
                frame.extend(random.bytes(more));
            }
            // Headers, where it hurts.
            _ => {
                let from = if random.below(4) == 0 { 0 } else { 14 };
                let at = (from + random.below(50)).min(frame.len() - 1);
                let value = random.byte();
                let byte = frame.get_mut(at).context("a byte")?;
                *byte = if value & 1 == 0 {
                    value
                } else {
                    *byte ^ (1 << (value >> 5))
                };
            }
        }
    }
    if random.below(16) == 0 {
        let all = frame.len();
        frame = random.bytes(all);
    }
    Ok(frame)
}

/// Puts extension headers before what an IPv6 packet carries, up to two more than are walked.
fn extend(random: &mut Random, frame: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut kinds = vec![frame[20]];
    let mut all = Vec::new();
    for _ in 0..random.below(9) {
        let kind = random.of(&[0, 60, 60, 43, 44, 51])?;
        let units = random.below(3);
        let mut header = match kind {
            44 => vec![0; 8],
            51 => vec![0; 4 * (units + 2)],
            _ => vec![0; 8 * (units + 1)],
        };
        header[0] = *kinds.last().context("a kind")?;
        header[1] = if kind == 44 { 0 } else { u8::try_from(units)? };
        // Atomic fragments and routing headers at their end mostly.
        let odd = random.below(12) == 0;
        if odd && matches!(kind, 43 | 44) {
            header[3] = 1;
        }
        kinds.push(kind);
        all.splice(0..0, header);
    }
    frame[20] = *kinds.last().context("a kind")?;
    let length = u16::from_be_bytes([frame[18], frame[19]]) + u16::try_from(all.len())?;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame.splice(54..54, all);
    Ok(())
}

#[test]
fn the_kernel_parses_as_the_host_does_and_touches_nothing_it_does_not_send() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("random packets")? else {
        return Ok(());
    };
    let mut random = Random(0x0dd_ba11);
    let (_, src_mac, dst_mac) = veth(ACTIVE);
    let mut seen = std::collections::BTreeMap::<Reason, u32>::new();
    for number in 0..6_000 {
        let frame = any_frame(&mut random)?;
        let out = world.xdp(&frame)?;
        *seen.entry(out.reason).or_default() += 1;
        let (reason, l3) = expected(&frame);
        if let Some(reason) = reason {
            ensure!(
                out.reason == reason,
                "packet {number}: {:?} for {reason:?}: {frame:02x?}",
                out.reason
            );
        } else {
            ensure!(out.reason.fate() != Fate::Passed, "{number}: {frame:02x?}");
        }
        if let Some(l3) = l3 {
            // Priority tags come off.
            let mut sent = frame[..14].to_vec();
            sent[12..14].copy_from_slice(&frame[l3 - 2..l3]);
            sent.extend(&frame[l3..]);
            ensure!(
                out.bytes == with_macs(&sent, dst_mac, src_mac),
                "packet {number} was changed: {frame:02x?}"
            );
        } else if out.reason.fate() != Fate::Forwarded {
            ensure!(
                out.bytes == frame,
                "packet {number} was touched: {frame:02x?}"
            );
        }
    }
    println!("{seen:?}");
    // Wide enough to have met nearly everything.
    assert!(seen.len() >= 13, "{seen:?}");
    Ok(())
}

/// Where a packet goes.
struct New {
    src: Addr,
    dst: Addr,
    src_port: u16,
    dst_port: u16,
    macs: ([u8; 6], [u8; 6]),
}

fn set_addr(to: &mut [u8], addr: &Addr) {
    let from = addr.0.len() - to.len();
    to.copy_from_slice(&addr.0[from..]);
}

/// The packet as a router with other addresses would send it, its checksums computed anew.
fn rewritten(frame: &[u8], new: &New) -> anyhow::Result<Vec<u8>> {
    let fail = |reason: Reason| anyhow::anyhow!("{reason:?}");
    let link = Link::parse(frame).map_err(fail)?;
    let network = Network::parse(frame, link.l3, link.is_v6).map_err(fail)?;
    let mut out = with_macs(frame, new.macs.0, new.macs.1);
    let ip = &mut out[link.l3..];
    if link.is_v6 {
        ip[7] -= 1;
        set_addr(&mut ip[8..24], &new.src);
        set_addr(&mut ip[24..40], &new.dst);
    } else {
        ip[8] -= 1;
        set_addr(&mut ip[12..16], &new.src);
        set_addr(&mut ip[16..20], &new.dst);
        ip[10..12].fill(0);
        let header = network.l4 - link.l3;
        let sum = checksum::full(&ip[..header]);
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
    let segment = &mut out[network.l4..network.l4 + network.l4_len];
    segment[..2].copy_from_slice(&new.src_port.to_be_bytes());
    segment[2..4].copy_from_slice(&new.dst_port.to_be_bytes());
    let at = if network.protocol == 6 { 16 } else { 6 };
    if network.protocol == 6 || segment[at..at + 2] != [0, 0] {
        segment[at..at + 2].fill(0);
        let sum = checksum::full_transport(&new.src, &new.dst, network.protocol, segment);
        let sum = if network.protocol == 17 && sum == 0 {
            0xffff
        } else {
            sum
        };
        segment[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
    }
    Ok(out)
}

/// Sends a packet there and one back, and wants both to be what [`rewritten`] makes of them.
fn there_and_back(world: &World, family: Family, frame: &[u8]) -> anyhow::Result<()> {
    world.set(names::SEGMENTS, INGRESS, &segment_word(SEGMENT))?;
    let out = world.raw(frame)?;
    ensure!(out.0 == XDP_REDIRECT, "verdict {}: {frame:02x?}", out.0);
    let fail = |reason: Reason| anyhow::anyhow!("{reason:?}");
    let ends = Ends::parse(&out.1[..], 14, family == Family::V6).map_err(fail)?;
    let network = Network::parse(&out.1[..], 14, family == Family::V6).map_err(fail)?;
    let transport = Transport::parse(&out.1[..], &network).map_err(fail)?;
    let (index, _) = members(family)
        .into_iter()
        .find(|(index, _)| nat::member_addr(family, *index) == ends.dst)
        .context("one of the members")?;
    let new = New {
        src: nat::snat(family),
        dst: ends.dst,
        src_port: transport.src_port.get(),
        dst_port: nat::MEMBER_PORT,
        macs: (member_mac(index), DEVICE_MAC),
    };
    ensure!(
        out.1 == rewritten(frame, &new)?,
        "to the member:\n{frame:02x?}\n{:02x?}",
        out.1
    );
    // What the member sends is the same packet turned round.
    let turned = New {
        src: new.dst,
        dst: new.src,
        src_port: new.dst_port,
        dst_port: new.src_port,
        macs: (OUR_MAC, CLIENT_MAC),
    };
    let answer = rewritten(frame, &turned)?;
    world.set(names::SEGMENTS, INGRESS, &segment_word(MEMBER_SEGMENT))?;
    let out = world.raw(&answer)?;
    ensure!(out.0 == XDP_REDIRECT, "verdict {} of the answer", out.0);
    let client = Network::parse(frame, 14, family == Family::V6)
        .and_then(|network| Transport::parse(frame, &network))
        .map_err(fail)?;
    let home = New {
        src: family.vip(),
        dst: family.client(),
        src_port: PORT,
        dst_port: client.src_port.get(),
        macs: (CLIENT_MAC, OUR_MAC),
    };
    ensure!(
        out.1 == rewritten(&answer, &home)?,
        "to the client:\n{answer:02x?}\n{:02x?}",
        out.1
    );
    Ok(())
}

#[test]
fn nat_changes_what_it_must_and_nothing_else() -> anyhow::Result<()> {
    let Some(world) = nat::world("random nat", 0)? else {
        return Ok(());
    };
    let mut random = Random(0x5eed);
    for number in 0..3_000_u16 {
        let family = random.of(&Family::BOTH)?;
        let is_tcp = random.below(2) == 0;
        let payload = random.below(90);
        let frame = Frame {
            ttl: random.of(&[3, 64, 128, 254])?,
            options: if family == Family::V4 && random.below(3) == 0 {
                vec![1; 4 * random.below(11)]
            } else {
                Vec::new()
            },
            payload: random.bytes(payload),
            flags: is_tcp.then_some(tcp_flags::SYN),
            ..Frame::syn(family, PORT)
        }
        .from(family.client(), 2_000 + number % 500);
        let mut bytes = frame.build()?;
        // Fields that no balancer has to do with: class, label, identification, DF, sequence, window, urgent.
        let l4 = bytes.len() - payload - if is_tcp { 20 } else { 8 };
        let ip = &mut bytes[14..];
        if family == Family::V4 {
            ip[1] = random.byte();
            ip[4] = random.byte();
            ip[5] = random.byte();
            ip[6] = random.of(&[0, 0x40, 0x80])?;
        } else {
            ip[0] = 0x60 | random.byte() & 0xf;
            ip[1] = random.byte();
            ip[2] = random.byte();
            ip[3] = random.byte();
        }
        if is_tcp {
            for at in [4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 18, 19] {
                bytes[l4 + at] = random.byte();
            }
            // ECE, CWR, PSH and URG beside SYN.
            bytes[l4 + 13] = tcp_flags::SYN | random.byte() & 0xe8;
        } else if family == Family::V4 && random.below(4) == 0 {
            bytes[l4 + 6..l4 + 8].fill(0);
        }
        // Right checksums for all that; then some bytes of padding behind the packet.
        let mut right = with_right_checksums(&bytes)?;
        let padding = random.below(3) * 7;
        right.extend(random.bytes(padding));
        there_and_back(&world, family, &right).with_context(|| format!("packet {number}"))?;
    }
    Ok(())
}

/// The same packet with checksums computed anew.
fn with_right_checksums(frame: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut before = frame.to_vec();
    let is_v6 = before[12] == 0x86;
    // `rewritten` takes one away.
    before[if is_v6 { 21 } else { 22 }] += 1;
    let fail = |reason: Reason| anyhow::anyhow!("{reason:?}");
    let ends = Ends::parse(frame, 14, is_v6).map_err(fail)?;
    let network = Network::parse(frame, 14, is_v6).map_err(fail)?;
    let transport = Transport::parse(frame, &network).map_err(fail)?;
    let mac = |at: usize| -> anyhow::Result<[u8; 6]> { Ok(frame[at..at + 6].try_into()?) };
    rewritten(
        &before,
        &New {
            src: ends.src,
            dst: ends.dst,
            src_port: transport.src_port.get(),
            dst_port: transport.dst_port.get(),
            macs: (mac(0)?, mac(6)?),
        },
    )
}

#[test]
fn no_carry_is_lost_whatever_the_checksum_is() -> anyhow::Result<()> {
    let Some(world) = nat::world("carry", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for flags in [None, Some(tcp_flags::SYN)] {
            // Every checksum that a packet can have, one after the other (of TCP every third).
            let step = if flags.is_some() { 3 } else { 1 };
            let mut bytes = Frame {
                flags,
                payload: vec![0; 2],
                ..Frame::syn(family, PORT)
            }
            .build()?;
            let at = bytes.len() - 2;
            let sum_at = at - if flags.is_some() { 4 } else { 2 };
            let mut new = None;
            for value in (0..=u16::MAX).step_by(step) {
                bytes[at..].copy_from_slice(&value.to_be_bytes());
                bytes[sum_at] = 1;
                let right = with_right_checksums(&bytes)?;
                let (verdict, out) = world.raw(&right)?;
                ensure!(verdict == XDP_REDIRECT, "verdict {verdict}");
                let new = new.get_or_insert_with(|| {
                    let tail = if family == Family::V4 { 26 } else { 22 };
                    let len = if family == Family::V4 { 4 } else { 16 };
                    let addr = |at: usize| {
                        let part = out.get(at..at + len).unwrap_or_default();
                        match *part {
                            [a, b, c, d] => Addr::v4([a, b, c, d]),
                            _ => Addr::v6(part.try_into().unwrap_or_default()),
                        }
                    };
                    let ports = tail + 2 * len;
                    New {
                        src: addr(tail),
                        dst: addr(tail + len),
                        src_port: u16::from_be_bytes([out[ports], out[ports + 1]]),
                        dst_port: u16::from_be_bytes([out[ports + 2], out[ports + 3]]),
                        macs: (
                            out[..6].try_into().unwrap_or_default(),
                            out[6..12].try_into().unwrap_or_default(),
                        ),
                    }
                });
                ensure!(
                    out == rewritten(&right, new)?,
                    "{value:#06x} in {right:02x?} gives {out:02x?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_damaged_packet_stays_as_damaged_as_it_was() -> anyhow::Result<()> {
    let Some(world) = nat::world("damaged", 0)? else {
        return Ok(());
    };
    // How far a checksum is off, in one's complement.
    let off = |frame: &[u8], at: usize| -> anyhow::Result<u32> {
        let right = with_right_checksums(frame)?;
        let word = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        Ok((word(frame) + 0xffff - word(&right)) % 0xffff)
    };
    for family in Family::BOTH {
        for flags in [None, Some(tcp_flags::SYN)] {
            let right = Frame {
                flags,
                ..Frame::syn(family, PORT)
            }
            .build()?;
            let l4 = if family == Family::V4 { 34 } else { 54 };
            let at = l4 + if flags.is_some() { 16 } else { 6 };
            for damage in (1..=u16::MAX).step_by(251) {
                let mut bytes = right.clone();
                let stored = u16::from_be_bytes([bytes[at], bytes[at + 1]]) ^ damage;
                if stored == 0 {
                    continue;
                }
                bytes[at..at + 2].copy_from_slice(&stored.to_be_bytes());
                let (verdict, out) = world.raw(&bytes)?;
                ensure!(verdict == XDP_REDIRECT, "verdict {verdict}");
                ensure!(
                    off(&bytes, at)? == off(&out, at)?,
                    "{damage:#x}: {bytes:02x?} became {out:02x?}"
                );
            }
        }
    }
    Ok(())
}
