//! What the control thread holds, and what it does when the agent speaks.

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use lb_model::amphora::{AmphoraConfig, FlowLog, FromAmphora, ListenerFailure, ToAmphora};
use lb_probe::{monitor, schedule::Prober, sctp::SctpSockets};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use crate::{
    config::{self, Compiled, Snapshot, TlsCache},
    counters::{Connections, Metrics},
    listen,
    log::{Dropped, Log, Target},
    persistence::{self, Book, Learned},
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
    listening: HashSet<SocketAddr>,
    generation: u64,
}

/// One worker's part of the sockets to open.
type Sockets = Vec<(SocketAddr, TcpListener)>;

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
            listening: HashSet::new(),
            generation: 0,
        }
    }

    /// Gives the monitors the raw sockets that were inherited.
    pub(crate) fn probe_sctp(&mut self, sockets: Vec<OwnedFd>) {
        if sockets.is_empty() {
            return;
        }
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
            ToAmphora::Configure { config } => Some(self.configure(&config).await),
            ToAmphora::Drain { draining } => {
                tracing::info!(draining, "drain");
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
            ToAmphora::Shutdown => None,
        }
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

    pub(crate) async fn shut_down(&self) {
        for worker in &self.workers {
            order(worker, Order::Shutdown).await;
        }
    }

    /// What is observed now.
    pub(crate) fn status(&self) -> FromAmphora {
        FromAmphora::Status {
            generation: self.generation,
            connections: self.connections.open(),
            listeners: self.metrics.reports(),
            members: self.prober.reports(),
        }
    }

    async fn configure(&mut self, config: &AmphoraConfig) -> Option<FromAmphora> {
        let generation = config.load_balancer.generation;
        let sources = config::sources(config);
        let plans = config
            .load_balancer
            .pools
            .iter()
            .flat_map(|pool| monitor::plans(pool, &sources))
            .collect();
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

    /// Opens sockets for addresses that are new, one a worker; a listener that gets none fails.
    fn open_missing(
        &self,
        snapshot: &mut Snapshot,
        failures: &mut Vec<ListenerFailure>,
    ) -> Vec<Sockets> {
        let mut open: Vec<Sockets> = self.workers.iter().map(|_| Sockets::new()).collect();
        snapshot.listeners.retain(|listener| {
            let missing = listener
                .addresses
                .iter()
                .filter(|address| !self.listening.contains(*address));
            for &address in missing {
                for worker in &mut open {
                    match listen::open(address) {
                        Ok(socket) => worker.push((address, socket)),
                        Err(error) => {
                            failures.push(ListenerFailure {
                                listener_id: listener.id,
                                reason: format!("cannot listen on {address}: {error}"),
                                permanent: false,
                            });
                            // Without this listener its other sockets have no use.
                            for worker in &mut open {
                                worker.retain(|(opened, _)| !listener.addresses.contains(opened));
                            }
                            return false;
                        }
                    }
                }
            }
            true
        });
        open
    }

    /// Hands the snapshot to every worker and waits until all serve it.
    async fn apply(&mut self, snapshot: Snapshot, open: Vec<Sockets>) -> bool {
        let wanted: HashSet<SocketAddr> = snapshot
            .listeners
            .iter()
            .flat_map(|listener| listener.addresses.iter().copied())
            .collect();
        self.metrics = Arc::new(self.metrics.next(&snapshot, self.workers.len()));
        self.ties.keep(&snapshot.tables());
        let close: Vec<_> = self.listening.difference(&wanted).copied().collect();
        self.listening = wanted;
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

async fn order(worker: &mpsc::Sender<Order>, order: Order) {
    if timeout(APPLY_WITHIN, worker.send(order)).await.is_err() {
        tracing::error!("a worker takes no orders");
    }
}
