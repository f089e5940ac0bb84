//! Amphorae that are made before they are needed: used, and never left behind.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use lb_sys::netns;
use lb_testkit::{command::run, require_root, wait};
use serde_json::Value;

use crate::world::World;

const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// As the configuration has it when it says nothing.
const KEPT: usize = 4;

/// Processes of those that are ready, by id.
type Ready = BTreeMap<String, u32>;

fn directory(world: &World) -> PathBuf {
    world.system.directory("run").join("spares")
}

fn ready(world: &World) -> Ready {
    let entries = fs::read_dir(directory(world)).into_iter().flatten();
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let text = fs::read(entry.path().join("process.json")).ok()?;
            let record: Value = serde_json::from_slice(&text).ok()?;
            let pid = u32::try_from(record.get("pid")?.as_u64()?).ok()?;
            Some((entry.file_name().into_string().ok()?, pid))
        })
        .collect()
}

fn wait_full(world: &World, other_than: &Ready) -> anyhow::Result<Ready> {
    let mut now = Ready::new();
    let full = wait::until(LIMIT, LOOK_EVERY, || {
        now = ready(world);
        Ok(now.len() == KEPT && now.keys().all(|id| !other_than.contains_key(id)))
    })?;
    anyhow::ensure!(
        full,
        "not {KEPT} are ready: {now:?}\n{}",
        world.system.logs()
    );
    Ok(now)
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn veths(world: &World, id: &str) -> anyhow::Result<usize> {
    let links = run(Some(world.topology.edge()), "ip", &["-o", "link"])?;
    Ok(links.matches(&format!(" lb{}", short(id))).count())
}

fn runs(pid: u32) -> bool {
    // One that has ended and that nobody has waited for has no program any more.
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

/// Nothing of them is on the host.
fn ensure_gone(world: &World, spares: &Ready) -> anyhow::Result<()> {
    for (id, pid) in spares {
        anyhow::ensure!(!runs(*pid), "process {pid} of {id}");
        let name = format!("lbaas-{}", short(id));
        anyhow::ensure!(!netns::exists(&name), "{name}");
        anyhow::ensure!(veths(world, id)? == 0, "veths of {id}");
    }
    Ok(())
}

#[test]
fn spare_amphorae_become_amphorae_and_none_is_left_by_a_kill_or_a_stop() {
    if !require_root("spare_amphorae_become_amphorae_and_none_is_left_by_a_kill_or_a_stop").unwrap()
    {
        return;
    }
    let mut world = World::start().unwrap();
    let first = wait_full(&world, &Ready::new()).unwrap();
    for id in first.keys() {
        assert!(netns::exists(&format!("lbaas-{}", short(id))));
        assert_eq!(veths(&world, id).unwrap(), 2, "made for two networks");
    }

    // Killed, and in the middle: of one only the namespace has become an amphora's, of another also
    // a veth.
    world.system.kill("agent").unwrap();
    let mut some = first.keys();
    let (one, other) = (some.next().unwrap(), some.next().unwrap());
    let half = [(one, "lbaas-5ba4e001"), (other, "lbaas-5ba4e002")];
    for (id, name) in half {
        netns::rename(&format!("lbaas-{}", short(id)), name).unwrap();
    }
    let veth = format!("lb{}0", short(other));
    let renamed = ["link", "set", &veth, "name", "lb5ba4e0020"];
    run(Some(world.topology.edge()), "ip", &renamed).unwrap();
    world.system.start("agent").unwrap();
    world.system.wait_ready().unwrap();
    let second = wait_full(&world, &first).unwrap();
    // What had got an amphora's name is that amphora's, which nobody asked for here.
    for (_, name) in half {
        netns::delete(name).unwrap();
    }
    ensure_gone(&world, &first).unwrap();

    let demonstration = world.demonstrate().unwrap();
    let pair = world
        .system
        .whole_pair(&demonstration.load_balancer)
        .unwrap();
    for amphora in &pair.amphorae {
        assert!(
            second.values().any(|pid| Some(*pid) == amphora.pid),
            "{amphora:?} was not one of {second:?}"
        );
        assert!(netns::exists(&format!("lbaas-{}", short(&amphora.id))));
    }
    let vip = SocketAddr::new(demonstration.vips[0], 80);
    assert_eq!(world.server(vip, "/").unwrap(), "server1");
    let third = wait_full(&world, &Ready::new()).unwrap();

    world.system.stop("agent").unwrap();
    assert_eq!(ready(&world), Ready::new());
    ensure_gone(&world, &third).unwrap();
    assert!(pair.amphorae.iter().all(|one| one.pid.is_some_and(runs)));
    assert_eq!(world.server(vip, "/").unwrap(), "server1", "amphorae stay");
}
