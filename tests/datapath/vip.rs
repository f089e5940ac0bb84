//! What is ours and what is not, and which listener has it.

use lb_common::{
    maps::{ListenerRecord, address_kind, listener_flags, listener_kind, names},
    packet::tcp_flags,
    reason::Reason,
};

use super::{
    frames::{Family, Frame, OUR_MAC, with_macs},
    world::{
        ACTIVE, INGRESS, LB, SEGMENT, STEER_LISTENER, STEER_PORT, World, XDP_DROP, XDP_PASS,
        XDP_REDIRECT, veth,
    },
};

#[test]
fn listener_traffic_goes_to_the_active_with_link_addresses_rewritten() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("steer")? else {
        return Ok(());
    };
    let (_, src_mac, dst_mac) = veth(ACTIVE);
    for family in Family::BOTH {
        for frame in [
            Frame::syn(family, STEER_PORT),
            Frame::ack(family, STEER_PORT),
            Frame::udp(family, STEER_PORT),
        ] {
            let frame = frame.build()?;
            let out = world.xdp(&frame)?;
            assert_eq!((out.verdict, out.reason), (XDP_REDIRECT, Reason::Steered));
            assert_eq!(out.bytes, with_macs(&frame, dst_mac, src_mac), "{family:?}");
        }
    }
    let counters = world.counters(STEER_LISTENER)?;
    assert_eq!(counters.packets_in, 6);
    // TCP counts its payload: 7, four times. UDP counts whole IP packets: 35 and 55.
    assert_eq!(counters.bytes_in, 4 * 7 + 35 + 55);
    Ok(())
}

/// Tags that name a VLAN: 802.1Q, QinQ, and with a priority tag on either side.
const TAGGED: [&[u16]; 4] = [&[5], &[5, 7], &[0, 5], &[5, 0]];

#[test]
fn what_is_not_ours_passes_byte_for_byte() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("pass")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let mut others = vec![
            Frame::syn(family, STEER_PORT).to(family.addr(0, 99), STEER_PORT),
            Frame::udp(family, 53).to(family.addr(2, 1), 53),
        ];
        for tags in TAGGED {
            for other in 0..2 {
                others.push(Frame {
                    tags: tags.to_vec(),
                    ..others[other].clone()
                });
            }
        }
        for frame in others {
            let frame = frame.build()?;
            let out = world.xdp(&frame)?;
            assert_eq!((out.verdict, out.reason), (XDP_PASS, Reason::NotOurs));
            assert_eq!(out.bytes, frame);
        }
    }
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 9, 0x08, 0x06]);
    arp.extend([0; 46]);
    let mut lldp = arp.clone();
    lldp[12..14].copy_from_slice(&[0x88, 0xcc]);
    // Three tags, of which two are looked through.
    let mut deep = Frame {
        tags: vec![5, 7],
        ..Frame::syn(Family::V4, STEER_PORT)
    }
    .build()?;
    deep.splice(12..12, [0x88, 0xa8, 0, 9]);
    for frame in [arp, lldp, deep] {
        let out = world.xdp(&frame)?;
        assert_eq!((out.verdict, out.reason), (XDP_PASS, Reason::NotIp));
        assert_eq!(out.bytes, frame);
    }
    // The VIP of another segment is nobody's here; an interface without a segment has no VIPs.
    world.set(
        names::SEGMENTS,
        INGRESS,
        &lb_common::maps::segment_word(SEGMENT + 1),
    )?;
    let frame = Frame::syn(Family::V4, STEER_PORT).build()?;
    assert_eq!(world.xdp(&frame)?.reason, Reason::NotOurs);
    world.set(names::SEGMENTS, INGRESS, &0u64)?;
    let out = world.xdp(&frame)?;
    assert_eq!((out.verdict, out.reason), (XDP_PASS, Reason::NoSegment));
    assert_eq!(out.bytes, frame);
    Ok(())
}

#[test]
fn a_vip_never_leaks_to_the_stack() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("no leak")? else {
        return Ok(());
    };
    world.vip(SEGMENT, Family::V4.addr(0, 11), 4096, 0)?;
    let v4 = |port| Frame::syn(Family::V4, port);
    for family in Family::BOTH {
        let mut gre = Frame::udp(family, STEER_PORT).build()?;
        let at = if family == Family::V4 { 23 } else { 20 };
        gre[at] = 47;
        assert_eq!(world.xdp(&gre)?.reason, Reason::Protocol);
        // Of another VLAN: not this segment's to serve, and not the stack's to answer.
        for tags in TAGGED {
            let frame = Frame {
                tags: tags.to_vec(),
                ..Frame::syn(family, STEER_PORT)
            };
            let out = world.xdp(&frame.build()?)?;
            assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::Vlan));
        }
        let out = world.xdp(&Frame::syn(family, 22).build()?)?;
        assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::NoListener));
        let land = Frame::syn(family, STEER_PORT).from(family.vip(), STEER_PORT);
        assert_eq!(world.xdp(&land.build()?)?.reason, Reason::Land);
    }
    for (frame, reason) in [
        (
            v4(STEER_PORT).to(Family::V4.addr(0, 11), STEER_PORT),
            Reason::VipDisabled,
        ),
        (
            v4(STEER_PORT).from(lb_common::maps::Addr::v4([127, 0, 0, 1]), 9),
            Reason::MartianSource,
        ),
        (
            Frame {
                ttl: 0,
                ..v4(STEER_PORT)
            },
            Reason::Ttl,
        ),
    ] {
        let out = world.xdp(&frame.build()?)?;
        assert_eq!((out.verdict, out.reason), (XDP_DROP, reason), "{frame:?}");
    }
    let group = with_macs(&v4(STEER_PORT).build()?, [1, 0, 0x5e, 0, 0, 1], OUR_MAC);
    assert_eq!(world.xdp(&group)?.reason, Reason::LinkGroup);
    Ok(())
}

#[test]
fn priority_tags_come_off_and_options_stay() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("tags")? else {
        return Ok(());
    };
    let (_, src_mac, dst_mac) = veth(ACTIVE);
    for family in Family::BOTH {
        for tags in [vec![0], vec![0, 0]] {
            let plain = Frame::syn(family, STEER_PORT);
            let tagged = Frame {
                tags,
                ..plain.clone()
            };
            let out = world.xdp(&tagged.build()?)?;
            assert_eq!(out.reason, Reason::Steered);
            assert_eq!(out.bytes, with_macs(&plain.build()?, dst_mac, src_mac));
        }
    }
    let options = Frame {
        options: vec![1; 40],
        ..Frame::syn(Family::V4, STEER_PORT)
    };
    let frame = options.build()?;
    let out = world.xdp(&frame)?;
    assert_eq!(out.reason, Reason::Steered);
    assert_eq!(out.bytes, with_macs(&frame, dst_mac, src_mac));
    Ok(())
}

#[test]
fn allowed_cidrs_are_enforced_per_listener() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("cidrs")? else {
        return Ok(());
    };
    let open = STEER_LISTENER + 1;
    let restricted = ListenerRecord {
        kind: listener_kind::STEER,
        flags: listener_flags::CIDRS,
        lb: LB,
        maglev: u32::MAX,
        ..ListenerRecord::default()
    };
    world.listener(STEER_LISTENER, &restricted)?;
    world.listener(
        open,
        &ListenerRecord {
            flags: 0,
            ..restricted
        },
    )?;
    for family in Family::BOTH {
        world.port(family, 6, 8080, open)?;
        let denied = Frame::syn(family, STEER_PORT).build()?;
        assert_eq!(world.xdp(&denied)?.reason, Reason::CidrDenied);
        let bits = if family == Family::V4 { 96 + 24 } else { 48 };
        world.prefix(names::CIDRS, STEER_LISTENER, family.addr(1, 0), bits)?;
        assert_eq!(world.xdp(&denied)?.reason, Reason::Steered);
        let outside = Frame::syn(family, STEER_PORT).from(family.addr(2, 7), 1);
        assert_eq!(world.xdp(&outside.build()?)?.reason, Reason::CidrDenied);
        // Another listener's list is not this one's.
        let other = Frame::syn(family, 8080).from(family.addr(2, 7), 1);
        assert_eq!(world.xdp(&other.build()?)?.reason, Reason::Steered);
    }
    Ok(())
}

#[test]
fn packets_to_an_amphoras_own_address_reach_its_veth() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("amphora address")? else {
        return Ok(());
    };
    let (ifindex, src_mac, dst_mac) = veth(ACTIVE);
    for family in Family::BOTH {
        let own = family.addr(0, 50);
        world.owned(address_kind::AMPHORA, own, u32::from(ACTIVE))?;
        world.device(ifindex)?;
        let answer = Frame::tcp(family, 33000, tcp_flags::SYN | tcp_flags::ACK).to(own, 33000);
        let frame = answer.build()?;
        let out = world.xdp(&frame)?;
        assert_eq!((out.verdict, out.reason), (XDP_REDIRECT, Reason::ToAmphora));
        assert_eq!(out.bytes, with_macs(&frame, dst_mac, src_mac));
        world.remove_device(ifindex)?;
        let out = world.xdp(&frame)?;
        assert_eq!(
            (out.verdict, out.reason),
            (XDP_DROP, Reason::AmphoraUnreachable)
        );
    }
    Ok(())
}

#[test]
fn ports_that_collide_are_all_found() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("ports")? else {
        return Ok(());
    };
    // More ports than half the block, of both protocols: some share a home.
    let mut placed = Vec::new();
    for port in 8000..8006 {
        for protocol in [6u8, 17] {
            if world
                .port(Family::V4, protocol, port, STEER_LISTENER)
                .is_ok()
            {
                placed.push((protocol, port));
            }
        }
    }
    assert!(placed.len() >= 8, "{placed:?}");
    for (protocol, port) in placed {
        let frame = if protocol == 6 {
            Frame::syn(Family::V4, port)
        } else {
            Frame::udp(Family::V4, port)
        };
        assert_eq!(
            world.xdp(&frame.build()?)?.reason,
            Reason::Steered,
            "{port}"
        );
    }
    Ok(())
}
