//! Who speaks to whom from which address.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use lb_testkit::{command, require_root};

use crate::world::World;

#[test]
fn members_are_reached_from_an_address_of_their_own_subnet() {
    if !require_root("members_are_reached_from_an_address_of_their_own_subnet").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let member = Some(world.topology.member());
    let routes = command::run(member, "ip", &["route"]).unwrap();
    assert!(
        !routes.contains("default"),
        "members know only their subnet: {routes}"
    );
    for vip in &demonstration.vips {
        for port in [80, 9000] {
            let answer = world.get(SocketAddr::new(*vip, port), "/").unwrap();
            let peer = peer(&answer).unwrap();
            let subnet = match peer.to_canonical() {
                IpAddr::V4(peer) => peer.octets().starts_with(&[203, 0, 113]),
                IpAddr::V6(peer) => peer.segments().starts_with(&[0x2001, 0xdb8, 2, 0]),
            };
            assert!(subnet, "{vip}:{port} reached its member from {peer}");
        }
    }
}

#[test]
fn amphorae_have_no_capabilities_and_a_uid_of_their_own() {
    if !require_root("amphorae_have_no_capabilities_and_a_uid_of_their_own").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let pair = world
        .system
        .whole_pair(&demonstration.load_balancer)
        .unwrap();
    // Where a kernel has none for us, it has none for them.
    let realtime = std::thread::spawn(lb_sys::realtime::take)
        .join()
        .unwrap()
        .is_ok();
    let mut uids = Vec::new();
    for amphora in &pair.amphorae {
        let pid = amphora.pid.unwrap();
        assert_eq!(
            realtime_threads(pid).unwrap(),
            if realtime {
                vec!["heartbeat"]
            } else {
                Vec::new()
            }
        );
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {pid}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        uids.push(field("Uid:"));
        for namespace in ["net", "pid", "mnt"] {
            let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_ne!(
                of(&pid.to_string()),
                of("self"),
                "{namespace} namespace of {pid}"
            );
        }
    }
    assert!(uids.iter().all(|uid| uid != "0"));
    assert_ne!(uids[0], uids[1]);
}

/// Names of a process's threads that do not share processors with the rest.
fn realtime_threads(pid: u32) -> anyhow::Result<Vec<String>> {
    /// SCHED_RR, as proc(5) has it in the 41st field; two are before the one that follows the name.
    const POLICY: (usize, &str) = (41 - 3, "2");
    let mut names = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        let (start, rest) = stat.rsplit_once(") ").context("a task's stat")?;
        let name = start.split_once('(').context("a task's name")?.1;
        if rest.split(' ').nth(POLICY.0) == Some(POLICY.1) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn peer(answer: &lb_testkit::client::Answer) -> anyhow::Result<IpAddr> {
    let peer: SocketAddr = answer.header("x-peer").unwrap_or_default().parse()?;
    Ok(peer.ip())
}
