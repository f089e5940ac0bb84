//! The process as a whole: start, control loop, end.

use std::{num::NonZeroUsize, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

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
    persistence::Learned,
    state::State,
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
        .map(HeartbeatWriter::map)
        .transpose()
        .map_err(|source| Error::Heartbeat { source })?;
    let connections = Arc::new(Connections::default());
    let pulse = Arc::new(Pulse::new(
        page,
        args.workers.get(),
        Arc::clone(&connections),
    ));
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
    pulse.start().map_err(start("heartbeat"))?;
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
        control(inbox, state, (ties, told), losses, threads).await
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

/// Serves agents until one says that it is over.
async fn control(
    mut inbox: Inbox,
    mut state: State,
    (mut ties, mut lines): (mpsc::Receiver<Learned>, mpsc::Receiver<String>),
    mut losses: mpsc::UnboundedReceiver<usize>,
    threads: Vec<thread::JoinHandle<()>>,
) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(start("signal handler"))?;
    // Changes may come in thousands a second; statuses do not.
    let mut next_status = Instant::now();
    let mut earliest = next_status;
    let mut learned = Vec::new();
    let health_changed = state.health_changed();
    let connections = state.connections();
    let dropped = state.dropped();
    loop {
        tokio::select! {
            agent = inbox.next() => match agent {
                Agent::Connected => next_status = earliest,
                Agent::Says(message) => {
                    let Some(answer) = state.obey(*message).await else {
                        break;
                    };
                    if let Some(answer) = answer {
                        inbox.answer(answer);
                    }
                    next_status = earliest;
                }
            },
            received = ties.recv_many(&mut learned, TIES_MAX) => if received > 0 {
                inbox.answer(state.learn(std::mem::take(&mut learned)).await);
            },
            Some(lines) = lines.recv() => {
                if let Err(lost) = inbox.offer_lines(lines) {
                    dropped.add(lost.as_bytes());
                }
            }
            Some(index) = losses.recv() => return Err(Error::WorkerLost { index }),
            _ = terminate.recv() => break,
            () = health_changed.notified() => next_status = earliest,
            () = connections.none_left.notified() => next_status = earliest,
            () = sleep_until(next_status) => {
                inbox.answer(state.status());
                let now = Instant::now();
                (earliest, next_status) = (now + STATUS_PAUSE, now + STATUS_PERIOD);
            }
        }
    }
    tracing::info!("shutting down");
    state.shut_down().await;
    join(threads, losses).await;
    Ok(())
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
