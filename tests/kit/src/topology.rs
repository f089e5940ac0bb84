//! A client, an edge and a member namespace, joined by veths.
//!
//! ```text
//!  client (or the host itself)          edge                        member
//!  198.51.100.100        c0 ─────────── up0     up1 ─────────── m0   203.0.113.11, .12
//!  2001:db8:1::100             198.51.100.1     203.0.113.1         2001:db8:2::11, ::12
//!                         2001:db8:1::1     2001:db8:2::1
//! ```
//!
//! The edge is where an agent attaches XDP. Members know their connected subnet only: whoever
//! talks to them must do so from an address of that subnet. Addresses are from TEST-NETs and
//! 2001:db8::/32.
//!
//! Offloads (what XDP on veth needs): ends whose packets enter XDP send complete checksums; ends
//! that receive what XDP redirects have GRO on, which turns on NAPI.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use lb_sys::{
    clock::monotonic_ns,
    iface::{Offload, set_offload},
    netns,
};

use crate::{
    command::{ip_batch, run, sysctl},
    unique,
};

/// Interface of the edge towards clients.
pub const UPLINK_CLIENT: &str = "up0";
/// Interface of the edge towards members.
pub const UPLINK_MEMBER: &str = "up1";
/// Interface of the member namespace.
pub const MEMBER_INTERFACE: &str = "m0";
/// IPv4 subnet of clients and VIPs.
pub const CLIENT_SUBNET_V4: &str = "198.51.100.0/24";
/// IPv6 subnet of clients and VIPs.
pub const CLIENT_SUBNET_V6: &str = "2001:db8:1::/64";
/// IPv4 subnet of members.
pub const MEMBER_SUBNET_V4: &str = "203.0.113.0/24";
/// IPv6 subnet of members.
pub const MEMBER_SUBNET_V6: &str = "2001:db8:2::/64";
/// The client.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The client.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);
/// The edge towards clients.
pub const EDGE_CLIENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The edge towards members.
pub const EDGE_MEMBER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The application servers.
pub const SERVERS_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(203, 0, 113, 11),
    Ipv4Addr::new(203, 0, 113, 12),
];
/// The application servers.
pub const SERVERS_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11),
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x12),
];

/// Interface numbers of up0, up1, m0 and c0. Explicit, because the kernel tells a change of carrier
/// up to a second late when both ends of a veth happen to have the same number in their namespaces.
const INDICES: [u32; 4] = [1001, 1002, 2001, 2002];
/// How long an end may take to have carrier.
const CARRIER_LIMIT: Duration = Duration::from_secs(5);

/// Where the client's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientSide {
    /// In a namespace of its own.
    Namespace,
    /// In the caller's namespace, so that a person can use an ordinary shell.
    Host,
}

/// The namespaces and veths; removed with the value.
#[derive(Debug)]
pub struct Topology {
    name: String,
    client: Option<String>,
    client_interface: String,
    edge: String,
    member: String,
}

impl Topology {
    /// Builds it under names that begin with `prefix`.
    ///
    /// # Errors
    /// Without privileges, or when a subnet is in use on the host already ([`ClientSide::Host`]).
    /// What was built until then is removed.
    pub fn new(prefix: &str, client: ClientSide) -> anyhow::Result<Self> {
        let name = unique(prefix);
        let topology = Self {
            client: (client == ClientSide::Namespace).then(|| format!("{name}-client")),
            client_interface: match client {
                ClientSide::Namespace => "c0".to_owned(),
                ClientSide::Host => format!("lb{}c0", std::process::id()),
            },
            edge: format!("{name}-edge"),
            member: format!("{name}-member"),
            name,
        };
        if client == ClientSide::Host {
            must_be_free()?;
        }
        topology
            .build()
            .with_context(|| format!("build topology {}", topology.name))?;
        Ok(topology)
    }

    /// Namespace of the client; `None`: the caller's.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Interface of the client.
    #[must_use]
    pub fn client_interface(&self) -> &str {
        &self.client_interface
    }

    /// Namespace of the edge.
    #[must_use]
    pub fn edge(&self) -> &str {
        &self.edge
    }

    /// Namespace of the members.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.member
    }

    /// What all names begin with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `body` where the client is.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn in_client<T: Send>(&self, body: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        match &self.client {
            Some(name) => Ok(netns::run_in(name, body)?),
            None => Ok(body()),
        }
    }

    /// Forgets what the client knows of its neighbours: the next packet must ask again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn flush_client_neighbours(&self) -> anyhow::Result<()> {
        let interface = &self.client_interface;
        // Without a family both are flushed.
        ip_batch(self.client(), &format!("neigh flush dev {interface}\n"))
    }

    fn build(&self) -> anyhow::Result<()> {
        for name in [Some(&self.edge), Some(&self.member), self.client.as_ref()]
            .into_iter()
            .flatten()
        {
            netns::create(name)?;
            // Addresses are usable at once, and routers' advertisements change nothing.
            sysctl(Some(name), "net/ipv6/conf/default/accept_dad", "0")?;
            sysctl(Some(name), "net/ipv6/conf/default/accept_ra", "0")?;
            ip_batch(Some(name), "link set lo up\n")?;
        }
        self.build_links()?;
        self.set_offloads()?;
        for (netns, interface) in [
            (Some(self.edge()), UPLINK_CLIENT),
            (Some(self.edge()), UPLINK_MEMBER),
            (Some(self.member()), MEMBER_INTERFACE),
            (self.client(), self.client_interface()),
        ] {
            wait_for_carrier(netns, interface)?;
        }
        Ok(())
    }

    fn build_links(&self) -> anyhow::Result<()> {
        let (edge, member, client_if) = (&self.edge, &self.member, &self.client_interface);
        let [up0, up1, m0, c0] = INDICES;
        let own_index = self
            .client
            .as_ref()
            .map_or(String::new(), |_| format!("index {c0}"));
        ip_batch(
            Some(edge),
            &format!(
                "link add {UPLINK_MEMBER} index {up1} type veth peer name {MEMBER_INTERFACE} index {m0} netns {member}\n\
                 addr add {EDGE_MEMBER_V4}/24 dev {UPLINK_MEMBER}\n\
                 addr add 2001:db8:2::1/64 dev {UPLINK_MEMBER} nodad\n\
                 link set {UPLINK_MEMBER} up\n"
            ),
        )?;
        // From the client's side, so that it works for the host's namespace, which has no name.
        ip_batch(
            self.client(),
            &format!(
                "link add {client_if} {own_index} type veth peer name {UPLINK_CLIENT} index {up0} netns {edge}\n\
                 addr add {CLIENT_V4}/24 dev {client_if}\n\
                 addr add {CLIENT_V6}/64 dev {client_if} nodad\n\
                 link set {client_if} up\n"
            ),
        )?;
        ip_batch(
            Some(edge),
            &format!(
                "addr add {EDGE_CLIENT_V4}/24 dev {UPLINK_CLIENT}\n\
                 addr add 2001:db8:1::1/64 dev {UPLINK_CLIENT} nodad\n\
                 link set {UPLINK_CLIENT} up\n"
            ),
        )?;
        let mut lines = String::new();
        for (v4, v6) in SERVERS_V4.iter().zip(SERVERS_V6.iter()) {
            lines += &format!(
                "addr add {v4}/24 dev {MEMBER_INTERFACE}\naddr add {v6}/64 dev {MEMBER_INTERFACE} nodad\n"
            );
        }
        lines += &format!("link set {MEMBER_INTERFACE} up\n");
        ip_batch(Some(member), &lines)
    }

    fn set_offloads(&self) -> anyhow::Result<()> {
        let ends = |interface: &str| -> lb_sys::Result<()> {
            set_offload(interface, Offload::TransmitChecksum, false)?;
            set_offload(interface, Offload::GenericReceive, true)
        };
        netns::run_in(&self.member, || ends(MEMBER_INTERFACE))??;
        match &self.client {
            Some(name) => netns::run_in(name, || ends(&self.client_interface))??,
            None => ends(&self.client_interface)?,
        }
        Ok(())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let names = [Some(&self.edge), Some(&self.member), self.client.as_ref()];
        if self.client.is_none() {
            // Its other end goes with the edge only once nothing runs there; this is at once.
            drop(ip_batch(
                None,
                &format!("link del {}\n", self.client_interface),
            ));
        }
        for name in names.into_iter().flatten() {
            drop(netns::delete(name));
        }
    }
}

/// Before an end has carrier, neighbour discovery through it is lost.
fn wait_for_carrier(netns: Option<&str>, interface: &str) -> anyhow::Result<()> {
    let deadline = monotonic_ns().saturating_add(CARRIER_LIMIT.as_nanos().try_into()?);
    loop {
        let told = run(netns, "ip", &["-o", "link", "show", "dev", interface])?;
        if told.contains("state UP") {
            return Ok(());
        }
        ensure!(monotonic_ns() < deadline, "no carrier: {}", told.trim());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails when this host has addresses or routes in the clients' subnets already: its packets would
/// go there.
fn must_be_free() -> anyhow::Result<()> {
    for subnet in [CLIENT_SUBNET_V4, CLIENT_SUBNET_V6] {
        let family = if subnet.contains(':') { "-6" } else { "-4" };
        let routes = run(None, "ip", &[family, "route", "show", "root", subnet])?;
        anyhow::ensure!(
            routes.trim().is_empty(),
            "this host has a route into {subnet}, which the sandbox needs: {}",
            routes.trim()
        );
    }
    Ok(())
}

/// Both families of a server's address.
#[must_use]
pub fn server_addresses(index: usize) -> Option<[IpAddr; 2]> {
    Some([
        IpAddr::V4(*SERVERS_V4.get(index)?),
        IpAddr::V6(*SERVERS_V6.get(index)?),
    ])
}

/// Removes namespaces that a process made with [`Topology::new`] under `prefix` and left behind:
/// those whose maker no longer runs. Returns their names.
///
/// # Errors
/// When namespaces cannot be listed or removed.
pub fn remove_stale(prefix: &str) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in netns::list()? {
        let maker = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        let Some(maker) = maker else { continue };
        if lb_sys::pidfd::start_time(maker).is_none() {
            drop(ip_batch(None, &format!("link del lb{maker}c0\n")));
            netns::delete(&name)?;
            removed.push(name);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_root;
    use std::{
        io,
        net::{SocketAddr, TcpStream},
    };

    #[test]
    fn ends_reach_each_other_and_everything_is_removed() {
        if !require_root("topology").unwrap() {
            return;
        }
        let topology = Topology::new("lbkit", ClientSide::Namespace).unwrap();
        for (from, to) in [
            (topology.client(), "198.51.100.1"),
            (topology.client(), "2001:db8:1::1"),
            (Some(topology.edge()), "203.0.113.12"),
            (Some(topology.edge()), "2001:db8:2::11"),
        ] {
            // Refused, not silence: it was reached.
            let to = SocketAddr::new(to.parse().unwrap(), 9);
            let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(2));
            let outcome = netns::run_in(from.unwrap(), connect).unwrap();
            assert_eq!(
                outcome.unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused,
                "{to}"
            );
        }
        let edge = topology.edge().to_owned();
        topology.flush_client_neighbours().unwrap();
        drop(topology);
        assert!(!netns::exists(&edge));
    }
}
