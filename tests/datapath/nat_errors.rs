//! ICMP errors about NAT flows, from both sides.

use anyhow::Context as _;
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use lb_common::{
    maps::{Addr, names, segment_word},
    packet::tcp_flags,
    reason::Reason,
};

use super::{
    frames::{CLIENT_PORT, Family, Frame, Seen, TTL, see},
    icmp::{Message, icmp},
    nat::{MEMBER_PORT, MEMBER_SEGMENT, PORT, snat, world},
    world::{INGRESS, Outcome, SEGMENT, World, XDP_REDIRECT},
};

fn run(world: &World, segment: u32, frame: &[u8]) -> anyhow::Result<Outcome> {
    world.set(names::SEGMENTS, INGRESS, &segment_word(segment))?;
    world.xdp(frame)
}

/// Addresses outside, packet inside; all checksums verified.
fn see_error(bytes: &[u8]) -> anyhow::Result<(Addr, Addr, Seen)> {
    let packet = PacketHeaders::from_ethernet_slice(bytes)?;
    let payload = packet.payload.slice();
    let (src, dst, stored, right, ethertype) = match (
        packet.net.context("net")?,
        packet.transport.context("icmp")?,
    ) {
        (NetHeaders::Ipv4(ip, _), TransportHeader::Icmpv4(icmp)) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(ip.time_to_live, TTL - 1);
            let right = icmp.icmp_type.calc_checksum(payload);
            (
                Addr::v4(ip.source),
                Addr::v4(ip.destination),
                icmp.checksum,
                right,
                [8, 0],
            )
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Icmpv6(icmp)) => {
            assert_eq!(ip.hop_limit, TTL - 1);
            let right = icmp
                .icmp_type
                .calc_checksum(ip.source, ip.destination, payload)?;
            (
                Addr::v6(ip.source),
                Addr::v6(ip.destination),
                icmp.checksum,
                right,
                [0x86, 0xdd],
            )
        }
        other => anyhow::bail!("{other:?}"),
    };
    assert_eq!(stored, right, "checksum of ICMP");
    let mut inside = vec![0; 12];
    inside.extend(ethertype);
    inside.extend(payload);
    Ok((src, dst, see(&inside)?))
}

#[test]
fn errors_from_the_members_side_reach_the_client_as_its_own() -> anyhow::Result<()> {
    let Some(world) = world("errors of members", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for frame in [Frame::syn(family, PORT), Frame::udp(family, PORT)] {
            let sent = run(&world, SEGMENT, &frame.build()?)?.bytes;
            let to_member = see(&sent)?;
            for (from, shown) in [
                (to_member.dst, family.vip()),
                (family.addr(2, 254), family.addr(2, 254)),
            ] {
                let error = icmp(family, from, snat(family), &Message::TooBig(&sent[14..]))?;
                let out = run(&world, MEMBER_SEGMENT, &error)?;
                assert_eq!(
                    (out.verdict, out.reason),
                    (XDP_REDIRECT, Reason::NatIcmpError)
                );
                let (src, dst, inside) = see_error(&out.bytes)?;
                assert_eq!((src, dst), (shown, family.client()));
                assert_eq!(
                    (inside.src, inside.src_port),
                    (family.client(), CLIENT_PORT)
                );
                assert_eq!((inside.dst, inside.dst_port), (family.vip(), PORT));
            }
        }
    }
    Ok(())
}

#[test]
fn errors_from_the_clients_side_reach_the_member_as_its_own() -> anyhow::Result<()> {
    let Some(world) = world("errors of clients", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let to_member = see(&run(&world, SEGMENT, &Frame::syn(family, PORT).build()?)?.bytes)?;
        let answer = Frame::tcp(family, 0, tcp_flags::SYN | tcp_flags::ACK)
            .from(to_member.dst, MEMBER_PORT)
            .to(to_member.src, to_member.src_port);
        let sent = run(&world, MEMBER_SEGMENT, &answer.build()?)?.bytes;
        let error = icmp(
            family,
            family.client(),
            family.vip(),
            &Message::TooBig(&sent[14..]),
        )?;
        let out = run(&world, SEGMENT, &error)?;
        assert_eq!(
            (out.verdict, out.reason),
            (XDP_REDIRECT, Reason::NatIcmpError)
        );
        let (src, dst, inside) = see_error(&out.bytes)?;
        assert_eq!((src, dst), (snat(family), to_member.dst));
        assert_eq!((inside.src, inside.src_port), (to_member.dst, MEMBER_PORT));
        assert_eq!(
            (inside.dst, inside.dst_port),
            (to_member.src, to_member.src_port)
        );
    }
    Ok(())
}

#[test]
fn errors_that_carry_eight_bytes_or_know_no_flow() -> anyhow::Result<()> {
    let Some(world) = world("short errors", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let sent = run(&world, SEGMENT, &Frame::syn(family, PORT).build()?)?.bytes;
    // Header and eight bytes: all that RFC 792 asks for.
    let short = icmp(
        family,
        family.addr(2, 254),
        snat(family),
        &Message::TooBig(&sent[14..42]),
    )?;
    let out = run(&world, MEMBER_SEGMENT, &short)?;
    assert_eq!(out.reason, Reason::NatIcmpError);
    assert_eq!(out.bytes.len(), short.len());
    let cut = icmp(
        family,
        family.addr(2, 254),
        snat(family),
        &Message::TooBig(&sent[14..41]),
    )?;
    assert_eq!(run(&world, MEMBER_SEGMENT, &cut)?.reason, Reason::Truncated);
    let mut other = sent.clone();
    other[34] ^= 0x40;
    let unknown = icmp(
        family,
        family.addr(2, 254),
        snat(family),
        &Message::TooBig(&other[14..]),
    )?;
    let out = run(&world, MEMBER_SEGMENT, &unknown)?;
    assert_eq!(out.reason, Reason::IcmpErrorUnknown);
    assert_eq!(out.bytes, unknown);
    let echo = icmp(family, family.client(), snat(family), &Message::Echo)?;
    assert_eq!(
        run(&world, MEMBER_SEGMENT, &echo)?.reason,
        Reason::IcmpIgnored
    );
    Ok(())
}
