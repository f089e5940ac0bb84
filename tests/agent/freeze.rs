//! Processes that stop without ending: whom to leave, whom to end, and when to do nothing at all.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lb_model::enums::Topology as LbTopology;
use lb_testkit::{load::failures, require_root, system::observed::Amphora, wait};

use crate::world::{LIMIT, World};

/// Shorter than the minute that is promised; the minute is for a machine of its own.
const UNDER_LOAD: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Whether a process ends within the limit.
fn is_ended(world: &World, pid: Option<u32>) -> anyhow::Result<bool> {
    wait::until(LIMIT, LOOK_EVERY, || {
        Ok(world.observed()?.amphorae.iter().all(|a| a.pid != pid))
    })
}

/// That a pair under load stays as it is, and every request is answered, whatever is done to it.
fn nobody_is_left_or_ended(
    what: impl FnOnce(&[Amphora]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut world = World::new(LbTopology::ActiveStandby)?;
    world.store()?;
    world.start()?;
    let before = world.whole(2)?;
    let load = world.paced()?;
    what(&before.amphorae)?;
    let attempts = load.stop();
    assert_eq!(world.whole(2)?, before, "nobody was left or ended");
    // Late, but answered: what is not answered within seconds would be lost.
    assert!(failures(&attempts).is_empty(), "{:?}", failures(&attempts));
    Ok(())
}

#[test]
fn both_frozen_for_half_a_second_is_no_failover() {
    if !require_root("both_frozen_for_half_a_second_is_no_failover").unwrap() {
        return;
    }
    nobody_is_left_or_ended(|amphorae| {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(400));
            for amphora in amphorae {
                amphora.signal("STOP")?;
            }
            std::thread::sleep(Duration::from_millis(500));
            for amphora in amphorae {
                amphora.signal("CONT")?;
            }
        }
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    })
    .unwrap();
}

#[test]
fn full_load_on_every_core_is_no_failover() {
    if !require_root("full_load_on_every_core_is_no_failover").unwrap() {
        return;
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    nobody_is_left_or_ended(|_| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..cores * 4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            std::thread::sleep(UNDER_LOAD);
            stop.store(true, Ordering::Relaxed);
        });
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_standby_that_hangs_is_ended_and_comes_back() {
    if !require_root("a_standby_that_hangs_is_ended_and_comes_back").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    let standby = before.amphorae.iter().find(|a| !a.active).unwrap();
    standby.signal("STOP").unwrap();
    assert!(
        is_ended(&world, standby.pid).unwrap(),
        "{:?}",
        world.observed()
    );
    let after = world.whole(2).unwrap();
    assert_eq!(after.active().unwrap(), before.active().unwrap());
    assert_eq!(after.epoch, before.epoch);
}

#[test]
fn a_hanging_active_is_left_without_traffic_too_and_a_single_one_is_ended() {
    if !require_root("a_hanging_active_is_left_without_traffic_too").unwrap() {
        return;
    }
    for (topology, amphorae) in [(LbTopology::ActiveStandby, 2), (LbTopology::Single, 1)] {
        let mut world = World::new(topology).unwrap();
        world.store().unwrap();
        world.start().unwrap();
        let before = world.whole(amphorae).unwrap();
        let active = before.active().unwrap().clone();
        active.signal("STOP").unwrap();
        assert!(
            is_ended(&world, active.pid).unwrap(),
            "{:?}",
            world.observed()
        );
        let after = world.whole(amphorae).unwrap();
        let moved = after.active().unwrap().id != active.id;
        assert_eq!(moved, amphorae == 2, "{topology:?}");
    }
}
