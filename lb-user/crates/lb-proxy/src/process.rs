//! The process as a whole: start, control loop, end.

use std::{num::NonZeroUsize, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use lb_model::amphora::FromAmphora;
use lb_sys::heartbeat::HeartbeatWriter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    Error,
    control::{Agent, Inbox},
    counters::Connections,
    heartbeat::Pulse,
    persistence::{self, Learned},
    state::State,
    takeover::{Inheritance, Predecessor, Stays},
    worker::{self, FINISH_WITHIN, WorkerHandle},
};

/// The agent hears this often, whatever happens.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// At least this lies between two statuses.
const STATUS_PAUSE: Duration = Duration::from_millis(10);

/// Ties that may wait to be shared.
const TIES_MAX: usize = 4096;

/// Batches of the flow log's lines that may wait to be told.
const LINES_MAX: usize = 4;

/// Beyond what workers give themselves, so that theirs is the deadline that counts.
const JOIN_SLACK: Duration = Duration::from_secs(1);

/// Connections of an amphora that was taken over may go on for this long.
pub const DRAIN_WITHIN: Duration = Duration::from_mins(10);

/// An amphora that was taken over stays at least this long: what waits to be accepted is being
/// accepted.
const DEPART_SETTLE: Duration = Duration::from_millis(500);

/// What the supervisor hands to a new amphora.
#[derive(Debug)]
pub struct AmphoraArgs {
    /// A listening Unix stream socket; agents connect to it.
    pub control: OwnedFd,
    /// The amphora's page of the heartbeat map; without it nothing is stamped.
    pub heartbeat: Option<OwnedFd>,
    /// Raw sockets for SCTP monitors, one an IP version; without them such members are down.
    pub sctp: Vec<OwnedFd>,
    /// Worker threads; the default is one.
    pub workers: NonZeroUsize,
    /// Once a successor serves, connections may go on for this long ([`DRAIN_WITHIN`]).
    pub drain_within: Duration,
    /// From the amphora whose place this one takes ([`Self::succeed`]).
    pub inherits: Option<Inheritance>,
}

impl AmphoraArgs {
    /// On `control`, with nothing else.
    #[must_use]
    pub fn new(control: OwnedFd, workers: NonZeroUsize) -> Self {
        Self {
            control,
            heartbeat: None,
            sctp: Vec::new(),
            workers,
            drain_within: DRAIN_WITHIN,
            inherits: None,
        }
    }
}

/// Serves until told to shut down, or until SIGTERM.
///
/// # Errors
///
/// See [`Error`]; a connection's or a request's failure is none.
pub fn run(args: AmphoraArgs) -> Result<(), Error> {
    use_all_descriptors();
    let page = args
        .heartbeat
        .as_ref()
        .map(HeartbeatWriter::map)
        .transpose()
        .map_err(|source| Error::Heartbeat { source })?;
    let connections = Arc::new(Connections::default());
    let pulse = Arc::new(Pulse::new(
        page,
        args.workers.get(),
        Arc::clone(&connections),
    ));
    pulse.start().map_err(start("heartbeat"))?;
    let (ended, losses) = mpsc::unbounded_channel();
    let (learned, ties) = mpsc::channel(TIES_MAX);
    let workers = (0..args.workers.get())
        .map(|index| {
            worker::start(
                index,
                Arc::clone(&connections),
                Arc::clone(&pulse),
                learned.clone(),
                ended.clone(),
            )
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(start("worker"))?;
    let (orders, threads): (Vec<_>, Vec<_>) = workers
        .into_iter()
        .map(|WorkerHandle { orders, thread }| (orders, thread))
        .unzip();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(start("control runtime"))?;
    runtime.block_on(async {
        let inbox = Inbox::listen(args.control)?;
        let (lines, told) = mpsc::channel(LINES_MAX);
        let mut state = State::new(orders, connections, lines);
        state.probe_sctp(args.sctp);
        let mut control = Control {
            inbox,
            state,
            pulse,
            heartbeat: args.heartbeat,
            predecessor: None,
            departing: None,
            drain_within: args.drain_within,
        };
        if let Some(inheritance) = args.inherits {
            control.inherit(inheritance).await?;
        } else {
            control.pulse.begin(false);
        }
        control.run((ties, told), losses, threads).await
    })
}

/// Each client connection takes a descriptor or two; the soft limit is often 1024.
fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn start(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Start { what, source }
}

/// The control thread.
struct Control {
    inbox: Inbox,
    state: State,
    pulse: Arc<Pulse>,
    /// For a successor.
    heartbeat: Option<OwnedFd>,
    predecessor: Option<Predecessor>,
    /// Since when a successor serves.
    departing: Option<Instant>,
    drain_within: Duration,
}

impl Control {
    /// Takes the place of the amphora before.
    async fn inherit(&mut self, mut inheritance: Inheritance) -> Result<(), Error> {
        self.state.inherit(&mut inheritance).await;
        self.find_home();
        let failed = |source| Error::TakeOver { source };
        let mut predecessor = inheritance.attend().map_err(failed)?;
        // Both stamp for a moment, rather than nobody.
        self.pulse.begin(true);
        predecessor.relieve().await.map_err(failed)?;
        self.predecessor = Some(predecessor);
        tracing::info!("taken over");
        Ok(())
    }

    /// Serves agents until one says that it is over, or a successor serves and nothing is left.
    async fn run(
        mut self,
        (mut ties, mut lines): (mpsc::Receiver<Learned>, mpsc::Receiver<String>),
        mut losses: mpsc::UnboundedReceiver<usize>,
        threads: Vec<thread::JoinHandle<()>>,
    ) -> Result<(), Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(start("signal handler"))?;
        // Changes may come in thousands a second; statuses do not.
        let mut next_status = Instant::now();
        let mut earliest = next_status;
        let mut learned = Vec::new();
        let health_changed = self.state.health_changed();
        let connections = self.state.connections();
        let dropped = self.state.dropped();
        loop {
            tokio::select! {
                agent = self.inbox.next() => {
                    if !self.hear(agent).await {
                        break;
                    }
                    next_status = earliest;
                }
                frame = frame(self.predecessor.as_mut()) => self.predecessor_says(frame).await,
                received = ties.recv_many(&mut learned, TIES_MAX) => if received > 0 {
                    let learned = std::mem::take(&mut learned);
                    self.inbox.answer(self.state.learn(learned).await);
                },
                Some(lines) = lines.recv() => {
                    if let Err(lost) = self.inbox.offer_lines(lines) {
                        dropped.add(lost.as_bytes());
                    }
                }
                Some(index) = losses.recv() => return Err(Error::WorkerLost { index }),
                _ = terminate.recv() => break,
                () = health_changed.notified() => next_status = earliest,
                () = connections.none_left.notified() => next_status = earliest,
                () = sleep_until(next_status) => {
                    self.inbox.answer(self.state.status());
                    let now = Instant::now();
                    (earliest, next_status) = (now + STATUS_PAUSE, now + STATUS_PERIOD);
                    if self.has_departed() {
                        break;
                    }
                }
            }
        }
        tracing::info!("shutting down");
        self.state.shut_down().await;
        // What they tell at their end is still passed on.
        let lines = async {
            while let Some(lines) = lines.recv().await {
                if let Err(lost) = self.inbox.offer_lines(lines) {
                    dropped.add(lost.as_bytes());
                }
            }
        };
        tokio::select! {
            () = join(threads, losses) => {}
            () = lines => {}
        }
        Ok(())
    }

    /// Lets the heartbeat know whose amphora this is.
    fn find_home(&self) {
        if let Some(load_balancer) = self.state.load_balancer() {
            self.pulse.belongs_to(load_balancer);
        }
    }

    /// Does what is asked; `false`: to end.
    async fn hear(&mut self, agent: Agent) -> bool {
        match agent {
            Agent::Connected => {}
            Agent::Says(message) => {
                let Some(answer) = self.state.obey(*message).await else {
                    return false;
                };
                self.find_home();
                if let Some(answer) = answer {
                    self.inbox.answer(answer);
                }
            }
            Agent::TakesOver => {
                let heartbeat = self.heartbeat.as_ref();
                let listening = self.inbox.listening();
                match listening.and_then(|control| self.state.hand_over(control, heartbeat)) {
                    Ok((descriptors, answer)) => {
                        tracing::info!(descriptors = descriptors.len(), "handing over");
                        self.inbox.hand_over(descriptors, answer);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot hand over");
                        self.inbox.refuse();
                    }
                }
            }
            Agent::Serves => {
                self.pulse.cease();
                self.state.depart().await;
                self.departing = Some(Instant::now());
                tracing::info!(
                    connections = self.state.open_connections(),
                    "taken over: leaving"
                );
            }
        }
        true
    }

    /// What the amphora before us tells is told as our own.
    async fn predecessor_says(&mut self, frame: Option<FromAmphora>) {
        match frame {
            Some(FromAmphora::Status {
                connections,
                listeners,
                ..
            }) => self.state.predecessor_has(Some(Stays {
                connections,
                listeners,
            })),
            Some(FromAmphora::Log { lines }) => {
                if let Err(lost) = self.inbox.offer_lines(lines) {
                    self.state.dropped().add(lost.as_bytes());
                }
            }
            Some(FromAmphora::Ties { tables }) => {
                let learned = tables.iter().flat_map(persistence::learned).collect();
                self.inbox.answer(self.state.learn(learned).await);
            }
            Some(_) => {}
            None => {
                tracing::debug!("the amphora before has ended");
                self.predecessor = None;
                self.state.predecessor_has(None);
            }
        }
    }

    /// A successor serves, and nothing is left to do, or it has taken too long.
    fn has_departed(&self) -> bool {
        self.departing.is_some_and(|since| {
            let age = since.elapsed();
            age >= self.drain_within || age >= DEPART_SETTLE && self.state.open_connections() == 0
        })
    }
}

async fn frame(predecessor: Option<&mut Predecessor>) -> Option<FromAmphora> {
    match predecessor {
        Some(predecessor) => predecessor.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for the workers, but not for ever.
async fn join(threads: Vec<thread::JoinHandle<()>>, mut losses: mpsc::UnboundedReceiver<usize>) {
    let all_ended = async {
        for _ in &threads {
            losses.recv().await;
        }
    };
    if tokio::time::timeout(FINISH_WITHIN + JOIN_SLACK, all_ended)
        .await
        .is_err()
    {
        tracing::warn!("a worker does not end: leaving without it");
        return;
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}
