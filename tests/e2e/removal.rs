//! A load balancer that is deleted leaves nothing on its host.

use std::time::Duration;

use lb_sys::netns;
use lb_testkit::{command, require_root, topology::UPLINK_CLIENT, wait};

use crate::world::World;

const GONE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn deleting_a_load_balancer_leaves_nothing_on_its_host() {
    if !require_root("deleting_a_load_balancer_leaves_nothing_on_its_host").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let id = &demonstration.load_balancer;
    let pair = world.system.whole_pair(id).unwrap();
    let namespaces: Vec<String> = pair
        .amphorae
        .iter()
        .map(|amphora| format!("lbaas-{}", &amphora.id[..8]))
        .collect();
    assert!(namespaces.iter().all(|name| netns::exists(name)));
    let path = format!("/v2/lbaas/loadbalancers/{id}?cascade=true");
    let api = world.system.api();
    api.call("DELETE", &path, None).unwrap();
    let gone = wait::until(GONE_WITHIN, Duration::from_millis(20), || {
        Ok(api
            .request("GET", &format!("/v2/lbaas/loadbalancers/{id}"), None)?
            .status
            == 404)
    });
    assert!(gone.unwrap(), "it stays\n{}", world.system.logs());
    for name in &namespaces {
        assert!(!netns::exists(name), "{name}\n{}", world.system.logs());
    }
    for amphora in &pair.amphorae {
        let pid = amphora.pid.unwrap();
        assert_eq!(lb_sys::pidfd::start_time(pid), None, "process {pid}");
        let files = world.system.directory("run/amphorae").join(&amphora.id);
        assert!(!files.exists(), "{}", files.display());
    }
    let edge = Some(world.topology.edge());
    for family in ["-4", "-6"] {
        let arguments = [family, "neigh", "show", "proxy", "dev", UPLINK_CLIENT];
        let proxies = command::run(edge, "ip", &arguments).unwrap();
        assert_eq!(proxies.trim(), "", "answered for");
    }
    let links = command::run(edge, "ip", &["-br", "link"]).unwrap();
    for amphora in &pair.amphorae {
        assert!(
            !links.contains(&format!("lb{}", &amphora.id[..8])),
            "{links}"
        );
    }
    let routes = command::run(edge, "ip", &["route", "show", "dev", "lbsink0"]).unwrap();
    assert_eq!(routes.trim(), "");
}
