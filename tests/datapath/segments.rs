//! Tenants whose networks have the same addresses: client, VIP, member and source address are equal in two
//! pairs of segments, and no packet crosses.

use lb_common::{
    maps::{
        AddressRecord, Be16, ListenerRecord, MemberRecord, address_kind, listener_kind,
        maglev_slots, names, neighbour_word, port_home, port_word, segment_word, vip_flags,
    },
    packet::tcp_flags,
    reason::Reason,
};

use super::{
    frames::{Family, Frame, Seen, see},
    nat::{
        self, DEVICE_MAC, MEMBER_PORT, MEMBER_SEGMENT, PORT, answer, fill_maglev, listener,
        member_addr, member_mac, members, snat,
    },
    world::{INGRESS, LB, SEGMENT, World},
};

/// The other tenant's.
const OTHER: u32 = 100;
const OTHER_LB: u32 = LB + 1;
const OTHER_LISTENER: u32 = 71;
const OTHER_DEVICE: u32 = 77;
const OTHER_MAC: [u8; 6] = [2, 0x0e, 0, 0, 0, 9];
const OTHER_MEMBER: u16 = 301;

/// Another load balancer at the same addresses in other segments, with one member at the address of one of
/// the first one's.
fn world(test: &str) -> anyhow::Result<Option<World>> {
    let Some(mut world) = nat::world(test, 0)? else {
        return Ok(None);
    };
    world.device(OTHER_DEVICE)?;
    for family in Family::BOTH {
        // The first one's members: one, so that both choose the same address.
        let first = members(family)[0].0;
        fill_maglev(&world, listener(family), &[(first, 1)])?;
        let more = u32::from(family == Family::V6);
        let (index, member) = (OTHER_LISTENER + more, OTHER_MEMBER + u16::try_from(more)?);
        let base = 8192 + 16 * more;
        for (segment, kind, addr, flags) in [
            (
                SEGMENT + OTHER,
                address_kind::VIP,
                family.vip(),
                vip_flags::ENABLED,
            ),
            (MEMBER_SEGMENT + OTHER, address_kind::SNAT, snat(family), 0),
        ] {
            world.address(&AddressRecord {
                segment,
                kind,
                addr,
                owner: OTHER_LB,
                ports_base: base,
                ports_mask: 15,
                flags,
            })?;
        }
        world.set(
            names::PORTS,
            base + (port_home(6, PORT) & 15),
            &port_word(6, PORT, index),
        )?;
        world.listener(
            index,
            &ListenerRecord {
                kind: listener_kind::NAT,
                lb: OTHER_LB,
                maglev: maglev_slots(Some(index), Some(index)),
                protocol: 6,
                ..ListenerRecord::default()
            },
        )?;
        let record = MemberRecord {
            segment: MEMBER_SEGMENT + OTHER,
            ifindex: OTHER_DEVICE,
            addr: member_addr(family, first),
            snat: snat(family),
            port: Be16::new(MEMBER_PORT),
            src_mac: OTHER_MAC,
            lb: OTHER_LB,
            weight: 1,
            mtu: 0,
            flags: 0,
            _pad: 0,
        };
        world.set(names::MEMBERS, u32::from(member), &record)?;
        let next_hop = neighbour_word(member_mac(member));
        world.set(names::NEIGHBOURS, u32::from(member), &next_hop)?;
        fill_maglev(&world, index, &[(member, 1)])?;
    }
    Ok(Some(world))
}

/// What becomes of a packet that comes in by a segment.
fn from(world: &World, segment: u32, frame: &Frame) -> anyhow::Result<Result<Seen, Reason>> {
    world.set(names::SEGMENTS, INGRESS, &segment_word(segment))?;
    let out = world.xdp(&frame.build()?)?;
    Ok(match out.reason {
        Reason::NatForward | Reason::NatReverse => Ok(see(&out.bytes)?),
        other => Err(other),
    })
}

#[test]
fn equal_addresses_in_two_segments_never_meet() -> anyhow::Result<()> {
    let Some(world) = world("two segments")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let first = members(family)[0].0;
        let other = OTHER_MEMBER + u16::from(family == Family::V6);
        let syn = Frame::syn(family, PORT);
        let ours = from(&world, SEGMENT, &syn)?.unwrap();
        let ack = Frame::ack(family, PORT);
        // The same client has a flow in the one, and none in the other.
        assert_eq!(from(&world, SEGMENT + OTHER, &ack)?, Err(Reason::ResetSent));
        let theirs = from(&world, SEGMENT + OTHER, &syn)?.unwrap();
        assert_eq!((ours.src, ours.dst), (theirs.src, theirs.dst));
        assert_eq!(
            [
                (ours.dst_mac, ours.src_mac),
                (theirs.dst_mac, theirs.src_mac)
            ],
            [
                (member_mac(first), DEVICE_MAC),
                (member_mac(other), OTHER_MAC)
            ],
            "each to its own"
        );
        // Answers of the one are none of the other's, unless it has the same port, too.
        let accept = tcp_flags::SYN | tcp_flags::ACK;
        if ours.src_port != theirs.src_port {
            let crossed = from(&world, MEMBER_SEGMENT + OTHER, &answer(&ours, &syn, accept))?;
            assert_eq!(crossed, Err(Reason::NoReverseFlow));
        }
        for (segment, sent) in [(MEMBER_SEGMENT, &ours), (MEMBER_SEGMENT + OTHER, &theirs)] {
            let back = from(&world, segment, &answer(sent, &syn, accept))?.unwrap();
            assert_eq!((back.src, back.dst), (family.vip(), family.client()));
        }
        // One ends, the other goes on.
        from(&world, SEGMENT, &Frame::tcp(family, PORT, tcp_flags::RST))?.unwrap();
        assert_eq!(from(&world, SEGMENT + OTHER, &ack)?.unwrap(), theirs);
    }
    for (listener, lb) in [(listener(Family::V4), LB), (OTHER_LISTENER, OTHER_LB)] {
        let counters = world.counters(listener)?;
        assert_eq!((counters.flows, counters.packets_out), (1, 1), "of {lb}");
    }
    Ok(())
}
