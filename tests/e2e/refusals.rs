//! A member is never a hole into the host (design invariant 7).

use lb_testkit::{require_root, system::config};
use serde_json::{Value, json};

use crate::world::World;

#[test]
fn members_that_would_reach_the_host_or_an_amphora_are_refused() {
    if !require_root("members_that_would_reach_the_host_or_an_amphora_are_refused").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let api = world.system.api();
    let other = api
        .create(
            "loadbalancers",
            "loadbalancer",
            json!({"name": "other", "vip_subnet_id": config::PUBLIC_V4}),
        )
        .unwrap();
    let other_id = other["id"].as_str().unwrap();
    api.wait_active(other_id, std::time::Duration::from_secs(10))
        .unwrap();
    let amphorae = api
        .get(&format!("/v2/octavia/amphorae?loadbalancer_id={other_id}"))
        .unwrap();
    let amphora = amphorae["amphorae"][0]["vrrp_ip"]
        .as_str()
        .unwrap()
        .to_owned();
    let pool = &demonstration.pools[0].1;
    let members = format!("/v2/lbaas/pools/{pool}/members");
    let before = api.get(&members).unwrap();
    let api_port = world.system.api_address().port();
    for (why, address, port) in [
        ("the API on loopback", "127.0.0.1", api_port),
        ("the API on loopback, IPv6", "::1", api_port),
        ("the API, mapped", "::ffff:127.0.0.1", api_port),
        ("unspecified", "0.0.0.0", api_port),
        ("the edge's own address", "198.51.100.1", api_port),
        ("the edge's other own address", "203.0.113.1", 9877),
        ("link-local", "169.254.0.1", 80),
        ("metadata", "169.254.169.254", 80),
        ("multicast", "224.0.0.1", 80),
        ("broadcast", "255.255.255.255", 80),
        ("another load balancer's amphora", amphora.as_str(), 80),
    ] {
        let body = json!({"member": {"address": address, "protocol_port": port}});
        let answer = api.request("POST", &members, Some(&body)).unwrap();
        assert_eq!(answer.status, 400, "{why}: {}", answer.body);
        assert_eq!(answer.body["faultcode"], Value::from("Client"), "{why}");
        let monitored = json!({"member": {
            "address": "203.0.113.11", "protocol_port": 81, "monitor_address": address, "monitor_port": port,
        }});
        let answer = api.request("POST", &members, Some(&monitored)).unwrap();
        assert_eq!(answer.status, 400, "monitor of {why}: {}", answer.body);
    }
    assert_eq!(
        api.get(&members).unwrap(),
        before,
        "a refused request changes nothing"
    );
}

#[test]
fn an_amphora_cannot_reach_the_edge_or_the_api() {
    if !require_root("an_amphora_cannot_reach_the_edge_or_the_api").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let pair = world
        .system
        .whole_pair(&demonstration.load_balancer)
        .unwrap();
    let netns = format!("lbaas-{}", &pair.active().unwrap().id[..8]);
    for address in ["198.51.100.1:22", "203.0.113.1:9877"] {
        let address: std::net::SocketAddr = address.parse().unwrap();
        let limit = std::time::Duration::from_millis(300);
        let connect = || std::net::TcpStream::connect_timeout(&address, limit);
        let outcome = lb_sys::netns::run_in(&netns, connect).unwrap();
        let error = outcome.unwrap_err();
        // Silence: not even a reset comes back.
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::TimedOut,
            "{address}: {error}"
        );
    }
}
