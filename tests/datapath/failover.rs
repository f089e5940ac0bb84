//! Who gets the packets when an amphora dies, hangs, or everything stands still.

use lb_common::{
    heartbeat,
    maps::{SteerWord, event_kind},
    reason::Reason,
};
use lb_sys::clock;

use super::{
    frames::{Family, Frame, with_macs},
    world::{ACTIVE, EPOCH, LB, STANDBY, STEER_PORT, World, veth},
};

const LONG_AGO_NS: u64 = 10_000_000_000;

fn steered_to(world: &World) -> anyhow::Result<(Reason, u16)> {
    let frame = Frame::ack(Family::V4, STEER_PORT).build()?;
    let out = world.xdp(&frame)?;
    for amphora in [ACTIVE, STANDBY] {
        let (_, src_mac, dst_mac) = veth(amphora);
        if out.bytes == with_macs(&frame, dst_mac, src_mac) {
            return Ok((out.reason, amphora));
        }
    }
    assert_eq!(out.bytes, frame, "dropped, so untouched");
    Ok((out.reason, 0))
}

#[test]
fn a_dead_active_is_left_once_and_for_all_until_the_epoch_changes() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("failover")? else {
        return Ok(());
    };
    assert_eq!(steered_to(&world)?, (Reason::Steered, ACTIVE));
    assert!(world.events()?.is_empty());
    world.stamp(ACTIVE, LONG_AGO_NS)?;
    assert_eq!(steered_to(&world)?, (Reason::SteeredToStandby, STANDBY));
    assert_eq!(world.latch()?, u64::from(EPOCH));
    // Back to life: no fail-back.
    world.stamp(ACTIVE, 0)?;
    for _ in 0..3 {
        assert_eq!(steered_to(&world)?, (Reason::SteeredToStandby, STANDBY));
    }
    // The standby dies too, in the latch: nobody else may have it.
    world.stamp(STANDBY, LONG_AGO_NS)?;
    assert_eq!(steered_to(&world)?, (Reason::SteeredToStandby, STANDBY));
    let events = world.events()?;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events[0];
    assert_eq!((event.kind, event.lb), (event_kind::FAILED_OVER, LB));
    assert_eq!(
        (event.from, event.to, event.epoch),
        (u32::from(ACTIVE), u32::from(STANDBY), EPOCH)
    );
    // The agent adopts: the old standby is the active, with a new epoch.
    world.stamp(STANDBY, 0)?;
    world.steer(STANDBY, 0, EPOCH + 1, false)?;
    assert_eq!(steered_to(&world)?, (Reason::Steered, STANDBY));
    Ok(())
}

#[test]
fn nobody_moves_when_both_are_stale() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("both stale")? else {
        return Ok(());
    };
    world.stamp(ACTIVE, LONG_AGO_NS)?;
    world.stamp(STANDBY, LONG_AGO_NS)?;
    assert_eq!(steered_to(&world)?, (Reason::Steered, ACTIVE));
    // The standby wakes first; it has run without a gap for no time yet. (An hour ahead of now is
    // "just now" on however slow a machine.)
    world.stamp(STANDBY, 0)?;
    let now = clock::monotonic_ns();
    world.edit_page(STANDBY, |page| {
        page.alive_since_ns = now + 3_600_000_000_000;
    })?;
    assert_eq!(steered_to(&world)?, (Reason::Steered, ACTIVE));
    // Stamped before the active's deadline passed: no proof of life since.
    world.edit_page(STANDBY, |page| page.alive_since_ns = 1)?;
    let standby = world.page(STANDBY)?;
    world.edit_page(ACTIVE, |page| page.deadline_ns = now - 1_000_000_000)?;
    world.edit_page(STANDBY, |page| {
        // Stamped two seconds ago and, being idle, valid for 600 ms: dead itself.
        page.deadline_ns = heartbeat::deadline_word(now - 2_000_000_000, false);
    })?;
    assert_eq!(steered_to(&world)?, (Reason::Steered, ACTIVE));
    world.edit_page(STANDBY, |page| page.deadline_ns = standby.deadline_ns)?;
    assert_eq!(world.latch()?, 0);
    assert!(world.events()?.is_empty());
    assert_eq!(steered_to(&world)?, (Reason::SteeredToStandby, STANDBY));
    Ok(())
}

#[test]
fn without_a_standby_or_an_epoch_there_is_no_failover() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("no standby")? else {
        return Ok(());
    };
    world.stamp(ACTIVE, LONG_AGO_NS)?;
    world.steer(ACTIVE, 0, EPOCH, false)?;
    assert_eq!(steered_to(&world)?, (Reason::Steered, ACTIVE));
    world.steer(ACTIVE, STANDBY, 0, false)?;
    assert_eq!(steered_to(&world)?, (Reason::Steered, ACTIVE));
    world.steer(0, 0, EPOCH, false)?;
    assert_eq!(steered_to(&world)?, (Reason::NoAmphora, 0));
    assert_eq!(world.latch()?, 0);
    Ok(())
}

#[test]
fn a_device_that_is_gone_is_a_dead_active() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("no device")? else {
        return Ok(());
    };
    world.remove_device(veth(ACTIVE).0)?;
    assert_eq!(steered_to(&world)?, (Reason::SteeredToStandby, STANDBY));
    assert_eq!(world.latch()?, u64::from(EPOCH));
    assert_eq!(world.events()?.len(), 1);
    world.remove_device(veth(STANDBY).0)?;
    assert_eq!(steered_to(&world)?, (Reason::AmphoraUnreachable, 0));
    Ok(())
}

#[test]
fn traffic_is_noted_in_both_pages() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("traffic")? else {
        return Ok(());
    };
    let before = clock::monotonic_ns();
    steered_to(&world)?;
    let (active, standby) = (world.page(ACTIVE)?, world.page(STANDBY)?);
    assert_eq!(active.traffic_ns, standby.traffic_ns);
    // The data path's clock lags by a tick.
    assert!(active.traffic_ns + 20_000_000 > before);
    steered_to(&world)?;
    assert_eq!(
        world.page(ACTIVE)?.traffic_ns,
        active.traffic_ns,
        "not for every packet"
    );
    Ok(())
}

#[test]
fn words_survive_the_round_trip() {
    let word = SteerWord {
        active: 1,
        standby: 2,
        epoch: 0x7fff_ffff,
        draining: true,
    };
    assert_eq!(SteerWord::from_word(word.to_word()), word);
}
