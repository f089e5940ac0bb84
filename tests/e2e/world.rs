//! A system in a world of its own: namespaces, application servers, a client, free ports.

use std::{
    env,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use lb_testkit::{
    backend::Backend,
    certs::TestCa,
    client::{self, Answer},
    demo::{self, Demonstration, Place},
    system::{System, config},
    topology::{self, ClientSide, Topology},
    unique,
};

/// HTTP port of the application servers.
pub(crate) const SERVER_PORT: u16 = 8080;
/// TCP port of the application servers.
pub(crate) const SERVER_TCP_PORT: u16 = 9090;
/// An answer takes no longer than this, on a busy machine too.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// One test at a time: they measure, and there are two cores.
static ONE: Mutex<()> = Mutex::new(());

/// Fields are dropped in this order: roles first, namespaces last.
pub(crate) struct World {
    pub(crate) system: System,
    _backends: Vec<Backend>,
    pub(crate) topology: Topology,
    _alone: MutexGuard<'static, ()>,
}

/// Serialises a test that needs no world of its own.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `lbaas` binary: `cargo xtask test` says where, else it lies where cargo builds.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("LBAAS_BINARY") {
        return Ok(path.into());
    }
    let exe = env::current_exe()?;
    let debug = exe
        .ancestors()
        .nth(2)
        .context("the test binary lies in target/debug/deps")?;
    Ok(debug.join("lbaas"))
}

/// A place with free ports, nothing started.
pub(crate) fn place(prefix: &str) -> anyhow::Result<config::Place> {
    Ok(config::Place {
        base: PathBuf::from("/run").join(unique(prefix)),
        api: free_port()?,
        sync: free_port()?,
    })
}

impl World {
    /// Namespaces, servers, `lbaas server` and `lbaas agent`.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut world = Self::prepare()?;
        world.system.start("server")?;
        world.system.start("agent")?;
        world.system.wait_ready()?;
        Ok(world)
    }

    /// Namespaces, servers and a configuration; no role runs.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        let alone = alone();
        let topology = Topology::new("lbe2e", ClientSide::Namespace)?;
        let mut backends = Vec::new();
        for (index, name) in ["server1", "server2"].into_iter().enumerate() {
            let addresses = topology::server_addresses(index).context("two servers")?;
            let member = Some(topology.member());
            backends.push(Backend::start(
                member,
                name,
                &addresses,
                SERVER_PORT,
                SERVER_TCP_PORT,
            )?);
        }
        let place = place("lbe2e")?;
        let text = config::in_namespaces(&place, &topology);
        let system = System::new(&binary()?, place, &text)?;
        Ok(Self {
            system,
            _backends: backends,
            topology,
            _alone: alone,
        })
    }

    /// The demonstration with an IPv4 and an IPv6 VIP.
    pub(crate) fn demonstrate(&self) -> anyhow::Result<Demonstration> {
        let ca = TestCa::create(&self.system.directory("ca"))?;
        let place = Place {
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
        };
        demo::create(&self.system.api(), &place, &ca)
            .with_context(|| format!("the demonstration failed\n{}", self.system.logs()))
    }

    /// One request of the client on a connection of its own.
    pub(crate) fn get(&self, to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        let answer = self.topology.in_client(|| client::get(to, path, ANSWER))?;
        answer.with_context(|| format!("GET {path} from {to}\n{}", self.system.logs()))
    }

    /// The name of the server that answered.
    pub(crate) fn server(&self, to: SocketAddr, path: &str) -> anyhow::Result<String> {
        Ok(self.get(to, path)?.body.trim().to_owned())
    }
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
