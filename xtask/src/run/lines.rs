//! The lines a person is shown, as data, so that `--check` runs the very same.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use lb_testkit::demo::{DEFAULT_HOST, Demonstration, Place, SNI_HOST};

use crate::sandbox::Sandbox;

/// One command and what its answer begins with.
#[derive(Clone, Debug)]
pub struct Line {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What the output must contain.
    pub expects: &'static str,
}

impl Line {
    fn new(argv: &[&str], expects: &'static str) -> Self {
        Self {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            expects,
        }
    }

    /// As one types it.
    pub fn shown(&self) -> String {
        let quoted = self.argv.iter().map(|word| {
            if word.contains(['[', ' ', '?']) {
                format!("'{word}'")
            } else {
                word.clone()
            }
        });
        quoted.collect::<Vec<_>>().join(" ")
    }
}

/// Requests to every listener and over every VIP.
pub fn curl(demonstration: &Demonstration, ca: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    let ca = ca.display().to_string();
    for vip in &demonstration.vips {
        let at = |port: u16| SocketAddr::new(*vip, port);
        lines.extend([
            Line::new(&["curl", "-sS", &format!("http://{}/", at(80))], "server1"),
            Line::new(
                &["curl", "-sS", &format!("http://{}/api/orders", at(80))],
                "server2",
            ),
            Line::new(
                &["curl", "-sS", &format!("http://{}/", at(8080))],
                "server2",
            ),
            Line::new(&["curl", "-sS", &format!("http://{}/", at(9000))], "server"),
        ]);
        for host in [DEFAULT_HOST, SNI_HOST] {
            let resolve = format!("{host}:443:{}", bracketed(*vip));
            let url = format!("https://{host}/");
            lines.push(Line::new(
                &["curl", "-sS", "--cacert", &ca, "--resolve", &resolve, &url],
                "server1",
            ));
        }
    }
    lines
}

/// What the real client says about it.
pub fn openstack() -> Vec<Line> {
    vec![
        Line::new(&["openstack", "loadbalancer", "list"], "demo"),
        Line::new(
            &["openstack", "loadbalancer", "status", "show", "demo"],
            "listener1",
        ),
        Line::new(&["openstack", "loadbalancer", "amphora", "list"], "MASTER"),
        Line::new(
            &["openstack", "loadbalancer", "member", "list", "pool1"],
            "203.0.113.11",
        ),
        Line::new(&["openstack", "loadbalancer", "failover", "demo"], ""),
    ]
}

/// How to kill the active amphora.
pub fn kill(agent_status: &Path) -> String {
    format!(
        "kill -9 $(python3 -c 'import json; l = json.load(open(\"{}\"))[\"load_balancers\"][0]; \
         print(next(a[\"pid\"] for a in l[\"amphorae\"] if a[\"active\"]))')",
        agent_status.display()
    )
}

/// The demonstration on a person's own servers.
pub fn place_on_interface(servers: [IpAddr; 2]) -> Place {
    let mut place = Sandbox::place();
    place.additional_subnets.clear();
    place.member_subnet.clone_from(&place.vip_subnet);
    place.servers = servers;
    place.servers_v6 = None;
    place
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
