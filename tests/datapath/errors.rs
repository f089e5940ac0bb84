//! ICMP errors of every length that an error may have, about every protocol, through NAT and DSR; and what
//! clients are told of packets that do not fit.

use anyhow::{Context as _, ensure};
use lb_common::{
    checksum,
    maps::{Addr, ListenerRecord, MemberRecord, listener_kind, names, segment_word},
    packet::{Ends, Network},
    reason::Reason,
};

use super::{
    flows,
    frames::{CLIENT_MAC, Family, Frame, OUR_MAC, with_macs},
    icmp::{Message, icmp},
    nat::{self, MEMBER_SEGMENT, PORT, member_mac, members, snat},
    sctp,
    world::{INGRESS, Outcome, SEGMENT, World, XDP_DROP, XDP_REDIRECT},
};

fn run(world: &World, segment: u32, frame: &[u8]) -> anyhow::Result<Outcome> {
    world.set(names::SEGMENTS, INGRESS, &segment_word(segment))?;
    world.xdp(frame)
}

fn ip_len(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// Whether an ICMP message's checksum is right, and the IPv4 header's around it.
fn is_right(family: Family, frame: &[u8]) -> anyhow::Result<bool> {
    let is_v6 = family == Family::V6;
    let fail = |reason: Reason| anyhow::anyhow!("{reason:?}");
    let ends = Ends::parse(frame, 14, is_v6).map_err(fail)?;
    let network = Network::parse(frame, 14, is_v6).map_err(fail)?;
    let message = frame
        .get(network.l4..network.l4 + network.l4_len)
        .context("a message")?;
    let sum = if is_v6 {
        checksum::full_transport(&ends.src, &ends.dst, 58, message)
    } else {
        checksum::full(message)
    };
    Ok(sum == 0 && (is_v6 || checksum::full(&frame[14..34]) == 0))
}

/// What the client sent, as an error from behind us must quote it: one hop later.
fn quote(family: Family, sent: &[u8]) -> Vec<u8> {
    let mut ip = sent[14..].to_vec();
    if family == Family::V4 {
        ip[8] -= 1;
        ip[10..12].fill(0);
        let sum = checksum::full(&ip[..20]);
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    } else {
        ip[7] -= 1;
    }
    ip
}

#[test]
fn errors_quote_the_clients_own_packet_however_much_of_it_they_carry() -> anyhow::Result<()> {
    let Some(world) = nat::world("quotes", 0)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for sent in [
            Frame::syn(family, PORT).build()?,
            Frame::udp(family, PORT).build()?,
            sctp::init(family)?,
        ] {
            let there = run(&world, SEGMENT, &sent)?;
            assert_eq!(there.reason, Reason::NatForward);
            let wanted = quote(family, &sent);
            let least = ip_len(family) + 8;
            for length in least..=wanted.len() {
                let quoted = &there.bytes[14..14 + length];
                let error = icmp(
                    family,
                    family.addr(2, 254),
                    snat(family),
                    &Message::TooBig(quoted),
                )?;
                let out = run(&world, MEMBER_SEGMENT, &error)?;
                assert_eq!(out.reason, Reason::NatIcmpError, "{length} bytes");
                ensure!(
                    is_right(family, &out.bytes)?,
                    "{length}: {:02x?}",
                    out.bytes
                );
                let inside = &out.bytes[14 + ip_len(family) + 8..];
                // Of a checksum that is cut in two nothing can be right.
                let whole = match length - ip_len(family) {
                    17 => length - 1,
                    cut @ 9..=11 => length - (cut - 8),
                    _ => length,
                };
                assert_eq!(inside[..whole], wanted[..whole], "{length} bytes");
            }
            // Padding of the frame is none of the message.
            let mut padded = icmp(
                family,
                family.addr(2, 254),
                snat(family),
                &Message::TooBig(&there.bytes[14..14 + least]),
            )?;
            padded.extend([0xaa; 30]);
            let out = run(&world, MEMBER_SEGMENT, &padded)?;
            assert_eq!(out.reason, Reason::NatIcmpError);
            assert!(out.bytes.ends_with(&[0xaa; 30]));
            let cut = out.bytes.len() - 30;
            assert!(is_right(family, &out.bytes[..cut])?);
        }
    }
    Ok(())
}

#[test]
fn under_dsr_errors_go_to_the_flows_member_as_they_are() -> anyhow::Result<()> {
    for kind in [listener_kind::DSR_IPIP, listener_kind::DSR_L2] {
        let Some(world) = flows::world("dsr errors", |record| record.kind = kind)? else {
            return Ok(());
        };
        for family in Family::BOTH {
            let sent = Frame::syn(family, PORT).build()?;
            let there = run(&world, SEGMENT, &sent)?.bytes;
            // About what the member answered.
            let answer = Frame::ack(family, 0)
                .from(family.vip(), PORT)
                .to(family.client(), super::frames::CLIENT_PORT)
                .build()?;
            let router = family.addr(1, 254);
            for quoted in [&answer[14..], &answer[14..14 + ip_len(family) + 8]] {
                let error = icmp(family, router, family.vip(), &Message::TooBig(quoted))?;
                let out = run(&world, SEGMENT, &error)?;
                assert_eq!(
                    (out.verdict, out.reason),
                    (XDP_REDIRECT, Reason::DsrIcmpError)
                );
                assert_eq!(out.bytes[..6], there[..6], "to the flow's member");
                if kind == listener_kind::DSR_L2 {
                    assert_eq!(out.bytes[12..], error[12..]);
                } else {
                    assert_eq!(out.bytes[14 + ip_len(family)..], error[14..]);
                }
            }
        }
    }
    Ok(())
}

/// The NAT world, or a DSR one, whose members take so many bytes.
fn narrow(test: &str, kind: u32, mtu: u16) -> anyhow::Result<Option<World>> {
    let change = |record: &mut ListenerRecord| record.kind = kind;
    let Some(world) = flows::world(test, change)? else {
        return Ok(None);
    };
    for family in Family::BOTH {
        for (index, _) in members(family) {
            let index = u32::from(index);
            let known: Option<MemberRecord> = world.get(names::MEMBERS, &index.to_ne_bytes())?;
            let narrow = MemberRecord {
                mtu,
                ..known.context("a member")?
            };
            world.set(names::MEMBERS, index, &narrow)?;
        }
    }
    Ok(Some(world))
}

#[test]
fn who_sends_too_much_is_told_what_fits() -> anyhow::Result<()> {
    const MTU: u16 = 1300;
    for kind in [
        listener_kind::NAT,
        listener_kind::DSR_IPIP,
        listener_kind::DSR_L2,
    ] {
        let Some(world) = narrow("too big", kind, MTU)? else {
            return Ok(());
        };
        for family in Family::BOTH {
            let outer = if kind == listener_kind::DSR_IPIP {
                ip_len(family)
            } else {
                0
            };
            let of = |ip_bytes: usize| {
                Frame {
                    payload: vec![7; ip_bytes - ip_len(family) - 20],
                    ..Frame::syn(family, PORT)
                }
                .build()
            };
            // Exactly what fits goes through.
            let fits = usize::from(MTU) - outer;
            let out = run(&world, SEGMENT, &of(fits)?)?;
            assert_eq!(out.verdict, XDP_REDIRECT);
            assert_ne!(out.reason, Reason::TooBigTold);
            let sent = of(fits + 1)?;
            let out = run(&world, SEGMENT, &sent)?;
            assert_eq!(out.reason, Reason::TooBigTold);
            assert_eq!(out.verdict, XDP_REDIRECT, "back by where it came");
            ensure!(is_right(family, &out.bytes)?, "{:02x?}", out.bytes);
            assert_eq!(out.bytes[..12], with_macs(&sent, CLIENT_MAC, OUR_MAC)[..12]);
            let fail = |reason: Reason| anyhow::anyhow!("{reason:?}");
            let ends = Ends::parse(&out.bytes[..], 14, family == Family::V6).map_err(fail)?;
            assert_eq!((ends.src, ends.dst), (family.vip(), family.client()));
            let message = &out.bytes[14 + ip_len(family)..];
            let told = match family {
                Family::V4 => {
                    assert_eq!(message[..2], [3, 4]);
                    usize::from(u16::from_be_bytes([message[6], message[7]]))
                }
                Family::V6 => {
                    assert_eq!(message[..2], [2, 0]);
                    usize::try_from(u32::from_be_bytes(message[4..8].try_into()?))?
                }
            };
            assert_eq!(told, fits);
            let quoted = &message[8..];
            assert!(quoted.len() >= ip_len(family) + 8);
            assert_eq!(quoted, &sent[14..14 + quoted.len()], "as it was sent");
        }
        // No more than so many a second.
        world.configure(true, 0)?;
        for family in Family::BOTH {
            let sent = Frame {
                payload: vec![7; 1400],
                ..Frame::syn(family, PORT)
            }
            .build()?;
            let out = run(&world, SEGMENT, &sent)?;
            assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::TooBig));
            assert_eq!(out.bytes, sent);
        }
    }
    Ok(())
}

#[test]
fn an_error_about_a_later_fragment_or_by_a_stranger_changes_nothing() -> anyhow::Result<()> {
    let Some(world) = nat::world("strange errors", 0)? else {
        return Ok(());
    };
    let family = Family::V4;
    let there = run(&world, SEGMENT, &Frame::syn(family, PORT).build()?)?.bytes;
    // An error about an error: never answered, never handed on.
    let inner = icmp(family, snat(family), family.addr(2, 1), &Message::Echo)?;
    let about = |quoted: &[u8], from: Addr| -> anyhow::Result<(Reason, bool)> {
        let error = icmp(family, from, snat(family), &Message::TooBig(quoted))?;
        let out = run(&world, MEMBER_SEGMENT, &error)?;
        Ok((out.reason, out.bytes == error))
    };
    let router = family.addr(2, 254);
    assert_eq!(
        about(&inner[14..], router)?,
        (Reason::IcmpErrorUnknown, true)
    );
    let mut later = there[14..].to_vec();
    later[7] = 9;
    assert_eq!(about(&later, router)?, (Reason::IcmpErrorUnknown, true));
    let martian = Addr::v4([127, 0, 0, 1]);
    assert_eq!(about(&there[14..], martian)?, (Reason::MartianSource, true));
    // The members are known all the same.
    assert!(
        members(family)
            .iter()
            .any(|(index, _)| member_mac(*index) == there[..6])
    );
    Ok(())
}
