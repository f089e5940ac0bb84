//! Namespaces, application servers, and an agent in this process whose specs are written by hand.

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use lb_agent::{AgentConfig, Interface, Origin, desired::Disk};
use lb_model::{
    enums::{LbAlgorithm, ListenerProtocol, PoolProtocol, Topology as LbTopology},
    id::{ListenerId, NetworkId, SubnetId},
    spec::{
        AmphoraSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec, PortSpec,
        SubnetSpec, VipSpec,
    },
};
use lb_sys::netns;
use lb_testkit::{
    backend::Backend,
    load::{Loop, Target, keep_alive, paced},
    system::observed::LoadBalancer,
    topology::{ClientSide, SERVERS_V4, Topology, UPLINK_CLIENT, UPLINK_MEMBER, server_addresses},
    unique, wait,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// HTTP of the application servers, through amphorae.
pub(crate) const HTTP: u16 = 8080;
/// TCP of the application servers, hashed by XDP.
pub(crate) const TCP: u16 = 9090;
/// The VIPs.
pub(crate) const VIP_V4: &str = "198.51.100.10";
pub(crate) const VIP_V6: &str = "2001:db8:1::10";
/// A change that takes longer is lost.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One test at a time: they measure, and there are two cores.
static ONE: Mutex<()> = Mutex::new(());

/// An agent in this process.
struct Agent {
    shutdown: CancellationToken,
    thread: JoinHandle<Option<anyhow::Result<()>>>,
}

/// Fields are dropped in this order.
pub(crate) struct World {
    agent: Option<Agent>,
    pub(crate) config: AgentConfig,
    pub(crate) servers: Vec<Backend>,
    pub(crate) topology: Topology,
    base: PathBuf,
    pub(crate) spec: LoadBalancerSpec,
    _alone: MutexGuard<'static, ()>,
}

/// A binary that is put in place as a package manager does: a new file under the old name.
pub(crate) struct Installed {
    from: PathBuf,
    to: PathBuf,
}

impl Installed {
    pub(crate) fn again(&self) -> anyhow::Result<()> {
        let new = self.to.with_extension("new");
        fs::copy(&self.from, &new)?;
        fs::rename(&new, &self.to)?;
        Ok(())
    }
}

impl World {
    /// Everything but the agent.
    pub(crate) fn new(topology: LbTopology) -> anyhow::Result<Self> {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        lb_telemetry::logging::init();
        let namespaces = Topology::new("lbta", ClientSide::Namespace)?;
        let mut servers = Vec::new();
        for (index, name) in ["server1", "server2"].into_iter().enumerate() {
            let addresses = server_addresses(index).context("two servers")?;
            let member = Some(namespaces.member());
            servers.push(Backend::start(member, name, &addresses, HTTP, TCP)?);
        }
        let base = Path::new("/run").join(unique("lbta"));
        fs::create_dir(&base)?;
        let networks = [Uuid::new_v4().into(), Uuid::new_v4().into()];
        Ok(Self {
            agent: None,
            config: config(&base, networks)?,
            servers,
            topology: namespaces,
            base,
            spec: spec(networks, topology)?,
            _alone: alone,
        })
    }

    /// Writes the spec as it is now to where the agent looks at its start.
    pub(crate) fn store(&self) -> anyhow::Result<()> {
        Ok(Disk::open(self.config.agent_dir())?.put_spec(&self.spec)?)
    }

    /// Has amphorae run a copy of the binary, which can be replaced.
    pub(crate) fn install(&mut self) -> anyhow::Result<Installed> {
        let from = std::mem::replace(&mut self.config.binary, self.base.join("lbaas"));
        let installed = Installed {
            from,
            to: self.config.binary.clone(),
        };
        installed.again()?;
        Ok(installed)
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.agent.is_none(), "it runs");
        // What the former one saw must not be taken for what this one sees.
        drop(fs::remove_file(self.config.run_dir.join("agent.json")));
        let shutdown = CancellationToken::new();
        let (config, token) = (self.config.clone(), shutdown.clone());
        let thread = netns::spawn_in(self.topology.edge(), move || -> anyhow::Result<()> {
            // Its threads are made here, so they are in the edge.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let origin = Origin::current()?;
            runtime.block_on(lb_agent::run(config, origin, token))?;
            Ok(())
        })?;
        self.agent = Some(Agent { shutdown, thread });
        Ok(())
    }

    /// Ends the agent, as a kill would: nothing is told to anyone.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(agent) = self.agent.take() else {
            return Ok(());
        };
        agent.shutdown.cancel();
        match agent.thread.join() {
            Ok(Some(outcome)) => outcome,
            Ok(None) => bail!("the agent did not start"),
            Err(_panic) => bail!("the agent panicked"),
        }
    }

    /// How the agent sees the load balancer.
    pub(crate) fn observed(&self) -> anyhow::Result<LoadBalancer> {
        let status = self.config.run_dir.join("agent.json");
        LoadBalancer::read(&status, &self.spec.id.to_string())
    }

    /// Waits until `wanted` of the amphorae serve and one of them is active.
    pub(crate) fn whole(&self, wanted: usize) -> anyhow::Result<LoadBalancer> {
        let mut last = None;
        let found = wait::until(LIMIT, LOOK_EVERY, || {
            last = self.observed().ok();
            Ok(last.as_ref().is_some_and(|now| {
                let ready = now.amphorae.iter().filter(|a| a.ready && a.pid.is_some());
                ready.count() == wanted && now.active().is_ok_and(|active| active.ready)
            }))
        })?;
        match last {
            Some(now) if found => Ok(now),
            last => bail!(
                "not {wanted} amphorae within {LIMIT:?}: {last:?}\n{}",
                self.logs()
            ),
        }
    }

    /// Waits until another one than `id` is active.
    pub(crate) fn left(&self, id: &str) -> anyhow::Result<()> {
        let moved = wait::until(
            LIMIT,
            LOOK_EVERY,
            || Ok(self.observed()?.active()?.id != id),
        )?;
        ensure!(moved, "nobody took over\n{}", self.logs());
        Ok(())
    }

    /// What the amphorae wrote.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for amphora in &self.spec.amphorae {
            let path = self
                .config
                .amphorae_dir()
                .join(format!("{}/log", amphora.id));
            text += &format!("--- {}\n", path.display());
            text += &fs::read_to_string(path).unwrap_or_default();
        }
        text
    }

    /// The HTTP listener at a VIP.
    pub(crate) fn http(vip: &str) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(vip.parse()?, 80))
    }

    /// New connections to the HTTP listener, one every few milliseconds.
    pub(crate) fn paced(&self) -> anyhow::Result<Loop> {
        let target = Self::target("/")?;
        self.topology
            .in_client(|| paced(&target, Duration::from_millis(4)))
    }

    /// Request after request on one connection.
    pub(crate) fn keep_alive(&self, path: &str) -> anyhow::Result<Loop> {
        let target = Self::target(path)?;
        self.topology.in_client(|| keep_alive(&target))
    }

    fn target(path: &str) -> anyhow::Result<Target> {
        Ok(Target {
            address: Self::http(VIP_V4)?,
            path: path.to_owned(),
            timeout: Duration::from_secs(5),
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let stopped = self.stop();
        let config = self.config.clone();
        let taken_down = netns::run_in(self.topology.edge(), || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(lb_agent::teardown(&config))?)
        });
        let removed = fs::remove_dir_all(&self.base);
        if !std::thread::panicking() {
            assert!(stopped.is_ok(), "{stopped:?}");
            assert!(matches!(taken_down, Ok(Ok(()))), "{taken_down:?}");
            assert!(removed.is_ok(), "{removed:?}");
        }
    }
}

/// The `lbaas` binary: `cargo xtask test` says where, else it lies where cargo builds.
fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("LBAAS_BINARY") {
        return Ok(path.into());
    }
    let exe = env::current_exe()?;
    let debug = exe.ancestors().nth(2).context("target/debug/deps")?;
    Ok(debug.join("lbaas"))
}

fn config(base: &Path, [public, members]: [NetworkId; 2]) -> anyhow::Result<AgentConfig> {
    let interface = |name: &str, network| Interface {
        name: name.to_owned(),
        networks: vec![network],
    };
    Ok(AgentConfig {
        host: "test".to_owned(),
        server: None,
        credentials: base.to_owned(),
        state_dir: base.join("state"),
        run_dir: base.join("run"),
        edge_netns: None,
        bpf_dir: base.join("bpf"),
        drain_timeout: Duration::from_secs(10),
        l4: lb_agent::L4Limits::default(),
        // Making them beside what is measured here disturbs it; the end-to-end tests have them.
        spare_amphorae: 0,
        amphora: lb_agent::AmphoraLimits::default(),
        interfaces: vec![
            interface(UPLINK_CLIENT, public),
            interface(UPLINK_MEMBER, members),
        ],
        deny: Vec::new(),
        flow_log: Some(lb_agent::FlowLogConfig {
            target: lb_model::amphora::FlowLog::File(
                base.join("flow.log").to_string_lossy().into_owned(),
            ),
            file_bytes_max: 1 << 20,
            projects: Vec::new(),
        }),
        binary: binary()?,
    })
}

/// An HTTP listener through amphorae and a TCP listener hashed by XDP, on an IPv4 and an IPv6 VIP.
fn spec(
    [public, members]: [NetworkId; 2],
    topology: LbTopology,
) -> anyhow::Result<LoadBalancerSpec> {
    let subnet = |network_id, segment: u32, cidr: &str| -> anyhow::Result<SubnetSpec> {
        Ok(SubnetSpec {
            id: Uuid::new_v4().into(),
            network_id,
            segment,
            cidr: cidr.parse()?,
            gateway_ip: None,
        })
    };
    let v4 = subnet(public, 1, "198.51.100.0/24")?;
    let v6 = subnet(public, 1, "2001:db8:1::/64")?;
    let inner = subnet(members, 2, "203.0.113.0/24")?;
    let port = |subnet_id, address: &str| -> anyhow::Result<PortSpec> {
        Ok(PortSpec {
            subnet_id,
            address: address.parse()?,
        })
    };
    let amphora = |number: u8| -> anyhow::Result<AmphoraSpec> {
        Ok(AmphoraSpec {
            id: Uuid::new_v4().into(),
            ports: vec![
                port(v4.id, &format!("198.51.100.{}", 10 + number))?,
                port(v6.id, &format!("2001:db8:1::1{number}"))?,
                port(inner.id, &format!("203.0.113.{}", 100 + number))?,
            ],
        })
    };
    let http = pool(PoolProtocol::Http, LbAlgorithm::RoundRobin, HTTP, inner.id);
    let tcp = pool(PoolProtocol::Tcp, LbAlgorithm::SourceIpPort, TCP, inner.id);
    let count = if topology == LbTopology::Single { 1 } else { 2 };
    let vip = |subnet_id, address: &str| -> anyhow::Result<VipSpec> {
        Ok(VipSpec {
            address: address.parse()?,
            subnet_id,
        })
    };
    Ok(LoadBalancerSpec {
        vips: vec![vip(v4.id, VIP_V4)?, vip(v6.id, VIP_V6)?],
        amphorae: (1..=count).map(amphora).collect::<anyhow::Result<_>>()?,
        snat: vec![port(inner.id, "203.0.113.99")?],
        listeners: vec![
            listener(ListenerProtocol::Http, 80, ListenerPath::Amphora, &http),
            listener(ListenerProtocol::Tcp, 7000, ListenerPath::Xdp, &tcp),
        ],
        pools: vec![http, tcp],
        subnets: vec![v4, v6, inner],
        ..LoadBalancerSpec::new(Uuid::new_v4().into(), topology)
    })
}

fn pool(
    protocol: PoolProtocol,
    lb_algorithm: LbAlgorithm,
    port: u16,
    subnet_id: SubnetId,
) -> PoolSpec {
    let members = SERVERS_V4.iter().map(|address| {
        MemberSpec::new(Uuid::new_v4().into(), IpAddr::V4(*address), port, subnet_id)
    });
    PoolSpec {
        members: members.collect(),
        ..PoolSpec::new(Uuid::new_v4().into(), protocol, lb_algorithm)
    }
}

fn listener(
    protocol: ListenerProtocol,
    port: u16,
    path: ListenerPath,
    pool: &PoolSpec,
) -> ListenerSpec {
    ListenerSpec {
        path,
        default_pool_id: Some(pool.id),
        ..ListenerSpec::new(ListenerId(Uuid::new_v4()), protocol, port)
    }
}
