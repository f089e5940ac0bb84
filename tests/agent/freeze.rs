//! Processes that stop without ending: whom to leave, whom to end, and when to do nothing at all.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lb_model::enums::Topology as LbTopology;
use lb_testkit::{load::failures, require_root, wait};

use crate::world::{LIMIT, World};

/// Shorter than the minute that is promised; the minute is for a machine of its own.
const UNDER_LOAD: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[test]
fn both_frozen_for_half_a_second_is_no_failover() {
    if !require_root("both_frozen_for_half_a_second_is_no_failover").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    let load = world.paced().unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(400));
        for amphora in &before.amphorae {
            amphora.signal("STOP").unwrap();
        }
        std::thread::sleep(Duration::from_millis(500));
        for amphora in &before.amphorae {
            amphora.signal("CONT").unwrap();
        }
    }
    std::thread::sleep(Duration::from_millis(400));
    let attempts = load.stop();
    assert_eq!(world.whole(2).unwrap(), before, "nobody was left or ended");
    // Late, but answered: what is not answered within seconds would be lost.
    assert!(failures(&attempts).is_empty(), "{:?}", failures(&attempts));
}

#[test]
fn full_load_on_every_core_is_no_failover() {
    if !require_root("full_load_on_every_core_is_no_failover").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    let load = world.paced().unwrap();
    let stop = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().unwrap().get();
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
    let attempts = load.stop();
    assert_eq!(world.whole(2).unwrap(), before, "nobody was left or ended");
    assert!(failures(&attempts).is_empty(), "{:?}", failures(&attempts));
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
    let ended = wait::until(LIMIT, LOOK_EVERY, || {
        let now = world.observed()?;
        Ok(now.amphorae.iter().all(|a| a.pid != standby.pid))
    });
    assert!(ended.unwrap(), "{:?}", world.observed());
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
        let ended = wait::until(LIMIT, LOOK_EVERY, || {
            let now = world.observed()?;
            Ok(now.amphorae.iter().all(|a| a.pid != active.pid))
        });
        assert!(ended.unwrap(), "{topology:?}: {:?}", world.observed());
        let after = world.whole(amphorae).unwrap();
        let moved = after.active().unwrap().id != active.id;
        assert_eq!(moved, amphorae == 2, "{topology:?}");
    }
}
