//! The configuration file of a system under test.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::topology::{
    CLIENT_SUBNET_V4, CLIENT_SUBNET_V6, MEMBER_SUBNET_V4, MEMBER_SUBNET_V6, Topology,
    UPLINK_CLIENT, UPLINK_MEMBER,
};

/// Subnet of the VIP.
pub const PUBLIC_V4: &str = "5a000000-0000-4000-8000-000000000004";
/// Subnet of the second VIP.
pub const PUBLIC_V6: &str = "5a000000-0000-4000-8000-000000000006";
/// Subnet of the members.
pub const MEMBERS_V4: &str = "5b000000-0000-4000-8000-000000000004";
/// Subnet of the members' IPv6 addresses.
pub const MEMBERS_V6: &str = "5b000000-0000-4000-8000-000000000006";
/// Name of the one host.
const HOST: &str = "host-a";
const PUBLIC: &str = "5a000000-0000-4000-8000-000000000001";
const MEMBERS: &str = "5b000000-0000-4000-8000-000000000001";

/// A real interface instead of the sandbox's namespaces.
#[derive(Clone, Debug)]
pub struct RealInterface {
    /// Its name.
    pub interface: String,
    /// Subnet behind it (VIPs, members and our own addresses are taken from it).
    pub subnet: String,
    /// The subnet's router.
    pub gateway: Option<IpAddr>,
    /// First and last address we may take.
    pub range: Option<(IpAddr, IpAddr)>,
}

/// Where a system listens and keeps its files.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory of its own.
    pub base: PathBuf,
    /// Public API.
    pub api: SocketAddr,
    /// Agents' door.
    pub sync: SocketAddr,
}

/// For the sandbox's namespaces.
#[must_use]
pub fn in_namespaces(place: &Place, topology: &Topology) -> String {
    let mut text = common(place);
    let edge = topology.edge();
    network(
        &mut text,
        "public",
        PUBLIC,
        1,
        &[
            Subnet::new(
                PUBLIC_V4,
                "public-v4",
                CLIENT_SUBNET_V4,
                "198.51.100.10",
                "198.51.100.99",
            ),
            Subnet::new(
                PUBLIC_V6,
                "public-v6",
                CLIENT_SUBNET_V6,
                "2001:db8:1::10",
                "2001:db8:1::ff",
            ),
        ],
    );
    network(
        &mut text,
        "members",
        MEMBERS,
        2,
        &[
            Subnet::new(
                MEMBERS_V4,
                "members-v4",
                MEMBER_SUBNET_V4,
                "203.0.113.100",
                "203.0.113.199",
            ),
            Subnet::new(
                MEMBERS_V6,
                "members-v6",
                MEMBER_SUBNET_V6,
                "2001:db8:2::100",
                "2001:db8:2::1ff",
            ),
        ],
    );
    agent(
        &mut text,
        place,
        Some(edge),
        &[(UPLINK_CLIENT, PUBLIC), (UPLINK_MEMBER, MEMBERS)],
    );
    text
}

/// For a real interface.
#[must_use]
pub fn on_interface(place: &Place, real: &RealInterface) -> String {
    let mut text = common(place);
    let subnet = Subnet {
        id: PUBLIC_V4,
        name: "subnet",
        cidr: &real.subnet,
        gateway: real.gateway,
        range: real
            .range
            .map(|(first, last)| (first.to_string(), last.to_string())),
    };
    network(&mut text, "network", PUBLIC, 1, &[subnet]);
    agent(&mut text, place, None, &[(&real.interface, PUBLIC)]);
    text
}

struct Subnet<'a> {
    id: &'a str,
    name: &'a str,
    cidr: &'a str,
    gateway: Option<IpAddr>,
    range: Option<(String, String)>,
}

impl<'a> Subnet<'a> {
    fn new(id: &'a str, name: &'a str, cidr: &'a str, first: &str, last: &str) -> Self {
        Self {
            id,
            name,
            cidr,
            gateway: None,
            range: Some((first.to_owned(), last.to_owned())),
        }
    }
}

fn common(place: &Place) -> String {
    let Place { base, api, sync } = place;
    let base = base.display();
    format!(
        "# Written for a sandbox or a test.\n\
         state_dir = \"{base}/state\"\nrun_dir = \"{base}/run\"\n\n\
         [api]\nlisten = \"{api}\"\nauth_strategy = \"noauth\"\n\n\
         [controller]\nsync_listen = \"{sync}\"\nloadbalancer_topology = \"ACTIVE_STANDBY\"\n\n"
    )
}

fn network(text: &mut String, name: &str, id: &str, segment: u32, subnets: &[Subnet<'_>]) {
    text.push_str(&format!(
        "[[networks]]\nid = \"{id}\"\nname = \"{name}\"\nsegment = {segment}\n\n"
    ));
    for subnet in subnets {
        let Subnet { id, name, cidr, .. } = subnet;
        text.push_str(&format!(
            "[[networks.subnets]]\nid = \"{id}\"\nname = \"{name}\"\ncidr = \"{cidr}\"\n"
        ));
        if let Some(gateway) = subnet.gateway {
            text.push_str(&format!("gateway_ip = \"{gateway}\"\n"));
        }
        if let Some((first, last)) = &subnet.range {
            text.push_str(&format!(
                "allocation_pools = [{{ start = \"{first}\", end = \"{last}\" }}]\n"
            ));
        }
        text.push('\n');
    }
}

fn agent(text: &mut String, place: &Place, edge: Option<&str>, interfaces: &[(&str, &str)]) {
    let Place { base, sync, .. } = place;
    let base = base.display();
    text.push_str(&format!(
        "[agent]\nhost = \"{HOST}\"\nserver = \"{sync}\"\n"
    ));
    if let Some(edge) = edge {
        text.push_str(&format!("edge_netns = \"{edge}\"\n"));
    }
    text.push_str(&format!("bpf_dir = \"{base}/bpf\"\n\n"));
    for (name, network) in interfaces {
        text.push_str(&format!(
            "[[agent.interfaces]]\nname = \"{name}\"\nnetworks = [\"{network}\"]\n\n"
        ));
    }
}
