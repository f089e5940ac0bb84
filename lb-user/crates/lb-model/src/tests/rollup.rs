//! Operating statuses from observations: the contract's table, row by row.

use serde_json::json;

use crate::{
    enums::OperatingStatus::{self, Degraded, Draining, Error, NoMonitor, Offline, Online},
    rollup::{ListenerObservation, Observations},
    testing::{World, posted},
    time::Timestamp,
};

/// One listener with one pool of two members, at rest; `monitored` adds a monitor.
fn full(monitored: bool) -> World {
    let mut pool = json!({"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
        "members": [{"address": "192.0.2.20", "protocol_port": 80},
            {"address": "192.0.2.21", "protocol_port": 80}]});
    if monitored {
        pool["healthmonitor"] = json!({"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1});
    }
    let mut world = posted(json!({
        "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "p"}}],
        "pools": [pool],
    }))
    .unwrap();
    world.settle();
    world
}

/// Everything is served; each member as said.
fn seen(world: &World, members: [Option<bool>; 2]) -> Observations {
    let pool = &world.tree.pools[0];
    Observations {
        generation: world.tree.load_balancer.generation,
        listeners: world
            .tree
            .listeners
            .iter()
            .map(|listener| (listener.id, ListenerObservation::Open))
            .collect(),
        members: pool
            .members
            .iter()
            .zip(members)
            .filter_map(|(member, up)| Some(((pool.id, member.id), up?)))
            .collect(),
    }
}

/// Load balancer, listener, pool, members.
fn shown(world: &World) -> [OperatingStatus; 5] {
    let tree = &world.tree;
    let members = &tree.pools[0].members;
    [
        tree.load_balancer.common.operating_status,
        tree.listeners[0].common.operating_status,
        tree.pools[0].common.operating_status,
        members[0].common.operating_status,
        members[1].common.operating_status,
    ]
}

type Prepare = fn(&mut World, &mut Observations);

/// Name, whether there is a monitor, verdicts, what is changed before, what is shown after.
type Row = (
    &'static str,
    bool,
    [Option<bool>; 2],
    Prepare,
    [OperatingStatus; 5],
);

const UP: [Option<bool>; 2] = [Some(true), Some(true)];

fn nothing(_: &mut World, _: &mut Observations) {}

fn drain_all(world: &mut World, _: &mut Observations) {
    for member in &mut world.tree.pools[0].members {
        member.weight = 0;
    }
}

fn check(table: &[Row]) {
    for (name, monitored, members, prepare, expected) in table {
        let mut world = full(*monitored);
        let mut seen = seen(&world, *members);
        prepare(&mut world, &mut seen);
        world.tree.roll_up(&seen, Timestamp(9));
        if world.tree.pools[0].members.is_empty() {
            assert_eq!(
                world.tree.pools[0].common.operating_status, Online,
                "{name}"
            );
            continue;
        }
        assert_eq!(shown(&world), *expected, "{name}");
    }
}

#[test]
fn verdicts() {
    check(&[
        (
            "all up",
            true,
            UP,
            nothing,
            [Online, Online, Online, Online, Online],
        ),
        (
            "one down",
            true,
            [Some(true), Some(false)],
            nothing,
            [Degraded, Online, Degraded, Online, Error],
        ),
        (
            "all down",
            true,
            [Some(false), Some(false)],
            nothing,
            [Error, Online, Error, Error, Error],
        ),
        (
            "no verdict yet",
            true,
            [None, None],
            nothing,
            [Online, Online, Online, Offline, Offline],
        ),
        (
            "not monitored",
            false,
            [None, None],
            nothing,
            [Online, Online, Online, NoMonitor, NoMonitor],
        ),
    ]);
}

#[test]
fn drained_members() {
    check(&[
        (
            "one drained",
            true,
            UP,
            |w, _| w.tree.pools[0].members[0].weight = 0,
            [Online, Online, Online, Draining, Online],
        ),
        (
            "drained and down",
            true,
            [Some(false), Some(true)],
            |w, _| w.tree.pools[0].members[0].weight = 0,
            [Degraded, Online, Degraded, Error, Online],
        ),
        (
            "all drained",
            true,
            UP,
            drain_all,
            [Error, Online, Error, Draining, Draining],
        ),
        (
            "drained, not monitored",
            false,
            [None, None],
            drain_all,
            [Error, Online, Error, NoMonitor, NoMonitor],
        ),
        (
            "all drained, UDP",
            true,
            UP,
            |w, _| {
                w.tree.pools[0].protocol = crate::enums::PoolProtocol::Udp;
                w.tree.pools[0]
                    .members
                    .iter_mut()
                    .for_each(|it| it.weight = 0);
            },
            [Online, Online, Online, Draining, Draining],
        ),
    ]);
}

#[test]
fn switches_of_members_and_pools() {
    check(&[
        (
            "a member off",
            true,
            UP,
            |w, _| w.tree.pools[0].members[0].common.admin_state_up = false,
            [Online, Online, Online, Offline, Online],
        ),
        (
            "all members off",
            true,
            UP,
            |w, _| {
                w.tree.pools[0]
                    .members
                    .iter_mut()
                    .for_each(|it| it.common.admin_state_up = false);
            },
            [Error, Online, Error, Offline, Offline],
        ),
        (
            "monitor off",
            true,
            [None, None],
            |w, _| {
                w.tree.pools[0]
                    .health_monitor
                    .as_mut()
                    .unwrap()
                    .common
                    .admin_state_up = false;
            },
            [Online, Online, Online, NoMonitor, NoMonitor],
        ),
        (
            "pool off",
            true,
            UP,
            |w, _| w.tree.pools[0].common.admin_state_up = false,
            [Online, Online, Offline, Offline, Offline],
        ),
        (
            "pool unattached",
            true,
            UP,
            |w, _| w.tree.listeners[0].default_pool_id = None,
            [Online, Online, Offline, Offline, Offline],
        ),
    ]);
}

#[test]
fn listeners_and_the_load_balancer() {
    check(&[
        (
            "listener off",
            true,
            UP,
            |w, _| w.tree.listeners[0].common.admin_state_up = false,
            [Online, Offline, Offline, Offline, Offline],
        ),
        (
            "listener full",
            true,
            UP,
            |w, o| {
                o.listeners
                    .insert(w.tree.listeners[0].id, ListenerObservation::Full);
            },
            [Degraded, Degraded, Online, Online, Online],
        ),
        (
            "listener missing",
            true,
            UP,
            |_, o| o.listeners.clear(),
            [Online, Error, Online, Online, Online],
        ),
        (
            "listener not served yet",
            true,
            UP,
            |_, o| {
                o.listeners.clear();
                o.generation -= 1;
            },
            [Online, Offline, Online, Online, Online],
        ),
        (
            "load balancer off",
            true,
            [Some(false), Some(true)],
            |w, _| w.tree.load_balancer.common.admin_state_up = false,
            [Offline, Offline, Offline, Offline, Offline],
        ),
        (
            "an empty pool",
            true,
            UP,
            |w, _| w.tree.pools[0].members.truncate(0),
            [Online; 5],
        ),
    ]);
}

#[test]
fn a_verdict_stays_until_the_next_one_and_repeating_changes_nothing() {
    let mut world = full(true);
    let down = seen(&world, [Some(false), Some(true)]);
    assert!(world.tree.roll_up(&down, Timestamp(9)));
    let before = world.tree.clone();
    assert!(!world.tree.roll_up(&down, Timestamp(10)));
    assert_eq!(world.tree, before, "not even a time");
    let nothing = seen(&world, [None, None]);
    assert!(!world.tree.roll_up(&nothing, Timestamp(11)));
    assert_eq!(shown(&world), [Degraded, Online, Degraded, Error, Online]);
}

#[test]
fn a_new_monitor_shows_its_first_verdict() {
    let mut world = full(false);
    let pool = world.tree.pools[0].id;
    world.monitor(pool, json!({"type": "TCP"})).unwrap();
    world.settle();
    let nothing = seen(&world, [None, None]);
    world.tree.roll_up(&nothing, Timestamp(9));
    assert_eq!(shown(&world)[3..], [NoMonitor, NoMonitor]);
    let verdicts = seen(&world, [Some(true), Some(false)]);
    world.tree.roll_up(&verdicts, Timestamp(9));
    assert_eq!(shown(&world)[3..], [Online, Error]);
}
