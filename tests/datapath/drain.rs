//! A planned failover: new conversations move, the others end where they are.

use lb_common::{packet::tcp_flags, reason::Reason};

use super::{
    frames::{Family, Frame, with_macs},
    world::{ACTIVE, EPOCH, STANDBY, STEER_PORT, World, veth},
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
