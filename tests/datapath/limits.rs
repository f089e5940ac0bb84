//! What a new flow must get past, and what becomes of it when there is no room: every refusal has its reason,
//! leaves nothing behind, and does not touch what is established.

use anyhow::{Context as _, ensure};
use lb_common::{
    maps::{
        ListenerRecord, algorithm,
        flow::{Block4, Block6, SLOTS, Slot, Word, state, tick},
        listener_kind,
        live::LbShare,
        names, port_home, port_word,
    },
    packet::tcp_flags,
    reason::Reason,
};
use lb_sys::clock;
use zerocopy::FromZeros as _;

use super::{
    flows,
    frames::{Family, Frame},
    nat::{PORT, answer, back, forward, listener, members},
    world::{FLOW_BLOCKS, LB, STEER_LISTENER, STEER_PORT, World, XDP_DROP, XDP_REDIRECT},
};

fn syn(family: Family, port: u16) -> Frame {
    Frame::syn(family, PORT).from(family.client(), port)
}

/// SYN, answer, ACK.
fn establish(world: &World, family: Family, port: u16) -> anyhow::Result<()> {
    let first = syn(family, port);
    let seen = forward(world, &first)?.map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    let reply = answer(&seen, &first, tcp_flags::SYN | tcp_flags::ACK);
    back(world, &reply)?.map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    let ack = Frame::ack(family, PORT).from(family.client(), port);
    forward(world, &ack)?.map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    Ok(())
}

/// Takes every slot of a family's table with established flows of nobody here.
fn fill(world: &World, family: Family) -> anyhow::Result<()> {
    fill_blocks(world, family, 0)
}

/// Likewise from a block on.
fn fill_blocks(world: &World, family: Family, first: u32) -> anyhow::Result<()> {
    let now = tick(clock::monotonic_ns());
    let member = members(family)[0].0;
    for block in first..FLOW_BLOCKS {
        let slots: [Slot; SLOTS] = std::array::from_fn(|at| Slot {
            word: Word::new(member, 0, now, state::ESTABLISHED, 0, 0).0,
            key: 1 << 63 | u64::from(block) << 8 | at as u64,
        });
        match family {
            Family::V4 => world.set(names::FLOWS4, block, &Block4 { slots })?,
            Family::V6 => {
                let rest = Block6::new_zeroed();
                world.set(names::FLOWS6, block, &Block6 { slots, ..rest })?;
            }
        }
    }
    Ok(())
}

#[test]
fn shares_of_a_load_balancer_have_a_reason_each() -> anyhow::Result<()> {
    let Some(world) = flows::world("shares", |_| ())? else {
        return Ok(());
    };
    let nothing = LbShare::default();
    let family = Family::V4;
    establish(&world, family, 1)?;
    for (share, reason) in [
        (
            LbShare {
                flows: 1,
                ..nothing
            },
            Reason::ShareFlows,
        ),
        (
            LbShare {
                ports: 1,
                ..nothing
            },
            Reason::SharePorts,
        ),
    ] {
        world.set(names::LB_SHARES, LB, &share)?;
        let before = world.counters(listener(family))?;
        assert_eq!(forward(&world, &syn(family, 2))?, Err(reason));
        assert_eq!(world.flows()?.len(), 1, "nothing is left of it");
        assert_eq!(world.ports_in_use()?, 1);
        let after = world.counters(listener(family))?;
        assert_eq!(
            (after.errors, after.flows),
            (before.errors + 1, before.flows)
        );
        // What is established is not asked.
        let ack = Frame::ack(family, PORT).from(family.client(), 1);
        forward(&world, &ack)?.unwrap();
    }
    world.set(names::LB_SHARES, LB, &nothing)?;
    forward(&world, &syn(family, 2))?.unwrap();
    Ok(())
}

/// Of a burst those let through, the others having `reason`. (A burst may meet the beginning of another second.)
fn let_through(world: &World, burst: u16, reason: Reason) -> anyhow::Result<u16> {
    let mut through = 0;
    for port in 0..burst {
        match forward(world, &syn(Family::V6, 1000 + port))? {
            Ok(_) => through += 1,
            Err(other) => ensure!(other == reason, "{other:?}"),
        }
    }
    Ok(through)
}

#[test]
fn new_flows_a_second_are_bounded_by_load_balancer_and_listener() -> anyhow::Result<()> {
    let Some(world) = flows::world("rates", |record| record.syn_per_second = 5)? else {
        return Ok(());
    };
    let through = let_through(&world, 40, Reason::SynRate)?;
    assert!((5..=10).contains(&through), "{through} SYN of 5 a second");
    let Some(world) = flows::world("rates", |_| ())? else {
        return Ok(());
    };
    let share = LbShare {
        new_per_second: 7,
        ..LbShare::default()
    };
    world.set(names::LB_SHARES, LB, &share)?;
    let through = let_through(&world, 40, Reason::ShareRate)?;
    assert!((7..=14).contains(&through), "{through} flows of 7 a second");
    Ok(())
}

#[test]
fn syn_to_an_amphora_are_bounded_and_what_is_open_goes_on() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("syn to an amphora")? else {
        return Ok(());
    };
    let limited = ListenerRecord {
        kind: listener_kind::STEER,
        lb: LB,
        maglev: u32::MAX,
        syn_per_second: 3,
        ..ListenerRecord::default()
    };
    world.listener(STEER_LISTENER, &limited)?;
    let (mut through, mut refused) = (0, 0);
    for port in 1..=30 {
        let frame = Frame::syn(Family::V4, STEER_PORT).from(Family::V4.client(), port);
        let out = world.xdp(&frame.build()?)?;
        match out.reason {
            Reason::Steered => through += 1,
            Reason::SynRate => {
                assert_eq!((out.verdict, out.bytes), (XDP_DROP, frame.build()?));
                refused += 1;
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    assert!((3..=6).contains(&through) && refused >= 24, "{through}");
    for _ in 0..20 {
        let ack = Frame::ack(Family::V4, STEER_PORT).build()?;
        assert_eq!(world.xdp(&ack)?.reason, Reason::Steered);
    }
    Ok(())
}

#[test]
fn without_room_nat_drops_and_dsr_forwards_by_hash() -> anyhow::Result<()> {
    let Some(nat) = flows::world("full nat", |_| ())? else {
        return Ok(());
    };
    for family in Family::BOTH {
        fill(&nat, family)?;
        assert_eq!(forward(&nat, &syn(family, 9))?, Err(Reason::FlowsFull));
    }
    assert_eq!(nat.ports_in_use()?, 0, "the port is given back");
    let dsr = |record: &mut ListenerRecord| {
        record.kind = listener_kind::DSR_IPIP;
        // In turns a flow would change its member with every packet.
        record.algorithm = algorithm::ROUND_ROBIN;
    };
    let Some(world) = flows::world("full dsr", dsr)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        fill(&world, family)?;
        for port in 1..20 {
            let mut way = None;
            for flags in [tcp_flags::SYN, tcp_flags::ACK, tcp_flags::ACK] {
                let frame = Frame::tcp(family, PORT, flags).from(family.client(), port);
                let out = world.xdp(&frame.build()?)?;
                assert_eq!(
                    (out.verdict, out.reason),
                    (XDP_REDIRECT, Reason::DsrUnrecorded)
                );
                let outer = out.bytes.get(14..54).context("an outer header")?.to_vec();
                let addresses = match family {
                    Family::V4 => outer[12..20].to_vec(),
                    Family::V6 => outer[8..40].to_vec(),
                };
                assert_eq!(*way.get_or_insert(addresses.clone()), addresses);
            }
        }
    }
    Ok(())
}

#[test]
fn a_flow_has_a_third_block_when_two_are_full() -> anyhow::Result<()> {
    let dsr = |record: &mut ListenerRecord| {
        record.kind = listener_kind::DSR_L2;
        record.algorithm = algorithm::ROUND_ROBIN;
    };
    let Some(world) = flows::world("third", dsr)? else {
        return Ok(());
    };
    for family in Family::BOTH {
        // Half of the pages: of eight flows one finds three full blocks, of four one finds two.
        fill_blocks(&world, family, FLOW_BLOCKS / 2)?;
        let (mut recorded, mut unrecorded) = (0, 0);
        for host in 1..=200 {
            let mut ways = Vec::new();
            for flags in [tcp_flags::SYN, tcp_flags::ACK, tcp_flags::ACK] {
                let frame = Frame::tcp(family, PORT, flags).from(family.addr(1, host), 7);
                let out = world.xdp(&frame.build()?)?;
                ways.push((out.reason, out.bytes[..6].to_vec()));
            }
            match ways[0].0 {
                Reason::DsrForward => recorded += 1,
                Reason::DsrUnrecorded => unrecorded += 1,
                other => anyhow::bail!("{other:?}"),
            }
            // By hash or by turn: a flow stays where it is.
            ensure!(ways[0] == ways[1] && ways[1] == ways[2], "{ways:?}");
        }
        println!("{family:?}: {recorded} recorded, {unrecorded} not");
        assert!(recorded >= 155, "two blocks alone would have room for 150");
    }
    Ok(())
}

#[test]
fn a_listener_without_a_kind_is_a_bad_record() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("bad record")? else {
        return Ok(());
    };
    let at = Family::V4.ports_base() + (port_home(6, 99) & 15);
    world.set(names::PORTS, at, &port_word(6, 99, 500))?;
    let frame = Frame::syn(Family::V4, 99).build()?;
    let out = world.xdp(&frame)?;
    assert_eq!((out.verdict, out.reason), (XDP_DROP, Reason::BadRecord));
    assert_eq!(out.bytes, frame);
    Ok(())
}
