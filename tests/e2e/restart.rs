//! Nothing acknowledged is lost, and what runs is found as it was left.

use std::{net::SocketAddr, time::Duration};

use lb_testkit::require_root;
use serde_json::Value;

use crate::world::World;

const COLLECTIONS: [&str; 5] = [
    "loadbalancers",
    "listeners",
    "pools",
    "healthmonitors",
    "l7policies",
];

#[test]
fn a_killed_server_loses_nothing_and_a_killed_agent_adopts_what_runs() {
    if !require_root("a_killed_server_loses_nothing_and_a_killed_agent_adopts_what_runs").unwrap() {
        return;
    }
    let mut world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let id = &demonstration.load_balancer;
    let api = world.system.api();
    let everything = || -> Vec<Value> {
        let mut all: Vec<Value> = COLLECTIONS
            .iter()
            .map(|collection| api.get(&format!("/v2/lbaas/{collection}")).unwrap())
            .collect();
        all.iter_mut().for_each(without_times);
        all
    };
    let (before, pair) = (everything(), world.system.whole_pair(id).unwrap());
    world.system.kill("server").unwrap();
    world.system.kill("agent").unwrap();
    let vip = SocketAddr::new(demonstration.vips[0], 80);
    assert_eq!(
        world.server(vip, "/").unwrap(),
        "server1",
        "forwarding goes on without both"
    );
    world.system.start("server").unwrap();
    world.system.start("agent").unwrap();
    world.system.wait_ready().unwrap();
    api.wait_active(id, Duration::from_secs(10)).unwrap();
    assert_eq!(
        world.system.whole_pair(id).unwrap(),
        pair,
        "same processes, same roles, same epoch"
    );
    assert_eq!(everything(), before);
    assert_eq!(world.server(vip, "/api").unwrap(), "server2");
}

/// Health and times of day may move on; what was asked for may not.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["updated_at", "operating_status"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}
