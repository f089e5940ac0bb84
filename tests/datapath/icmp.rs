//! ICMP to addresses of ours.

use anyhow::Context as _;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, PacketHeaders, TransportHeader, icmpv4};
use lb_common::{maps::Addr, reason::Reason};

use super::{
    frames::{CLIENT_MAC, Family, Frame, OUR_MAC, TTL, with_macs},
    world::{
        ACTIVE, EPOCH, INGRESS, STANDBY, STEER_PORT, World, XDP_DROP, XDP_PASS, XDP_REDIRECT,
        XDP_TX, veth,
    },
};

pub(crate) enum Message<'a> {
    Echo,
    EchoReply,
    /// "Too big" about this IP packet.
    TooBig(&'a [u8]),
    NeighbourSolicitation,
    Timestamp,
}

fn v4(addr: Addr) -> [u8; 4] {
    [addr.0[12], addr.0[13], addr.0[14], addr.0[15]]
}

pub(crate) fn icmp(
    family: Family,
    src: Addr,
    dst: Addr,
    message: &Message<'_>,
) -> anyhow::Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC);
    let mut bytes = Vec::new();
    let payload = match message {
        Message::TooBig(inner) => inner,
        _ => &b"0123456789"[..],
    };
    if family == Family::V4 {
        let kind = match message {
            Message::Echo => Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id: 9, seq: 1 }),
            Message::EchoReply => {
                Icmpv4Type::EchoReply(etherparse::IcmpEchoHeader { id: 9, seq: 1 })
            }
            Message::TooBig(_) => Icmpv4Type::DestinationUnreachable(
                icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
            ),
            Message::NeighbourSolicitation | Message::Timestamp => Icmpv4Type::Unknown {
                type_u8: 13,
                code_u8: 0,
                bytes5to8: [0; 4],
            },
        };
        link.ipv4(v4(src), v4(dst), TTL)
            .icmpv4(kind)
            .write(&mut bytes, payload)?;
    } else {
        let kind = match message {
            Message::Echo => Icmpv6Type::EchoRequest(etherparse::IcmpEchoHeader { id: 9, seq: 1 }),
            Message::EchoReply => {
                Icmpv6Type::EchoReply(etherparse::IcmpEchoHeader { id: 9, seq: 1 })
            }
            Message::TooBig(_) => Icmpv6Type::PacketTooBig { mtu: 1400 },
            Message::NeighbourSolicitation => Icmpv6Type::Unknown {
                type_u8: 135,
                code_u8: 0,
                bytes5to8: [0; 4],
            },
            Message::Timestamp => Icmpv6Type::Unknown {
                type_u8: 200,
                code_u8: 0,
                bytes5to8: [0; 4],
            },
        };
        link.ipv6(src.0, dst.0, TTL)
            .icmpv6(kind)
            .write(&mut bytes, payload)?;
    }
    Ok(bytes)
}

fn assert_is_answer(family: Family, bytes: &[u8]) -> anyhow::Result<()> {
    let packet = PacketHeaders::from_ethernet_slice(bytes)?;
    let payload = packet.payload.slice();
    match (family, packet.transport.context("no ICMP")?) {
        (Family::V4, TransportHeader::Icmpv4(header)) => {
            let ip = packet
                .net
                .context("net")?
                .ipv4_ref()
                .context("v4")?
                .0
                .clone();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(
                (ip.source, ip.destination),
                (v4(family.vip()), v4(family.client()))
            );
            assert_eq!(ip.time_to_live, 64);
            assert!(matches!(header.icmp_type, Icmpv4Type::EchoReply(echo) if echo.id == 9));
            assert_eq!(header.checksum, header.icmp_type.calc_checksum(payload));
        }
        (Family::V6, TransportHeader::Icmpv6(header)) => {
            let ip = packet
                .net
                .context("net")?
                .ipv6_ref()
                .context("v6")?
                .0
                .clone();
            assert_eq!(
                (ip.source, ip.destination),
                (family.vip().0, family.client().0)
            );
            assert_eq!(ip.hop_limit, 64);
            assert!(matches!(header.icmp_type, Icmpv6Type::EchoReply(echo) if echo.id == 9));
            let right = header
                .icmp_type
                .calc_checksum(ip.source, ip.destination, payload)?;
            assert_eq!(header.checksum, right);
        }
        other => anyhow::bail!("{other:?}"),
    }
    assert_eq!(
        (&bytes[..6], &bytes[6..12]),
        (&CLIENT_MAC[..], &OUR_MAC[..])
    );
    Ok(())
}

#[test]
fn echo_to_a_vip_is_answered() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("echo")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        world.remove_device(INGRESS)?;
        let echo = icmp(family, family.client(), family.vip(), &Message::Echo)?;
        let out = world.xdp(&echo)?;
        assert_eq!((out.verdict, out.reason), (XDP_TX, Reason::EchoReturned));
        assert_is_answer(family, &out.bytes)?;
        // A redirect where the interface is in DEVS: a veth peer without a program gets it, too.
        world.device(INGRESS)?;
        let out = world.xdp(&echo)?;
        assert_eq!(
            (out.verdict, out.reason),
            (XDP_REDIRECT, Reason::EchoAnswered)
        );
        assert_is_answer(family, &out.bytes)?;
        for message in [Message::EchoReply, Message::Timestamp] {
            let frame = icmp(family, family.client(), family.vip(), &message)?;
            let out = world.xdp(&frame)?;
            assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::IcmpIgnored));
        }
    }
    Ok(())
}

#[test]
fn echo_is_limited_and_can_be_switched_off() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("echo limits")? else {
        return Ok(());
    };
    let family = Family::V4;
    let echo = icmp(family, family.client(), family.vip(), &Message::Echo)?;
    world.configure(true, 0)?;
    assert_eq!(world.xdp(&echo)?.reason, Reason::IcmpRate);
    world.configure(false, 1000)?;
    let out = world.xdp(&echo)?;
    assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::IcmpIgnored));
    assert_eq!(out.bytes, echo);
    Ok(())
}

#[test]
fn neighbour_discovery_passes_whoever_it_is_for() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("discovery")? else {
        return Ok(());
    };
    let family = Family::V6;
    let mut unspecified = icmp(
        family,
        Addr::v6([0; 16]),
        family.vip(),
        &Message::NeighbourSolicitation,
    )?;
    for frame in [
        &icmp(
            family,
            family.client(),
            family.vip(),
            &Message::NeighbourSolicitation,
        )?,
        &unspecified.clone(),
    ] {
        let out = world.xdp(frame)?;
        assert_eq!(
            (out.verdict, out.reason),
            (XDP_PASS, Reason::NeighbourDiscovery)
        );
        assert_eq!(&out.bytes, frame);
    }
    // To the solicited-node group: not an address of ours at all.
    unspecified[38..54].copy_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10]);
    assert_eq!(world.xdp(&unspecified)?.reason, Reason::NotOurs);
    Ok(())
}

#[test]
fn errors_reach_the_amphora_that_has_the_connection() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("errors")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        world.steer(ACTIVE, STANDBY, EPOCH, false)?;
        let router = family.addr(2, 254);
        // What the amphora sent, without its link header.
        let sent = Frame::ack(family, 0)
            .from(family.vip(), STEER_PORT)
            .to(family.client(), 40_001)
            .build()?;
        let error = icmp(family, router, family.vip(), &Message::TooBig(&sent[14..]))?;
        let out = world.xdp(&error)?;
        let (_, src_mac, dst_mac) = veth(ACTIVE);
        assert_eq!(
            (out.verdict, out.reason),
            (XDP_REDIRECT, Reason::SteeredIcmpError)
        );
        assert_eq!(out.bytes, with_macs(&error, dst_mac, src_mac));
        // In a drain it follows the record of the connection.
        world.steer(ACTIVE, STANDBY, EPOCH, true)?;
        let syn = Frame::syn(family, STEER_PORT).from(family.client(), 40_001);
        assert_eq!(world.xdp(&syn.build()?)?.reason, Reason::SteeredByDrain);
        let out = world.xdp(&error)?;
        let (_, src_mac, dst_mac) = veth(STANDBY);
        assert_eq!(out.bytes, with_macs(&error, dst_mac, src_mac));
        // About something the VIP never sent.
        let other = Frame::ack(family, 0)
            .from(family.addr(0, 99), STEER_PORT)
            .build()?;
        let error = icmp(family, router, family.vip(), &Message::TooBig(&other[14..]))?;
        assert_eq!(world.xdp(&error)?.reason, Reason::IcmpErrorUnknown);
    }
    Ok(())
}
