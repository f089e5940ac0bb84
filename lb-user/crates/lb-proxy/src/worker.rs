//! A worker: one thread with its own runtime, sockets, members' connections and counters.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    accept,
    config::Snapshot,
    counters::{Connections, Metrics},
    heartbeat::Pulse,
    l7::Scratch,
    listen::{Endpoint, Listening},
    log,
    persistence::Learned,
    tcp::Pipes,
    tls, udp,
    upstream::IdleConnections,
    view::View,
};

/// Orders that may wait for a worker.
const ORDERS_MAX: usize = 16;

/// How often idle connections to members are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// After a shutdown, what is being answered may finish within this.
pub(crate) const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// From the control thread to a worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve this. `done` is told when it is so.
    Apply {
        snapshot: Arc<Snapshot>,
        metrics: Arc<Metrics>,
        open: Vec<(Endpoint, Listening)>,
        close: Vec<Endpoint>,
        done: oneshot::Sender<()>,
    },
    /// Ties that others have made.
    Learn(Arc<[Learned]>),
    /// Stop (or resume) keep-alive towards clients.
    Drain(bool),
    /// Accept nothing more and stop keep-alive: another process listens on the same sockets.
    Depart,
    /// Finish and end.
    Shutdown,
}

/// What every task of a worker shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    view: RefCell<Rc<View>>,
    pub(crate) idle: IdleConnections,
    pub(crate) pipes: Pipes,
    pub(crate) log: log::Writer,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) pulse: Arc<Pulse>,
    /// Cancelled when connections shall end after what they are answering.
    pub(crate) stop: CancellationToken,
    draining: Cell<bool>,
    learned: mpsc::Sender<Learned>,
    clients: Cell<u64>,
}

impl Worker {
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// A number no other client connection of this worker has.
    pub(crate) fn number_client(&self) -> u64 {
        self.clients.set(self.clients.get() + 1);
        self.clients.get()
    }

    /// Lets others know of a tie. When they are behind it stays ours: the client's next request may
    /// meet another worker, and is balanced anew there.
    pub(crate) fn tell(&self, learned: Learned) {
        if self.learned.try_send(learned).is_err() {
            tracing::debug!("a tie is not shared");
        }
    }

    /// Whether clients are asked to come back on another connection.
    pub(crate) fn is_leaving(&self) -> bool {
        self.draining.get() || self.stop.is_cancelled()
    }
}

/// A running worker, seen from the control thread. It ends when told to, or when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) thread: thread::JoinHandle<()>,
}

/// Starts worker `index`; `ended` is told its index when its thread ends, however it does.
pub(crate) fn start(
    index: usize,
    connections: Arc<Connections>,
    pulse: Arc<Pulse>,
    learned: mpsc::Sender<Learned>,
    ended: mpsc::UnboundedSender<usize>,
) -> io::Result<WorkerHandle> {
    let (orders, inbox) = mpsc::channel(ORDERS_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let _ended = Ended { index, ended };
            tls::warm_up();
            let worker = Rc::new(Worker {
                index,
                view: RefCell::default(),
                idle: IdleConnections::default(),
                pipes: Pipes::default(),
                log: log::Writer::default(),
                scratch: RefCell::default(),
                connections,
                pulse,
                stop: CancellationToken::new(),
                draining: Cell::new(false),
                learned,
                clients: Cell::new(0),
            });
            LocalSet::new().block_on(&runtime, serve(worker, inbox));
        })?;
    Ok(WorkerHandle { orders, thread })
}

/// Tells the end of a thread also when it panics.
struct Ended {
    index: usize,
    ended: mpsc::UnboundedSender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if self.ended.send(self.index).is_err() {
            tracing::debug!(worker = self.index, "worker outlived the control thread");
        }
    }
}

/// Ends the accepting on an endpoint.
type Acceptors = HashMap<Endpoint, CancellationToken>;

async fn serve(worker: Rc<Worker>, mut inbox: mpsc::Receiver<Order>) {
    let mut acceptors = Acceptors::new();
    let mut flush = interval(log::FLUSH_PERIOD);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pulse = Arc::clone(&worker.pulse);
    let index = worker.index;
    let rounds =
        lb_telemetry::task::spawn_local("heartbeat", async move { pulse.run(index).await });
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                Some(order @ Order::Apply { .. }) => apply(&worker, &mut acceptors, order),
                Some(Order::Learn(ties)) => {
                    let view = worker.view();
                    let others = ties.iter().filter(|tie| tie.worker != Some(worker.index));
                    others.for_each(|tie| view.learn(tie));
                }
                Some(Order::Drain(draining)) => worker.draining.set(draining),
                Some(Order::Depart) => {
                    worker.draining.set(true);
                    acceptors.drain().for_each(|(_, acceptor)| acceptor.cancel());
                }
                Some(Order::Shutdown) | None => break,
            },
            _ = flush.tick(), if worker.log.is_on() => worker.log.flush(),
            _ = sweep.tick() => worker.idle.sweep(&worker.view().upstreams),
        }
    }
    for acceptor in acceptors.into_values() {
        acceptor.cancel();
    }
    worker.stop.cancel();
    let deadline = Instant::now() + FINISH_WITHIN;
    // The acceptors first empty their queues.
    tokio::task::yield_now().await;
    if timeout_at(deadline, worker.connections.all_closed())
        .await
        .is_err()
    {
        tracing::warn!("connections are cut at the end of the grace period");
    }
    worker.log.flush();
    rounds.abort();
}

fn apply(worker: &Rc<Worker>, acceptors: &mut Acceptors, order: Order) {
    let Order::Apply {
        snapshot,
        metrics,
        open,
        close,
        done,
    } = order
    else {
        return;
    };
    let view = Rc::new(View::new(&snapshot, &metrics, worker.index, &worker.view()));
    *worker.view.borrow_mut() = Rc::clone(&view);
    for endpoint in close {
        if let Some(acceptor) = acceptors.remove(&endpoint) {
            acceptor.cancel();
        }
    }
    for (endpoint, socket) in open {
        // There may be several sockets of an address, of an amphora that had more workers.
        let closing = acceptors.entry(endpoint).or_default().clone();
        let (worker, address) = (Rc::clone(worker), endpoint.address);
        match socket {
            Listening::Stream(socket) => {
                let accepting = accept::run(worker, address, socket, closing);
                lb_telemetry::task::spawn_local("accept", accepting);
            }
            Listening::Datagram(socket) => {
                let serving = udp::run(worker, address, socket, closing);
                lb_telemetry::task::spawn_local("datagrams", serving);
            }
        }
    }
    worker.log.set(view.snapshot.log.as_ref());
    worker.idle.sweep(&view.upstreams);
    view.wake_waiting();
    if done.send(()).is_err() {
        tracing::debug!("nobody waits for this configuration any more");
    }
}
