//! A load balancer's world on one machine, made by `cargo xtask run` and removed by it.
//!
//! Everything lives under [`BASE`] and in namespaces and veths of its own; no existing interface is
//! touched. One sandbox at a time: a lock says who holds it, and a lock nobody holds means that an
//! earlier run crashed, so what it left behind is removed first.

mod config;
mod leftovers;
mod processes;

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use lb_testkit::{
    api::ApiClient,
    backend::Backend,
    demo::Place,
    topology::{self, ClientSide, Topology},
};

use crate::shell;

pub use config::RealInterface;
pub use processes::Process;

/// Directory of the sandbox.
const BASE: &str = "/run/lbaas-sandbox";
/// Namespaces begin with this.
const PREFIX: &str = "lbaas-demo";
/// The application servers' HTTP port.
const SERVER_PORT: u16 = 8080;
/// Their TCP port, unused by the demonstration.
const SERVER_TCP_PORT: u16 = 9090;
/// Address of the public API.
pub const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9876);

/// Paths of a sandbox.
#[derive(Clone, Debug)]
pub struct Paths {
    base: PathBuf,
}

impl Paths {
    fn file(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The configuration file of all roles.
    pub fn config(&self) -> PathBuf {
        self.file("lb.toml")
    }

    /// Where the agent tells what it sees.
    pub fn agent_status(&self) -> PathBuf {
        self.file("run/agent.json")
    }

    /// The demonstration's CA.
    pub fn ca(&self) -> PathBuf {
        self.file("ca")
    }
}

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    /// Where its files are.
    pub paths: Paths,
    /// The `lbaas` binary.
    pub binary: PathBuf,
    /// Namespaces; `None` on a real interface.
    pub topology: Option<Topology>,
    backends: Vec<Backend>,
    /// Server and agent, or one all-in-one.
    pub processes: Vec<Process>,
    /// Held, not used: it goes with us, also when we are killed.
    _lock: File,
}

impl Sandbox {
    /// Builds namespaces and application servers and writes the configuration. Starts no process.
    pub fn create(binary: &Path, real: Option<&RealInterface>) -> anyhow::Result<Self> {
        let paths = Paths {
            base: PathBuf::from(BASE),
        };
        let lock = take_lock()?;
        leftovers::remove(&paths, binary, PREFIX)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&paths.base)?;
        let mut sandbox = Self {
            paths,
            binary: binary.to_path_buf(),
            topology: None,
            backends: Vec::new(),
            processes: Vec::new(),
            _lock: lock,
        };
        let text = match real {
            Some(real) => config::on_interface(&sandbox.paths.base, real),
            None => {
                let topology = Topology::new(PREFIX, ClientSide::Host)?;
                sandbox.start_servers(topology.member())?;
                let text = config::in_namespaces(&sandbox.paths.base, &topology);
                sandbox.topology = Some(topology);
                text
            }
        };
        fs::write(sandbox.paths.config(), text)?;
        Ok(sandbox)
    }

    /// A client of the sandbox's API.
    #[expect(
        clippy::unused_self,
        reason = "there is an API only where there is a sandbox"
    )]
    pub const fn api(&self) -> ApiClient {
        ApiClient::new(API)
    }

    /// Where the demonstration goes inside the namespaces.
    pub fn place() -> Place {
        Place {
            name: "demo".to_owned(),
            vip_subnet: config::PUBLIC_V4.to_owned(),
            additional_subnets: vec![config::PUBLIC_V6.to_owned()],
            member_subnet: config::MEMBERS_V4.to_owned(),
            servers: topology::SERVERS_V4.map(IpAddr::V4),
            port: SERVER_PORT,
        }
    }

    /// Starts a role as a process of its own and remembers it.
    pub fn start(&mut self, role: &str) -> anyhow::Result<()> {
        let log = self.paths.file(&format!("{role}.log"));
        let process = Process::start(&self.binary, role, &self.paths.config(), &log)?;
        fs::write(self.paths.file(&format!("{role}.pid")), process.record())?;
        self.processes.push(process);
        Ok(())
    }

    /// A process by its role.
    pub fn process(&mut self, role: &str) -> anyhow::Result<&mut Process> {
        self.processes
            .iter_mut()
            .find(|process| process.role() == role)
            .with_context(|| format!("no {role} was started"))
    }

    /// Kills a role with SIGKILL and forgets it.
    pub fn kill(&mut self, role: &str) -> anyhow::Result<()> {
        self.process(role)?.kill()?;
        self.processes.retain(|process| process.role() != role);
        Ok(())
    }

    fn start_servers(&mut self, namespace: &str) -> anyhow::Result<()> {
        for (index, name) in ["server1", "server2"].into_iter().enumerate() {
            let addresses = topology::server_addresses(index).context("two servers")?;
            self.backends.push(Backend::start(
                Some(namespace),
                name,
                &addresses,
                SERVER_PORT,
                SERVER_TCP_PORT,
            )?);
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    /// Stops everything and removes it, however the run ended.
    fn drop(&mut self) {
        for process in &mut self.processes {
            if let Err(error) = process.stop() {
                shell::say(&format!(
                    "`lbaas {}` could not be stopped: {error:#}",
                    process.role()
                ));
            }
        }
        self.backends.clear();
        if let Err(error) = leftovers::remove(&self.paths, &self.binary, PREFIX) {
            shell::say(&format!(
                "the sandbox could not be removed whole: {error:#}"
            ));
        }
    }
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
