//! What the control thread holds, and what it does when the agent speaks.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use lb_model::{
    amphora::{AmphoraConfig, FlowLog, FromAmphora, Handed, ListenerFailure, ToAmphora},
    id::{LoadBalancerId, MemberId, PoolId},
};
use lb_probe::{monitor, schedule::Prober, sctp::SctpSockets};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use crate::{
    config::{self, Compiled, Snapshot, TlsCache},
    counters::{Connections, Metrics},
    listen::{self, Endpoint, Listening},
    log::{Dropped, Log, Target},
    persistence::{self, Book, Learned},
    takeover::{Inheritance, Stays},
    worker::Order,
};

/// A worker that has not taken an order by then hangs; the agent is not told that it serves.
const APPLY_WITHIN: Duration = Duration::from_secs(5);

/// The served configuration and everything around it.
#[derive(Debug)]
pub(crate) struct State {
    workers: Vec<mpsc::Sender<Order>>,
    connections: Arc<Connections>,
    prober: Prober,
    metrics: Arc<Metrics>,
    /// With where it goes; `None`: to the agent.
    log: Option<(Option<FlowLog>, Log)>,
    /// Where lines for the agent go.
    lines: mpsc::Sender<String>,
    dropped: Arc<Dropped>,
    ties: Book,
    tls: TlsCache,
    /// With a second handle on each socket, for a successor. Dropped before a worker is told to
    /// close: a socket that nobody accepts from must not be open.
    listening: HashMap<Endpoint, Vec<OwnedFd>>,
    generation: u64,
    config: Option<Box<AmphoraConfig>>,
    draining: bool,
    /// Of SCTP monitors, for a successor.
    sctp: Vec<OwnedFd>,
    /// Sockets of the amphora we succeed, until they are used.
    inherited: HashMap<Endpoint, Vec<OwnedFd>>,
    /// What that amphora knew of members.
    health: HashMap<(PoolId, MemberId), bool>,
    /// What is still with it.
    stays: Stays,
}

/// One worker's part of the sockets to open.
type Sockets = Vec<(Endpoint, Listening)>;

impl State {
    pub(crate) fn new(
        workers: Vec<mpsc::Sender<Order>>,
        connections: Arc<Connections>,
        lines: mpsc::Sender<String>,
    ) -> Self {
        Self {
            metrics: Arc::default(),
            log: None,
            lines,
            dropped: Arc::default(),
            ties: Book::default(),
            workers,
            connections,
            prober: Prober::new(),
            tls: TlsCache::new(),
            listening: HashMap::new(),
            generation: 0,
            config: None,
            draining: false,
            sctp: Vec::new(),
            inherited: HashMap::new(),
            health: HashMap::new(),
            stays: Stays::default(),
        }
    }

    /// Gives the monitors the raw sockets that were inherited.
    pub(crate) fn probe_sctp(&mut self, sockets: Vec<OwnedFd>) {
        if sockets.is_empty() {
            return;
        }
        let copies = sockets.iter().map(OwnedFd::try_clone);
        self.sctp = copies.collect::<io::Result<_>>().unwrap_or_default();
        match SctpSockets::new(sockets) {
            Ok(sockets) => self.prober.use_sctp(sockets),
            Err(error) => tracing::warn!(%error, "SCTP members cannot be probed"),
        }
    }

    /// Where lines of the log are counted that nobody takes.
    pub(crate) fn dropped(&self) -> Arc<Dropped> {
        Arc::clone(&self.dropped)
    }

    pub(crate) fn health_changed(&self) -> Arc<Notify> {
        self.prober.changed()
    }

    pub(crate) fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// Does what the agent says. `None`: it said to shut down; `Some(None)`: nothing to answer.
    pub(crate) async fn obey(&mut self, message: ToAmphora) -> Option<Option<FromAmphora>> {
        match message {
            ToAmphora::Configure { config } => {
                let applied = self.configure(&config).await;
                self.config = Some(config);
                Some(applied)
            }
            ToAmphora::Drain { draining } => {
                tracing::info!(draining, "drain");
                self.draining = draining;
                for worker in &self.workers {
                    order(worker, Order::Drain(draining)).await;
                }
                Some(None)
            }
            ToAmphora::Ties { tables } => {
                let learned: Vec<_> = tables.iter().flat_map(persistence::learned).collect();
                self.spread(learned).await;
                Some(None)
            }
            ToAmphora::TellTies => {
                let tables = self.ties.tables();
                tracing::debug!(tables = tables.len(), "ties are told");
                Some(Some(FromAmphora::Ties { tables }))
            }
            // Who asks is no agent; the inbox has seen to it.
            ToAmphora::TakeOver | ToAmphora::Serves => Some(None),
            ToAmphora::Shutdown => None,
        }
    }

    /// Whose amphora this is, once it was told.
    pub(crate) fn load_balancer(&self) -> Option<LoadBalancerId> {
        let config = self.config.as_ref()?;
        Some(config.load_balancer.id)
    }

    /// Notes ties that workers have made; what the other amphora is to be told.
    pub(crate) async fn learn(&mut self, learned: Vec<Learned>) -> FromAmphora {
        let tables = Book::bundle(&learned);
        self.spread(learned).await;
        FromAmphora::Ties { tables }
    }

    /// Notes ties, and lets every worker know that did not make them.
    async fn spread(&mut self, learned: Vec<Learned>) {
        let mut news = learned;
        news.retain(|tie| self.ties.learn(tie));
        if news.is_empty() || self.workers.len() == 1 && news.iter().all(|tie| tie.worker.is_some())
        {
            return;
        }
        let news: Arc<[Learned]> = news.into();
        for worker in &self.workers {
            order(worker, Order::Learn(Arc::clone(&news))).await;
        }
    }

    /// Serves what the amphora before us served, on its sockets.
    pub(crate) async fn inherit(&mut self, inheritance: &mut Inheritance) {
        self.health = inheritance.health();
        self.stays = inheritance.stays.clone();
        for (endpoint, socket) in inheritance.sockets.drain(..) {
            self.inherited.entry(endpoint).or_default().push(socket);
        }
        if inheritance.draining {
            self.obey(ToAmphora::Drain { draining: true }).await;
        }
        if let Some(config) = inheritance.config.take() {
            self.obey(ToAmphora::Configure { config }).await;
        }
        let ties = inheritance.ties.iter().flat_map(persistence::learned);
        self.spread(ties.collect()).await;
        self.health.clear();
        self.inherited.clear();
    }

    /// What the amphora before us says of itself; `None`: it has ended.
    pub(crate) fn predecessor_has(&mut self, stays: Option<Stays>) {
        match stays {
            Some(stays) => self.stays = stays,
            None => self.stays.end(),
        }
    }

    /// What a successor needs, and descriptors in the order it is told.
    pub(crate) fn hand_over(
        &self,
        control: OwnedFd,
        heartbeat: Option<&OwnedFd>,
    ) -> io::Result<(Vec<OwnedFd>, FromAmphora)> {
        let mut all = vec![(Handed::Control, control)];
        if let Some(heartbeat) = heartbeat {
            all.push((Handed::Heartbeat, heartbeat.try_clone()?));
        }
        for socket in &self.sctp {
            all.push((Handed::Sctp, socket.try_clone()?));
        }
        for (&Endpoint { address, datagrams }, sockets) in &self.listening {
            for socket in sockets {
                let handed = if datagrams {
                    Handed::Datagrams { address }
                } else {
                    Handed::Listener { address }
                };
                all.push((handed, socket.try_clone()?));
            }
        }
        let (handed, descriptors) = all.into_iter().unzip();
        let FromAmphora::Status {
            connections,
            listeners,
            members,
            ..
        } = self.status()
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let answer = FromAmphora::HandedOver {
            config: self.config.clone(),
            draining: self.draining,
            ties: self.ties.tables(),
            descriptors: handed,
            connections,
            listeners,
            members,
        };
        Ok((descriptors, answer))
    }

    /// A successor serves: accepts nothing more, probes nobody, finishes what is open.
    pub(crate) async fn depart(&mut self) {
        // The successor probes; members' health stays as it was seen last.
        self.prober.rest();
        self.listening.clear();
        for worker in &self.workers {
            order(worker, Order::Depart).await;
        }
    }

    /// Client connections here and with the amphora before us.
    pub(crate) fn open_connections(&self) -> u64 {
        self.connections
            .open()
            .saturating_add(self.stays.connections)
    }

    pub(crate) async fn shut_down(&mut self) {
        self.listening.clear();
        for worker in &self.workers {
            order(worker, Order::Shutdown).await;
        }
    }

    /// What is observed now.
    pub(crate) fn status(&self) -> FromAmphora {
        let mut listeners = self.metrics.reports();
        self.stays.add_to(&mut listeners);
        FromAmphora::Status {
            generation: self.generation,
            connections: self.open_connections(),
            listeners,
            members: self.prober.reports(),
        }
    }

    async fn configure(&mut self, config: &AmphoraConfig) -> Option<FromAmphora> {
        let generation = config.load_balancer.generation;
        let sources = config::sources(config);
        let mut plans: Vec<_> = config
            .load_balancer
            .pools
            .iter()
            .flat_map(|pool| monitor::plans(pool, &sources))
            .collect();
        for plan in &mut plans {
            let known = self.health.get(&(plan.pool_id, plan.member_id));
            plan.last_known_up = known.copied().or(plan.last_known_up);
        }
        self.prober.apply(plans);
        let Compiled {
            mut snapshot,
            mut failures,
            tls,
        } = config::compile(config, &self.prober, &self.tls);
        self.tls = tls;
        snapshot.log = self.log_of(config);
        let open = self.open_missing(&mut snapshot, &mut failures);
        if !self.apply(snapshot, open).await {
            tracing::error!(generation, "a worker does not take the configuration");
            return None;
        }
        self.generation = generation;
        for failure in &failures {
            tracing::warn!(listener.id = %failure.listener_id, reason = failure.reason, "listener cannot be served");
        }
        tracing::info!(
            generation,
            listeners = self.listening.len(),
            "configuration is served"
        );
        Some(FromAmphora::Applied {
            generation,
            failures,
        })
    }

    /// The flow log, opened once and kept while it stays the same.
    fn log_of(&mut self, config: &AmphoraConfig) -> Option<Log> {
        let own = config.flow_log.as_ref();
        let target = match own {
            Some(own) => Target::Own(own),
            None if config.log_to_agent => Target::Agent(self.lines.clone()),
            None => {
                self.log = None;
                return None;
            }
        };
        if let Some((_, log)) = self.log.as_ref().filter(|(open, _)| open.as_ref() == own) {
            return Some(log.clone());
        }
        let spec = &config.load_balancer;
        let owner = format!("{} {}", spec.project_id, spec.id);
        match Log::open(target, &owner, Arc::clone(&self.dropped)) {
            Ok(log) => {
                self.log = Some((own.cloned(), log.clone()));
                Some(log)
            }
            Err(error) => {
                tracing::error!(%error, "the flow log cannot be opened");
                None
            }
        }
    }

    /// Finds sockets for addresses that are new, at least one a worker: those of the amphora we
    /// succeed, or new ones; a listener that gets none fails.
    fn open_missing(
        &mut self,
        snapshot: &mut Snapshot,
        failures: &mut Vec<ListenerFailure>,
    ) -> Vec<Sockets> {
        let mut open: Vec<Sockets> = self.workers.iter().map(|_| Sockets::new()).collect();
        snapshot.listeners.retain(|listener| {
            let endpoints: Vec<_> = listener.endpoints().collect();
            let missing = endpoints
                .iter()
                .filter(|it| !self.listening.contains_key(*it));
            for &endpoint in missing {
                let inherited = self.inherited.remove(&endpoint).unwrap_or_default();
                if let Err(error) = share_out(endpoint, inherited, &mut open) {
                    failures.push(ListenerFailure {
                        listener_id: listener.id,
                        reason: format!("cannot listen on {}: {error}", endpoint.address),
                        permanent: false,
                    });
                    // Without this listener its other sockets have no use.
                    for worker in &mut open {
                        worker.retain(|(opened, _)| !endpoints.contains(opened));
                    }
                    return false;
                }
            }
            true
        });
        open
    }

    /// Hands the snapshot to every worker and waits until all serve it.
    async fn apply(&mut self, snapshot: Snapshot, open: Vec<Sockets>) -> bool {
        let wanted: HashSet<Endpoint> = snapshot
            .listeners
            .iter()
            .flat_map(|listener| listener.endpoints())
            .collect();
        self.metrics = Arc::new(self.metrics.next(&snapshot, self.workers.len()));
        self.ties.keep(&snapshot.tables());
        let is_wanted = |endpoint: &Endpoint| wanted.contains(endpoint);
        let listening = self.listening.keys().copied();
        let close: Vec<_> = listening.filter(|it| !is_wanted(it)).collect();
        self.listening.retain(|endpoint, _| is_wanted(endpoint));
        for endpoint in wanted {
            self.listening.entry(endpoint).or_default();
        }
        for (endpoint, socket) in open.iter().flatten() {
            match socket.copy() {
                Ok(copy) => self.listening.entry(*endpoint).or_default().push(copy),
                Err(error) => {
                    let address = endpoint.address;
                    tracing::warn!(%address, %error, "a successor will not get it");
                }
            }
        }
        let snapshot = Arc::new(snapshot);
        let mut served = Vec::new();
        for (worker, open) in self.workers.iter().zip(open) {
            let (done, is_done) = oneshot::channel();
            let apply = Order::Apply {
                snapshot: Arc::clone(&snapshot),
                metrics: Arc::clone(&self.metrics),
                open,
                close: close.clone(),
                done,
            };
            order(worker, apply).await;
            served.push(is_done);
        }
        for is_done in served {
            if !matches!(timeout(APPLY_WITHIN, is_done).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }
}

/// Gives each worker its part of `inherited`, and one of its own to those that got none.
fn share_out(
    endpoint: Endpoint,
    inherited: Vec<OwnedFd>,
    workers: &mut [Sockets],
) -> io::Result<()> {
    let all = workers.len();
    for (index, socket) in inherited.into_iter().enumerate() {
        if let Some(worker) = workers.get_mut(index % all) {
            worker.push((endpoint, Listening::inherit(endpoint, socket)));
        }
    }
    for worker in workers {
        if !worker.iter().any(|(own, _)| *own == endpoint) {
            worker.push((endpoint, listen::open(endpoint)?));
        }
    }
    Ok(())
}

async fn order(worker: &mpsc::Sender<Order>, order: Order) {
    if timeout(APPLY_WITHIN, worker.send(order)).await.is_err() {
        tracing::error!("a worker takes no orders");
    }
}
