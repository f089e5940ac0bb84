//! The flow table on its own, DSR, limits, and what a flow's end frees.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use lb_common::{
    maps::{
        ListenerRecord, MemberRecord, SEGMENT_TX, algorithm, listener_kind,
        live::{self, ListenerLive},
        maglev_slots, names, segment_word,
    },
    packet::tcp_flags,
    reason::Reason,
};

use super::{
    frames::{Family, Frame},
    nat::{self, PORT, forward, listener, member_addr, members},
    world::{INGRESS, LB, SEGMENT, World, XDP_REDIRECT, XDP_TX},
};

/// The NAT world with its TCP listeners changed.
pub(crate) fn world(
    test: &str,
    change: impl Fn(&mut ListenerRecord),
) -> anyhow::Result<Option<World>> {
    let Some(world) = nat::world(test, 0)? else {
        return Ok(None);
    };
    for family in Family::BOTH {
        let slot = listener(family);
        let mut record = ListenerRecord {
            kind: listener_kind::NAT,
            lb: LB,
            maglev: maglev_slots(Some(slot), Some(slot)),
            protocol: 6,
            ..ListenerRecord::default()
        };
        change(&mut record);
        world.listener(slot, &record)?;
    }
    Ok(Some(world))
}

fn active(world: &World, family: Family) -> anyhow::Result<u32> {
    let live: ListenerLive = world
        .get(names::LISTENER_LIVE, &listener(family).to_ne_bytes())?
        .context("a listener's counts")?;
    Ok(live::active(live.flows))
}

#[test]
fn ipip_puts_the_packet_as_it_is_into_one_to_the_member() -> anyhow::Result<()> {
    let Some(world) = world("ipip", |record| record.kind = listener_kind::DSR_IPIP)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let (outer, protocol) = match family {
            Family::V4 => (20, 4),
            Family::V6 => (40, 41),
        };
        let mut chosen = None;
        for flags in [tcp_flags::SYN, tcp_flags::ACK, tcp_flags::ACK] {
            let sent = Frame::tcp(family, PORT, flags).build()?;
            let out = world.xdp(&sent)?;
            assert_eq!(
                (out.verdict, out.reason),
                (XDP_REDIRECT, Reason::DsrForward)
            );
            assert_eq!(
                out.bytes[14 + outer..],
                sent[14..],
                "inside nothing changes"
            );
            let (src, dst, next) = match family {
                Family::V4 => (
                    out.bytes[26..30].to_vec(),
                    out.bytes[30..34].to_vec(),
                    out.bytes[23],
                ),
                Family::V6 => (
                    out.bytes[22..38].to_vec(),
                    out.bytes[38..54].to_vec(),
                    out.bytes[20],
                ),
            };
            assert_eq!(next, protocol);
            let host = *dst.last().context("an address")?;
            assert!((1..=3).contains(&host), "one of the members");
            assert_eq!(
                *chosen.get_or_insert((src.clone(), dst.clone())),
                (src, dst)
            );
            if family == Family::V4 {
                let sum = out.bytes[14..34].chunks_exact(2);
                let sum: u32 = sum
                    .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
                    .sum();
                assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "IPv4 checksum");
            }
        }
        assert_eq!(active(&world, family)?, 1);
        let fin = Frame::tcp(family, PORT, tcp_flags::FIN | tcp_flags::ACK).build()?;
        assert_eq!(world.xdp(&fin)?.reason, Reason::DsrForward);
        assert_eq!(active(&world, family)?, 0);
    }
    Ok(())
}

#[test]
fn link_address_alone_changes_under_l2() -> anyhow::Result<()> {
    let Some(world) = world("l2", |record| record.kind = listener_kind::DSR_L2)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let sent = Frame::syn(family, PORT).build()?;
        let out = world.xdp(&sent)?;
        assert_eq!(
            (out.verdict, out.reason),
            (XDP_REDIRECT, Reason::DsrForward)
        );
        assert_eq!(out.bytes[12..], sent[12..]);
        let macs: Vec<_> = members(family)
            .map(|(index, _)| nat::member_mac(index))
            .into();
        assert!(macs.iter().any(|mac| *mac == out.bytes[..6]));
    }
    Ok(())
}

#[test]
fn what_leaves_where_it_came_in_is_returned_where_the_device_can() -> anyhow::Result<()> {
    let Some(world) = world("return", |record| record.kind = listener_kind::DSR_L2)? else {
        return Ok(());
    };
    world.set(
        names::SEGMENTS,
        INGRESS,
        &(segment_word(SEGMENT) | SEGMENT_TX),
    )?;
    for family in Family::BOTH {
        let syn = Frame::syn(family, PORT).build()?;
        let out = world.xdp(&syn)?;
        let elsewhere = (XDP_REDIRECT, Reason::DsrForward);
        assert_eq!(
            (out.verdict, out.reason),
            elsewhere,
            "members are behind another"
        );
        for (index, _) in members(family) {
            let index = u32::from(index);
            let known: Option<MemberRecord> = world.get(names::MEMBERS, &index.to_ne_bytes())?;
            let known = known.context("a member")?;
            let moved = MemberRecord {
                ifindex: INGRESS,
                ..known
            };
            world.set(names::MEMBERS, index, &moved)?;
        }
        let out = world.xdp(&syn)?;
        assert_eq!((out.verdict, out.reason), (XDP_TX, Reason::DsrForward));
    }
    Ok(())
}

#[test]
fn connections_over_the_limit_are_refused_until_one_ends() -> anyhow::Result<()> {
    let Some(world) = world("limit", |record| record.connection_limit = 2)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let syn = |port| Frame::syn(family, PORT).from(family.client(), port);
        forward(&world, &syn(1))?.unwrap();
        forward(&world, &syn(2))?.unwrap();
        assert_eq!(forward(&world, &syn(3))?, Err(Reason::ConnectionLimit));
        let rst = Frame::tcp(family, PORT, tcp_flags::RST).from(family.client(), 1);
        forward(&world, &rst)?.unwrap();
        assert_eq!(active(&world, family)?, 1);
        forward(&world, &syn(3))?.unwrap();
    }
    Ok(())
}

#[test]
fn least_connections_fills_up_whoever_has_the_fewest() -> anyhow::Result<()> {
    let least = |record: &mut ListenerRecord| record.algorithm = algorithm::LEAST_CONNECTIONS;
    let Some(world) = world("least", least)? else {
        return Ok(());
    };
    let family = Family::V4;
    let mut counts = [0; 4];
    for port in 1..=30 {
        let seen = forward(
            &world,
            &Frame::syn(family, PORT).from(family.client(), port),
        )?;
        let host = usize::from(seen.unwrap().dst.0[15]);
        counts[host] += 1;
    }
    assert_eq!(counts, [0, 10, 10, 10]);
    assert_eq!(member_addr(family, 101).0[15], 1);
    Ok(())
}

#[test]
fn a_client_stays_with_its_member_until_its_listener_has_another_pool() -> anyhow::Result<()> {
    const OTHER_POOL: u32 = 60;
    let persistent = |record: &mut ListenerRecord| {
        record.algorithm = algorithm::ROUND_ROBIN;
        record.persistence_s = 300;
        (record.persistence_bits_v4, record.persistence_bits_v6) = (32, 128);
    };
    let Some(world) = world("persistence", persistent)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let open = |port| {
            forward(
                &world,
                &Frame::syn(family, PORT).from(family.client(), port),
            )
        };
        let first = open(1)?.unwrap().dst;
        for port in 2..8 {
            assert_eq!(open(port)?.unwrap().dst, first);
        }
        let other = members(family)
            .into_iter()
            .find(|(index, _)| member_addr(family, *index) != first)
            .context("another member")?;
        nat::fill_maglev(&world, OTHER_POOL, &[other])?;
        let slot = listener(family);
        let record: Option<ListenerRecord> = world.get(names::LISTENERS, &slot.to_ne_bytes())?;
        let moved = ListenerRecord {
            maglev: maglev_slots(Some(OTHER_POOL), Some(OTHER_POOL)),
            ..record.context("a listener")?
        };
        world.listener(slot, &moved)?;
        assert_eq!(open(8)?.unwrap().dst, member_addr(family, other.0));
        // What was open stays where it is.
        let ack = Frame::ack(family, PORT).from(family.client(), 1);
        assert_eq!(forward(&world, &ack)?.unwrap().dst, first);
    }
    Ok(())
}

#[test]
fn what_is_idle_is_forgotten_with_nobody_sending() -> anyhow::Result<()> {
    let idle = |record: &mut ListenerRecord| {
        record.kind = listener_kind::DSR_IPIP;
        record.idle_s = 1;
    };
    let Some(world) = world("sweep", idle)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        for flags in [tcp_flags::SYN, tcp_flags::ACK] {
            world.xdp(&Frame::tcp(family, PORT, flags).build()?)?;
        }
    }
    assert_eq!(world.flows()?.len(), 2);
    world.start_sweep()?;
    let begin = tokio::time::Instant::now();
    while !world.flows()?.is_empty() {
        ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "nothing is swept"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    for family in Family::BOTH {
        assert_eq!(active(&world, family)?, 0);
    }
    Ok(())
}
