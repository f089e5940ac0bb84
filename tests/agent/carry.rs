//! What an agent must do with a pair: serve, survive, come back.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use lb_model::enums::Topology as LbTopology;
use lb_testkit::{
    client::{get, tcp_name},
    load::{failures, longest_window},
    require_root, wait,
};

use crate::world::{LIMIT, VIP_V4, VIP_V6, World};

const ANSWER: Duration = Duration::from_secs(2);

/// HTTP through the active amphora, v4 and v6, and TCP hashed to both servers.
fn serves(world: &World) -> anyhow::Result<()> {
    for vip in [VIP_V4, VIP_V6] {
        let http = World::http(vip)?;
        let answer = world.topology.in_client(|| get(http, "/x", ANSWER))?;
        let answer = answer.map_err(|error| anyhow::anyhow!("{vip}: {error}\n{}", world.logs()))?;
        anyhow::ensure!(answer.status == 200, "{vip}: {answer:?}");
        // The servers know their connected subnet only.
        let peer = answer.header("x-peer").unwrap_or_default().to_owned();
        anyhow::ensure!(peer.starts_with("203.0.113.10"), "{peer}");
    }
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..40 {
        let to = SocketAddr::new(VIP_V4.parse()?, 7000);
        let name = world.topology.in_client(|| tcp_name(to, ANSWER))??;
        *shares.entry(name).or_default() += 1;
    }
    anyhow::ensure!(shares.len() == 2, "{shares:?}");
    Ok(())
}

#[test]
fn pair_serves_and_survives_kill_stop_and_agent() {
    if !require_root("pair_serves_and_survives_kill_stop_and_agent").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let first = world.whole(2).unwrap();
    serves(&world).unwrap();

    // SIGKILL of the active one.
    let active = first.active().unwrap().clone();
    let load = world.paced().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    active.signal("KILL").unwrap();
    world.left(&active.id).unwrap();
    let second = world.whole(2).unwrap();
    let attempts = load.stop();
    println!(
        "window after SIGKILL: {:?}, {} of {} failed",
        longest_window(&attempts),
        failures(&attempts).len(),
        attempts.len()
    );
    assert!(longest_window(&attempts) <= Duration::from_millis(50));
    assert_ne!(second.active().unwrap().id, active.id, "no fail-back");

    // SIGSTOP of the active one.
    let active = second.active().unwrap().clone();
    let load = world.paced().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    active.signal("STOP").unwrap();
    world.left(&active.id).unwrap();
    let third = world.whole(2).unwrap();
    let attempts = load.stop();
    println!(
        "window after SIGSTOP: {:?}, {} of {} failed",
        longest_window(&attempts),
        failures(&attempts).len(),
        attempts.len()
    );
    assert!(longest_window(&attempts) <= Duration::from_millis(150));
    assert!(third.epoch > second.epoch);

    // The agent goes, forwarding goes on, and XDP fails over alone.
    world.stop().unwrap();
    serves(&world).unwrap();
    world.topology.flush_client_neighbours().unwrap();
    serves(&world).unwrap();
    let active = third.active().unwrap().clone();
    let load = world.paced().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    active.signal("KILL").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let attempts = load.stop();
    println!(
        "window after SIGKILL without agent: {:?}",
        longest_window(&attempts)
    );
    assert!(longest_window(&attempts) <= Duration::from_millis(150));
    serves(&world).unwrap();

    // A new agent adopts what is there.
    let survivor = third.amphorae.iter().find(|a| a.id != active.id).unwrap();
    world.start().unwrap();
    let fourth = world.whole(2).unwrap();
    let now = fourth.active().unwrap();
    assert_eq!((&now.id, now.pid), (&survivor.id, survivor.pid), "adopted");
    serves(&world).unwrap();
}

#[test]
fn agent_restart_keeps_the_processes() {
    if !require_root("agent_restart_keeps_the_processes").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    let load = world.keep_alive("/").unwrap();
    for _ in 0..2 {
        world.stop().unwrap();
        world.start().unwrap();
        assert_eq!(world.whole(2).unwrap(), before);
    }
    let attempts = load.stop();
    assert!(failures(&attempts).is_empty(), "{:?}", failures(&attempts));
    assert!(attempts.len() > 20);
}

#[test]
fn a_new_binary_takes_the_amphorae_over_and_costs_no_request() {
    if !require_root("a_new_binary_takes_the_amphorae_over_and_costs_no_request").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    let installed = world.install().unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    let loads = [
        world.paced().unwrap(),
        world.keep_alive("/").unwrap(),
        world.keep_alive("/slow?ms=1000").unwrap(),
    ];
    for _ in 0..3 {
        let old: Vec<_> = world.whole(2).unwrap().amphorae;
        world.stop().unwrap();
        installed.again().unwrap();
        world.start().unwrap();
        let replaced = wait::until(LIMIT, Duration::from_millis(20), || {
            let Ok(now) = world.observed() else {
                return Ok(false);
            };
            let pid = |all: &[lb_testkit::system::observed::Amphora], id: &str| {
                all.iter().find(|it| it.id == id).and_then(|it| it.pid)
            };
            Ok(now.amphorae.len() == 2
                && now
                    .amphorae
                    .iter()
                    .all(|it| it.ready && it.pid.is_some() && it.pid != pid(&old, &it.id)))
        });
        assert!(
            replaced.unwrap(),
            "{:?}\n{}",
            world.observed(),
            world.logs()
        );
    }
    let after = world.whole(2).unwrap();
    assert_eq!(after.epoch, before.epoch, "no failover");
    assert_eq!(after.active().unwrap().id, before.active().unwrap().id);
    for load in loads {
        let attempts = load.stop();
        assert!(attempts.len() > 1);
        assert!(failures(&attempts).is_empty(), "{:?}", failures(&attempts));
        println!("{} requests, 0 failed", attempts.len());
    }
    serves(&world).unwrap();
}

#[test]
fn a_member_that_is_down_stays_out_while_the_agent_restarts() {
    if !require_root("a_member_that_is_down_stays_out_while_the_agent_restarts").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::Single).unwrap();
    let monitor = serde_json::json!({
        "id": uuid::Uuid::new_v4(), "name": "", "description": "", "tags": [],
        "admin_state_up": true, "provisioning_status": "ACTIVE", "operating_status": "ONLINE",
        "created_at": "2026-01-01T00:00:00", "updated_at": null,
        "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1,
        "http_method": null, "url_path": null, "expected_codes": null, "http_version": null,
        "domain_name": null,
    });
    world.spec.pools[1].health_monitor = Some(serde_json::from_value(monitor).unwrap());
    world.store().unwrap();
    world.start().unwrap();
    world.whole(1).unwrap();
    serves(&world).unwrap();
    drop(world.servers.pop());
    let to = SocketAddr::new(VIP_V4.parse().unwrap(), 7000);
    let connect = |world: &World| world.topology.in_client(|| tcp_name(to, ANSWER)).unwrap();
    let out = wait::until(LIMIT, Duration::from_millis(100), || {
        Ok((0..20).all(|_| connect(&world).is_ok_and(|name| name == "server1")))
    });
    assert!(out.unwrap(), "the monitor takes it out");
    world.stop().unwrap();
    world.start().unwrap();
    let until = wait::now() + Duration::from_secs(2);
    while wait::now() < until {
        assert_eq!(connect(&world).unwrap(), "server1");
    }
    world.whole(1).unwrap();
}

#[test]
fn planned_failover_loses_nothing() {
    if !require_root("planned_failover_loses_nothing").unwrap() {
        return;
    }
    let mut world = World::new(LbTopology::ActiveStandby).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    // Asked for while the agent is away; it carries it out when it is back.
    world.stop().unwrap();
    world.spec.failover_count += 1;
    world.spec.generation += 1;
    world.store().unwrap();
    let loads = [
        world.keep_alive("/").unwrap(),
        world.keep_alive("/slow?ms=2000").unwrap(),
        world.paced().unwrap(),
    ];
    world.start().unwrap();
    let moved = wait::until(LIMIT, Duration::from_millis(5), || {
        let Ok(now) = world.observed() else {
            return Ok(false);
        };
        let pids = |pair: &lb_testkit::system::observed::LoadBalancer| {
            pair.amphorae.iter().map(|a| a.pid).collect::<Vec<_>>()
        };
        let all_new = pids(&now).iter().all(|pid| !pids(&before).contains(pid));
        Ok(all_new && now.amphorae.iter().all(|a| a.ready && a.pid.is_some()))
    });
    assert!(moved.unwrap(), "{:?}", world.observed());
    let after = world.whole(2).unwrap();
    assert_ne!(after.active().unwrap().id, before.active().unwrap().id);
    assert_eq!(after.epoch, before.epoch + 1, "one switch");
    for (number, load) in loads.into_iter().enumerate() {
        let attempts = load.stop();
        assert!(attempts.len() > 1);
        let failed = failures(&attempts);
        assert!(
            failed.is_empty(),
            "load {number}: {failed:?}\n{}",
            world.logs()
        );
    }
}
