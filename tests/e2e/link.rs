//! An active amphora that loses its link.

use std::{net::SocketAddr, time::Duration};

use lb_testkit::{
    command,
    load::{self, Target},
    require_root, wait,
};

use crate::world::World;

#[test]
fn an_amphora_without_a_link_is_left_for_the_standby_which_stays() {
    if !require_root("an_amphora_without_a_link_is_left_for_the_standby_which_stays").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let id = &demonstration.load_balancer;
    let before = world.system.whole_pair(id).unwrap();
    let active = before.active().unwrap().clone();
    let target = Target {
        address: SocketAddr::new(demonstration.vips[0], 80),
        path: "/".to_owned(),
        timeout: Duration::from_millis(400),
    };
    let requests = world
        .topology
        .in_client(|| load::paced(&target, Duration::from_millis(3)))
        .unwrap();
    let netns = format!("lbaas-{}", &active.id[..8]);
    command::run(Some(&netns), "ip", &["link", "set", "eth0", "down"]).unwrap();
    let status = world.system.agent_status();
    let moved = wait::until(Duration::from_secs(5), Duration::from_millis(2), || {
        let now = lb_testkit::system::observed::LoadBalancer::read(&status, id)?;
        Ok(now.active().is_ok_and(|now| now.id != active.id))
    });
    assert!(moved.unwrap(), "nobody took over\n{}", world.system.logs());
    let after = world.system.whole_pair(id).unwrap();
    assert_ne!(after.active().unwrap().id, active.id, "no fail-back");
    let window = load::longest_window(&requests.stop());
    println!("window after the link was lost: {window:?}");
    assert!(window <= Duration::from_millis(250), "{window:?}");
}
