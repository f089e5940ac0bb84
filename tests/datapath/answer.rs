//! What an amphora may send, and where.

use lb_common::{
    maps::{Addr, AmphoraRecord, AnswerRecord, address_kind, names, vip_flags},
    reason::Reason,
};

use super::{
    frames::{Family, Frame},
    world::{ACTIVE, INGRESS, LB, SEGMENT, STANDBY, STEER_PORT, World},
};

const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
const UPLINK: u32 = 77;

/// A world whose loopback is the active's veth.
fn world(test: &str) -> anyhow::Result<Option<World>> {
    let Some(mut world) = World::with_pair(test)? else {
        return Ok(None);
    };
    let veth = AmphoraRecord {
        ifindex: INGRESS,
        lb: LB,
        dst_mac: [0; 6],
        src_mac: [0; 6],
    };
    world.set(names::AMPHORAE, u32::from(ACTIVE), &veth)?;
    world.answer_from(
        INGRESS,
        &AnswerRecord {
            egress_ifindex: UPLINK,
            amphora: u32::from(ACTIVE),
            lb: LB,
            segment: SEGMENT,
        },
    )?;
    for family in Family::BOTH {
        world.owned(address_kind::AMPHORA, own(family), u32::from(ACTIVE))?;
        world.owned(address_kind::AMPHORA, others(family), u32::from(STANDBY))?;
        world.owned(address_kind::SNAT, family.addr(0, 70), LB)?;
        world.owned(address_kind::VIP, family.addr(0, 80), LB + 1)?;
    }
    Ok(Some(world))
}

fn own(family: Family) -> Addr {
    family.addr(0, 50)
}

fn others(family: Family) -> Addr {
    family.addr(0, 51)
}

#[test]
fn answers_from_its_vip_and_its_own_addresses_leave_untouched() -> anyhow::Result<()> {
    let Some(world) = world("answers")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for src in [family.vip(), own(family)] {
            let frame = Frame::ack(family, 0)
                .from(src, STEER_PORT)
                .to(family.client(), 40_000);
            for frame in [
                frame.clone(),
                Frame {
                    flags: None,
                    ..frame
                },
            ] {
                let frame = frame.build()?;
                let out = world.answer(&frame)?;
                assert_eq!(
                    (out.verdict, out.reason),
                    (TC_ACT_REDIRECT, Reason::Answered)
                );
                assert_eq!(out.bytes, frame);
            }
        }
    }
    Ok(())
}

#[test]
fn foreign_sources_are_dropped() -> anyhow::Result<()> {
    let Some(world) = world("spoofing")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for src in [
            others(family),
            family.addr(0, 70),
            family.addr(0, 80),
            family.addr(1, 1),
            if family == Family::V4 {
                Addr::v4([127, 0, 0, 1])
            } else {
                Addr::v6([0; 16])
            },
        ] {
            let frame = Frame::ack(family, 0).from(src, 1).to(family.client(), 2);
            let out = world.answer(&frame.build()?)?;
            assert_eq!(
                (out.verdict, out.reason),
                (TC_ACT_SHOT, Reason::AnswerSpoofed),
                "{src:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn forbidden_destinations_are_dropped() -> anyhow::Result<()> {
    let Some(world) = world("denied")? else {
        return Ok(());
    };
    for (addr, bits) in [
        (Family::V4.addr(2, 0), 96 + 24),
        (Family::V6.addr(2, 0), 48),
    ] {
        world.prefix(names::DENIED, 0, addr, bits)?;
    }
    let v4 = [
        Family::V4.addr(2, 9),
        Addr::v4([127, 0, 0, 1]),
        Addr::v4([169, 254, 169, 254]),
        Addr::v4([224, 0, 0, 251]),
        Addr::v4([255, 255, 255, 255]),
        Addr::v4([0, 0, 0, 0]),
    ];
    let mut one = [0; 16];
    one[15] = 1;
    let mut link_local = [0; 16];
    link_local[..2].copy_from_slice(&[0xfe, 0x80]);
    let v6 = [
        Family::V6.addr(2, 9),
        Addr::v6(one),
        Addr::v6(link_local),
        Family::V4.client(),
    ];
    for (family, addrs) in [(Family::V4, &v4[..]), (Family::V6, &v6[..3])] {
        for dst in addrs {
            let frame = Frame::syn(family, 0).from(own(family), 1).to(*dst, 80);
            let out = world.answer(&frame.build()?)?;
            assert_eq!(
                (out.verdict, out.reason),
                (TC_ACT_SHOT, Reason::AnswerDenied),
                "{dst:?}"
            );
        }
    }
    // A host that is a client of the VIP gets its answers, and nothing that opens a connection.
    for family in [Family::V4, Family::V6] {
        let dst = family.addr(2, 9);
        let reply = Frame::ack(family, 0).from(family.vip(), 80).to(dst, 4242);
        assert_eq!(world.answer(&reply.build()?)?.reason, Reason::Answered);
        let opening = Frame::syn(family, 0).from(family.vip(), 80).to(dst, 4242);
        assert_eq!(
            world.answer(&opening.build()?)?.reason,
            Reason::AnswerDenied
        );
        let own_address = Frame::ack(family, 0).from(own(family), 80).to(dst, 4242);
        assert_eq!(
            world.answer(&own_address.build()?)?.reason,
            Reason::AnswerDenied
        );
    }
    // Nor is a later piece of a datagram.
    let mut piece = Frame::ack(Family::V4, 0)
        .from(Family::V4.vip(), 80)
        .to(Family::V4.addr(2, 9), 4242)
        .build()?;
    piece[21] = 1;
    assert_eq!(world.answer(&piece)?.reason, Reason::AnswerDenied);
    // An IPv4-mapped destination on IPv6 is no way round.
    let mapped = Frame::syn(Family::V6, 0)
        .from(own(Family::V6), 1)
        .to(v6[3], 80);
    assert_eq!(world.answer(&mapped.build()?)?.verdict, TC_ACT_SHOT);
    Ok(())
}

#[test]
fn what_a_stack_sends_by_itself_and_unknown_veths_are_dropped() -> anyhow::Result<()> {
    let Some(mut world) = world("noise")? else {
        return Ok(());
    };
    let mut group = [0; 16];
    group[0] = 0xff;
    group[1] = 2;
    group[15] = 2;
    let multicast = Frame::udp(Family::V6, 0)
        .from(own(Family::V6), 1)
        .to(Addr::v6(group), 2);
    assert_eq!(
        world.answer(&multicast.build()?)?.reason,
        Reason::AnswerDiscovery
    );
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 9, 0x08, 0x06]);
    arp.extend([0; 46]);
    let out = world.answer(&arp)?;
    assert_eq!(
        (out.verdict, out.reason),
        (TC_ACT_SHOT, Reason::AnswerNotIp)
    );
    let none = AnswerRecord {
        egress_ifindex: 0,
        amphora: 0,
        lb: 0,
        segment: 0,
    };
    world.answer_from(INGRESS, &none)?;
    let frame = Frame::ack(Family::V4, 0)
        .from(own(Family::V4), 1)
        .to(Family::V4.client(), 2);
    assert_eq!(
        world.answer(&frame.build()?)?.reason,
        Reason::AnswerUnknownDevice
    );
    world.vip(SEGMENT, Family::V4.addr(0, 60), 0, vip_flags::ENABLED)?;
    Ok(())
}
