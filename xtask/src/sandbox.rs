//! A load balancer's world on one machine, made by `cargo xtask run` and removed by it.
//!
//! Everything lives under [`BASE`] and in namespaces and veths of its own; no existing interface is
//! touched. One sandbox at a time: a lock says who holds it, and a lock nobody holds means that an
//! earlier run crashed, so what it left behind is removed first.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use lb_testkit::{
    backend::Backend,
    demo::Place,
    system::{
        System,
        config::{self, RealInterface},
    },
    topology::{self, ClientSide, Topology},
};

use crate::shell;

/// Directory of the sandbox.
const BASE: &str = "/run/lbaas-sandbox";
/// Namespaces begin with this.
const PREFIX: &str = "lbaas-demo";
/// The application servers' HTTP port.
const SERVER_PORT: u16 = 8080;
/// Their TCP port, unused by the demonstration.
const SERVER_TCP_PORT: u16 = 9090;
/// The public API, where Octavia's is.
const API_PORT: u16 = 9876;
/// The agents' door.
const SYNC_PORT: u16 = 9877;

/// A running sandbox. Fields are dropped in this order: roles first, namespaces last.
#[derive(Debug)]
pub struct Sandbox {
    /// Server and agent, or one all-in-one.
    pub system: System,
    backends: Vec<Backend>,
    /// Namespaces; `None` on a real interface.
    pub topology: Option<Topology>,
    /// Held, not used: it goes with us, also when we are killed.
    _lock: File,
}

impl Sandbox {
    /// Builds namespaces and application servers and writes the configuration. Starts no role.
    pub fn create(binary: &Path, real: Option<&RealInterface>) -> anyhow::Result<Self> {
        let lock = take_lock()?;
        let base = Path::new(BASE);
        System::remove(binary, base)?;
        for stale in topology::remove_stale(PREFIX)? {
            shell::say(&format!("removed {stale} of an earlier run"));
        }
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let place = config::Place {
            base: base.to_path_buf(),
            api: loopback(API_PORT),
            sync: loopback(SYNC_PORT),
        };
        let mut backends = Vec::new();
        let mut topology = None;
        let text = match real {
            Some(real) => config::on_interface(&place, real),
            None => {
                let made = Topology::new(PREFIX, ClientSide::Host)?;
                backends = servers(made.member())?;
                let text = config::in_namespaces(&place, &made);
                topology = Some(made);
                text
            }
        };
        let system = System::new(binary, place, &text)?;
        Ok(Self {
            system,
            backends,
            topology,
            _lock: lock,
        })
    }

    /// How many application servers the sandbox runs itself.
    pub const fn servers(&self) -> usize {
        self.backends.len()
    }

    /// Where the demonstration goes inside the namespaces.
    pub fn place() -> Place {
        Place {
            name: "demo".to_owned(),
            vip_subnet: config::PUBLIC_V4.to_owned(),
            additional_subnets: vec![config::PUBLIC_V6.to_owned()],
            member_subnet: config::MEMBERS_V4.to_owned(),
            servers: topology::SERVERS_V4.map(IpAddr::V4),
            servers_v6: Some((
                config::MEMBERS_V6.to_owned(),
                topology::SERVERS_V6.map(IpAddr::V6),
            )),
            port: SERVER_PORT,
        }
    }
}

fn servers(namespace: &str) -> anyhow::Result<Vec<Backend>> {
    let start = |(index, name): (usize, &str)| {
        let addresses = topology::server_addresses(index).context("two servers")?;
        Backend::start(
            Some(namespace),
            name,
            &addresses,
            SERVER_PORT,
            SERVER_TCP_PORT,
        )
    };
    ["server1", "server2"]
        .into_iter()
        .enumerate()
        .map(start)
        .collect()
}

/// Takes the machine-wide lock, or says who has it.
fn take_lock() -> anyhow::Result<File> {
    let path = format!("{BASE}.lock");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {path}"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            bail!("a sandbox is running already: process {}", holder.trim());
        }
        Err(fs::TryLockError::Error(error)) => return Err(error).context(path),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
