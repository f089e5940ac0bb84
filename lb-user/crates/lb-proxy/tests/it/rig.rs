//! An amphora under test, and the specs it is given.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use lb_model::{
    amphora::{AmphoraConfig, FlowLog, FromAmphora, ListenerFailure, ToAmphora},
    enums::{
        L7PolicyAction, L7RuleCompareType, L7RuleType, LbAlgorithm, ListenerProtocol,
        OperatingStatus, PoolProtocol, ProvisioningStatus, Topology,
    },
    id::{AmphoraId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, MemberId, PoolId, SubnetId},
    resource::{Common, L7Policy, L7Rule},
    spec::{
        AmphoraSpec, ListenerReport, ListenerSpec, LoadBalancerSpec, MemberReport, MemberSpec,
        PoolSpec, VipSpec,
    },
    time::Timestamp,
};
use lb_proxy::AmphoraArgs;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};
use uuid::Uuid;

use crate::client::{Client, PATIENCE};

pub const PORT: u16 = 8080;

/// Amphorae under test that were taken over leave within this.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// Each rig has a VIP of its own in 127/8, so that tests run side by side.
static NEXT_VIP: AtomicU8 = AtomicU8::new(1);

/// A running amphora and the connection of its agent.
pub struct Rig {
    pub vip: IpAddr,
    pub spec: LoadBalancerSpec,
    pub flow_log: Option<FlowLog>,
    pub log_to_agent: bool,
    pub socket: PathBuf,
    pub agent: Agent,
    thread: Option<Running>,
    _dir: tempfile::TempDir,
}

/// The agent's side of a session.
pub struct Agent {
    reader: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

/// A status as received.
#[derive(Debug)]
pub struct Status {
    pub connections: u64,
    pub listeners: Vec<ListenerReport>,
    pub members: Vec<MemberReport>,
}

impl Rig {
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(1, None).await
    }

    pub async fn start_with(workers: usize, heartbeat: Option<OwnedFd>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket)?;
        let workers = NonZeroUsize::new(workers).context("at least one")?;
        let args = AmphoraArgs {
            heartbeat,
            drain_within: DRAIN_WITHIN,
            ..AmphoraArgs::new(listener.into(), workers)
        };
        let thread = start(move || Ok(args));
        let agent = Agent::connect(&socket).await?;
        let number = NEXT_VIP.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        let vip = IpAddr::V4(Ipv4Addr::new(127, high.max(1), low, number));
        Ok(Self {
            vip,
            spec: spec(vip),
            flow_log: None,
            log_to_agent: false,
            socket,
            agent,
            thread: Some(thread),
            _dir: dir,
        })
    }

    /// A rig that serves one HTTP listener with one pool of `members`.
    pub async fn serving(members: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut rig = Self::start().await?;
        rig.serve(members).await?;
        Ok(rig)
    }

    /// One HTTP listener with one pool of `members`.
    pub async fn serve(&mut self, members: &[SocketAddr]) -> anyhow::Result<()> {
        self.spec.listeners = vec![listener(1, ListenerProtocol::Http, PORT, Some(1))];
        self.spec.pools = vec![pool(1, members)];
        self.apply().await
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip, port)
    }

    pub async fn client(&self) -> anyhow::Result<Client<tokio::net::TcpStream>> {
        Client::connect(self.at(PORT)).await
    }

    /// Configures the amphora with the spec as it is now; nothing may fail.
    pub async fn apply(&mut self) -> anyhow::Result<()> {
        let failures = self.try_apply().await?;
        if failures.is_empty() {
            return Ok(());
        }
        bail!("not served: {failures:?}");
    }

    pub async fn try_apply(&mut self) -> anyhow::Result<Vec<ListenerFailure>> {
        self.spec.generation += 1;
        let config = AmphoraConfig {
            amphora_id: AmphoraId(Uuid::from_u128(1)),
            load_balancer: self.spec.clone(),
            ticket_seed: None,
            flow_log: self.flow_log.clone(),
            log_to_agent: self.log_to_agent,
        };
        let config = Box::new(config);
        self.agent.say(&ToAmphora::Configure { config }).await?;
        loop {
            if let FromAmphora::Applied {
                generation,
                failures,
            } = self.agent.hear().await?
                && generation == self.spec.generation
            {
                return Ok(failures);
            }
        }
    }

    /// Waits for a status that `fits`.
    pub async fn status(&mut self, fits: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
        self.agent.status(fits).await
    }

    /// Has a new amphora take over; the thread of the old one, and its agent's session.
    pub async fn take_over(&mut self, workers: usize) -> anyhow::Result<(Running, Agent)> {
        let stream = std::os::unix::net::UnixStream::connect(&self.socket)?;
        let workers = NonZeroUsize::new(workers).context("at least one")?;
        let successor = start(move || {
            let mut args = AmphoraArgs::succeed(stream.into(), workers)?;
            args.drain_within = DRAIN_WITHIN;
            Ok(args)
        });
        let old = self.thread.replace(successor).context("runs")?;
        while self.agent.hear().await? != FromAmphora::TakenOver {}
        let agent = Agent::connect(&self.socket).await?;
        Ok((old, std::mem::replace(&mut self.agent, agent)))
    }

    /// Ends the amphora in order; its result.
    pub async fn shut_down(mut self) -> anyhow::Result<()> {
        self.agent.say(&ToAmphora::Shutdown).await?;
        let thread = self.thread.take().context("runs")?;
        let ended = tokio::task::spawn_blocking(|| thread.join()).await?;
        ended.map_err(|_panic| anyhow!("panicked"))??;
        Ok(())
    }
}

type Running = thread::JoinHandle<Result<(), lb_proxy::Error>>;

fn start(args: impl FnOnce() -> Result<AmphoraArgs, lb_proxy::Error> + Send + 'static) -> Running {
    thread::spawn(move || {
        // As the role does: whatever an amphora needs, it must get with its filter on.
        lb_sys::seccomp::confine().map_err(|error| lb_proxy::Error::Start {
            what: "filter",
            source: std::io::Error::other(error),
        })?;
        lb_proxy::run(args()?)
    })
}

impl Agent {
    pub async fn connect(socket: &std::path::Path) -> anyhow::Result<Self> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        Ok(Self {
            reader: BufReader::new(reader).lines(),
            writer,
        })
    }

    pub async fn say(&mut self, message: &ToAmphora) -> anyhow::Result<()> {
        let line = serde_json::to_string(message)?;
        self.say_raw(&format!("{line}\n")).await
    }

    pub async fn say_raw(&mut self, text: &str) -> anyhow::Result<()> {
        self.writer.write_all(text.as_bytes()).await?;
        Ok(())
    }

    pub async fn hear(&mut self) -> anyhow::Result<FromAmphora> {
        let line = timeout(PATIENCE, self.reader.next_line())
            .await
            .context("silence")??;
        Ok(serde_json::from_str(
            &line.context("the session is closed")?,
        )?)
    }

    pub async fn status(&mut self, fits: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
        let waiting = async {
            loop {
                if let FromAmphora::Status {
                    connections,
                    listeners,
                    members,
                    ..
                } = self.hear().await?
                {
                    let status = Status {
                        connections,
                        listeners,
                        members,
                    };
                    if fits(&status) {
                        return Ok(status);
                    }
                }
            }
        };
        timeout(PATIENCE, waiting).await.context("no such status")?
    }
}

pub fn subnet() -> SubnetId {
    SubnetId(Uuid::from_u128(1))
}

fn spec(vip: IpAddr) -> LoadBalancerSpec {
    LoadBalancerSpec {
        project_id: "project".to_owned(),
        generation: 0,
        vips: vec![VipSpec {
            address: vip,
            subnet_id: subnet(),
        }],
        amphorae: vec![AmphoraSpec {
            id: AmphoraId(Uuid::from_u128(1)),
            ports: Vec::new(),
        }],
        ..LoadBalancerSpec::new(LoadBalancerId(Uuid::from_u128(1)), Topology::Single)
    }
}

pub fn listener(
    id: u128,
    protocol: ListenerProtocol,
    port: u16,
    default_pool: Option<u128>,
) -> ListenerSpec {
    ListenerSpec {
        default_pool_id: default_pool.map(|id| PoolId(Uuid::from_u128(id))),
        ..ListenerSpec::new(ListenerId(Uuid::from_u128(id)), protocol, port)
    }
}

pub fn pool(id: u128, members: &[SocketAddr]) -> PoolSpec {
    PoolSpec {
        members: members
            .iter()
            .zip(1..)
            .map(|(address, n)| member(id * 100 + n, *address))
            .collect(),
        ..PoolSpec::new(
            PoolId(Uuid::from_u128(id)),
            PoolProtocol::Http,
            LbAlgorithm::RoundRobin,
        )
    }
}

fn member(id: u128, address: SocketAddr) -> MemberSpec {
    MemberSpec::new(
        MemberId(Uuid::from_u128(id)),
        address.ip(),
        address.port(),
        subnet(),
    )
}

pub fn common() -> Common {
    Common {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        provisioning_status: ProvisioningStatus::Active,
        operating_status: OperatingStatus::Online,
        created_at: Timestamp(0),
        updated_at: None,
        tags: Vec::new(),
    }
}

/// A policy with one rule: the path starts with `prefix`.
pub fn policy(action: L7PolicyAction, prefix: &str) -> L7Policy {
    L7Policy {
        id: L7PolicyId(Uuid::from_u128(1)),
        common: common(),
        action,
        redirect_pool_id: None,
        redirect_url: None,
        redirect_prefix: None,
        redirect_http_code: None,
        rules: vec![L7Rule {
            id: L7RuleId(Uuid::from_u128(1)),
            common: common(),
            kind: L7RuleType::Path,
            compare_type: L7RuleCompareType::StartsWith,
            key: None,
            value: prefix.to_owned(),
            invert: false,
        }],
    }
}
