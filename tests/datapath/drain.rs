//! A planned failover: new conversations move, the others end where they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::ensure;
use lb_common::{packet::tcp_flags, reason::Reason};
use lb_sys::clock;

use super::{
    frames::{Family, Frame, with_macs},
    world::{ACTIVE, EPOCH, STANDBY, STEER_PORT, World, XDP_REDIRECT, veth},
};

fn goes_to(world: &World, frame: &Frame) -> anyhow::Result<u16> {
    let frame = frame.build()?;
    let out = world.xdp(&frame)?;
    for (amphora, reason) in [(ACTIVE, Reason::Steered), (STANDBY, Reason::SteeredByDrain)] {
        let (_, src_mac, dst_mac) = veth(amphora);
        if out.bytes == with_macs(&frame, dst_mac, src_mac) {
            assert_eq!(out.reason, reason);
            return Ok(amphora);
        }
    }
    anyhow::bail!("{out:?}")
}

#[test]
fn new_connections_move_and_old_ones_stay() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("drain")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let port = |frame: Frame, port| frame.from(family.client(), port);
        world.steer(ACTIVE, STANDBY, EPOCH, false)?;
        assert_eq!(
            goes_to(&world, &port(Frame::syn(family, STEER_PORT), 1))?,
            ACTIVE
        );
        world.steer(ACTIVE, STANDBY, EPOCH, true)?;
        let old = port(Frame::ack(family, STEER_PORT), 1);
        assert_eq!(goes_to(&world, &old)?, ACTIVE);
        assert_eq!(
            goes_to(&world, &port(Frame::syn(family, STEER_PORT), 2))?,
            STANDBY
        );
        assert_eq!(
            goes_to(&world, &port(Frame::ack(family, STEER_PORT), 2))?,
            STANDBY
        );
        let fin = Frame::tcp(family, STEER_PORT, tcp_flags::FIN | tcp_flags::ACK);
        assert_eq!(goes_to(&world, &port(fin, 2))?, STANDBY);
        assert_eq!(goes_to(&world, &old)?, ACTIVE);
        // UDP without a record is new.
        assert_eq!(goes_to(&world, &Frame::udp(family, STEER_PORT))?, STANDBY);
        assert_eq!(goes_to(&world, &Frame::udp(family, STEER_PORT))?, STANDBY);
    }
    Ok(())
}

#[test]
fn records_of_an_earlier_drain_count_for_nothing() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("old records")? else {
        return Ok(());
    };
    world.steer(ACTIVE, STANDBY, EPOCH, true)?;
    assert_eq!(
        goes_to(&world, &Frame::syn(Family::V4, STEER_PORT))?,
        STANDBY
    );
    // The drain ended; later one leads back.
    world.steer(STANDBY, ACTIVE, EPOCH + 1, true)?;
    let frame = Frame::ack(Family::V4, STEER_PORT).build()?;
    let out = world.xdp(&frame)?;
    let (_, src_mac, dst_mac) = veth(STANDBY);
    assert_eq!(out.reason, Reason::Steered);
    assert_eq!(out.bytes, with_macs(&frame, dst_mac, src_mac));
    Ok(())
}

#[test]
fn nothing_moves_to_one_that_is_dead_or_gone() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("dead target")? else {
        return Ok(());
    };
    world.steer(ACTIVE, STANDBY, EPOCH, true)?;
    world.stamp(STANDBY, 10_000_000_000)?;
    assert_eq!(
        goes_to(&world, &Frame::syn(Family::V4, STEER_PORT))?,
        ACTIVE
    );
    world.stamp(STANDBY, 0)?;
    world.remove_device(veth(STANDBY).0)?;
    assert_eq!(
        goes_to(&world, &Frame::syn(Family::V6, STEER_PORT))?,
        ACTIVE
    );
    Ok(())
}

#[test]
fn the_one_that_is_left_dies() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("dead source")? else {
        return Ok(());
    };
    world.steer(ACTIVE, STANDBY, EPOCH, true)?;
    world.stamp(ACTIVE, 10_000_000_000)?;
    let frame = Frame::ack(Family::V4, STEER_PORT).build()?;
    let out = world.xdp(&frame)?;
    let (_, src_mac, dst_mac) = veth(STANDBY);
    assert_eq!(out.reason, Reason::SteeredToStandby);
    assert_eq!(out.bytes, with_macs(&frame, dst_mac, src_mac));
    assert_eq!(world.events()?.len(), 1);
    Ok(())
}

#[test]
fn a_full_table_moves_nobody_it_could_not_find_again() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("full drain table")? else {
        return Ok(());
    };
    world.steer(ACTIVE, STANDBY, EPOCH, true)?;
    let mut moved = Vec::new();
    for port in 1..=400 {
        let syn = Frame::syn(Family::V4, STEER_PORT).from(Family::V4.client(), port);
        if goes_to(&world, &syn)? == STANDBY {
            moved.push(port);
        }
    }
    assert!(moved.len() >= 200 && moved.len() < 400, "{}", moved.len());
    for port in 1..=400 {
        let ack = Frame::ack(Family::V4, STEER_PORT).from(Family::V4.client(), port);
        let expected = if moved.contains(&port) {
            STANDBY
        } else {
            ACTIVE
        };
        assert_eq!(goes_to(&world, &ack)?, expected);
    }
    Ok(())
}

/// Planned failovers there and back under a stream of packets. Not one is dropped: each goes to the one that
/// its word says, and what it says changes by one store.
#[test]
fn planned_failovers_under_load_lose_no_packet() -> anyhow::Result<()> {
    const FLIPS: u32 = 20;
    const BETWEEN: u64 = 2_000;
    let Some(world) = World::with_pair("flips")? else {
        return Ok(());
    };
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let stream = scope.spawn(|| -> anyhow::Result<()> {
            let started = clock::monotonic_ns();
            let mut number = 0_u16;
            while !is_over.load(Ordering::Relaxed) {
                number = number.wrapping_add(1);
                let family = Family::BOTH[usize::from(number % 2)];
                let port = 1024 + number % 100;
                let frame = match number % 3 {
                    0 => Frame::syn(family, STEER_PORT),
                    1 => Frame::ack(family, STEER_PORT),
                    _ => Frame::udp(family, STEER_PORT),
                };
                let verdict = world.verdict(&frame.from(family.client(), port).build()?)?;
                ensure!(verdict == XDP_REDIRECT, "verdict {verdict}");
                sent.fetch_add(1, Ordering::Relaxed);
            }
            let millis = (clock::monotonic_ns() - started) / 1_000_000;
            let rate = sent.load(Ordering::Relaxed) * 1000 / millis.max(1);
            println!("{rate} packets a second");
            Ok(())
        });
        let mut flip = |number: u32| -> anyhow::Result<()> {
            let (from, to) = if number.is_multiple_of(2) {
                (ACTIVE, STANDBY)
            } else {
                (STANDBY, ACTIVE)
            };
            // The drain begins, and ends.
            for (active, standby, epoch, drains) in [
                (from, to, 2 * number, true),
                (to, from, 2 * number + 1, false),
            ] {
                world.steer(active, standby, EPOCH + epoch, drains)?;
                let until = sent.load(Ordering::Relaxed) + BETWEEN;
                while sent.load(Ordering::Relaxed) < until && !stream.is_finished() {
                    std::thread::yield_now();
                }
            }
            Ok(())
        };
        let flipped = (0..FLIPS).try_for_each(&mut flip);
        is_over.store(true, Ordering::Relaxed);
        flipped?;
        match stream.join() {
            Ok(outcome) => outcome,
            Err(_) => anyhow::bail!("the stream panicked"),
        }
    })?;
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent >= u64::from(FLIPS) * 2 * BETWEEN);
    let counted = world.reasons()?;
    let of = |reason| counted.get(&reason).copied().unwrap_or_default();
    let (stayed, moved) = (of(Reason::Steered), of(Reason::SteeredByDrain));
    assert_eq!(stayed + moved, sent, "0 lost: {counted:?}");
    assert!(moved > 0, "{counted:?}");
    Ok(())
}
