//! The task behind one amphora: it owns process and connection, obeys commands, tells what happens.
//!
//! Invariants: the end of the process is told once for each start; a lost connection is made again
//! and everything that must be known is said again; dropping [`Amphora`] leaves the process alone.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use lb_model::{
    amphora::{AmphoraConfig, FromAmphora, TieTable, ToAmphora},
    id::AmphoraId,
};
use lb_sys::pidfd::{Pidfd, Send};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    task::AbortHandle,
};

use crate::{bpf::Datapath, flow_log::FlowLogWriter, host::Host, spares::Spares};

use super::{
    control::Control,
    process::{self, Files},
};

/// Between attempts to connect to a process that runs: soon while it may be starting, for somebody
/// waits for it, and up to this when it does not answer.
const RECONNECT: Duration = Duration::from_millis(50);
/// The first wait; each is twice the one before.
const RECONNECT_FIRST: Duration = Duration::from_millis(1);
/// Events kept for a carrier that is busy; beyond that the amphora is not read.
const EVENTS_MAX: usize = 64;

/// What an amphora's task is told.
#[derive(Debug)]
pub enum Command {
    /// Start a process. Ignored while one runs.
    Start {
        /// Index in the maps.
        index: u16,
    },
    /// Serve this from now on; repeated to every new process and connection.
    Configure(Arc<AmphoraConfig>),
    /// A planned failover leaves it, or not any more.
    Drain(bool),
    /// Note ties of clients to members that the other amphora has made.
    Ties(Vec<TieTable>),
    /// Tell every tie there is.
    TellTies,
    /// End it at once.
    Kill,
}

/// What an amphora's task tells.
#[derive(Debug)]
pub enum Told {
    /// A process runs.
    Started {
        /// Its number.
        pid: u32,
        /// It was running before this agent.
        adopted: bool,
        /// The fresh heartbeat page it was given.
        heartbeat: Option<OwnedFd>,
    },
    /// There is no process to adopt. Told once, at the beginning, instead of `Started`.
    Absent,
    /// The process could not be started.
    Failed(String),
    /// Another process has taken its place, on the same descriptors.
    Replaced {
        /// Its number.
        pid: u32,
    },
    /// The process has ended.
    Exited,
    /// What the amphora itself says.
    Says(FromAmphora),
}

/// A handle on an amphora's task.
#[derive(Debug)]
pub struct Amphora {
    commands: mpsc::UnboundedSender<Command>,
    task: AbortHandle,
}

impl Drop for Amphora {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where events go.
pub type Events = mpsc::Sender<(AmphoraId, Told)>;

/// A channel for [`Events`].
#[must_use]
pub fn events() -> (Events, mpsc::Receiver<(AmphoraId, Told)>) {
    mpsc::channel(EVENTS_MAX)
}

impl Amphora {
    /// Starts the task; a process that an earlier agent started is adopted.
    pub(crate) fn new(host: &Host, id: AmphoraId, events: Events) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let task = Task {
            id,
            binary: host.config.binary.clone(),
            datapath: Arc::clone(&host.datapath),
            spares: Arc::clone(&host.spares),
            files: Files::new(&host.config, id),
            events,
            inbox,
            config: None,
            draining: false,
            flow_log: host.flow_log.clone(),
        };
        let handle = lb_telemetry::task::spawn("amphora", task.run());
        Self {
            commands,
            task: handle.abort_handle(),
        }
    }

    /// Tells the task something.
    pub fn tell(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("an amphora's task is gone");
        }
    }
}

struct Task {
    id: AmphoraId,
    binary: PathBuf,
    datapath: Arc<Datapath>,
    spares: Arc<Spares>,
    files: Files,
    events: Events,
    inbox: mpsc::UnboundedReceiver<Command>,
    config: Option<Arc<AmphoraConfig>>,
    draining: bool,
    flow_log: Option<FlowLogWriter>,
}

/// Nobody listens any more.
struct Gone;

impl Task {
    async fn run(mut self) {
        if let Some(process) = process::recorded(&self.files) {
            tracing::info!(amphora = %self.id, pid = process.pid(), "amphora adopted");
            if self.attend(process, true, None).await.is_err() {
                return;
            }
        } else if self.tell(Told::Absent).await.is_err() {
            return;
        }
        while let Some(command) = self.inbox.recv().await {
            let done = match command {
                Command::Start { index } => self.start(index).await,
                Command::Configure(config) => {
                    self.config = Some(config);
                    Ok(())
                }
                Command::Drain(_) | Command::Ties(_) | Command::TellTies | Command::Kill => Ok(()),
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn tell(&self, told: Told) -> Result<(), Gone> {
        self.events
            .send((self.id, told))
            .await
            .map_err(|_closed| Gone)
    }

    async fn start(&mut self, index: u16) -> Result<(), Gone> {
        let (binary, files, id) = (self.binary.clone(), self.files.clone(), self.id);
        let (datapath, spares) = (Arc::clone(&self.datapath), Arc::clone(&self.spares));
        self.draining = false;
        let started = tokio::task::spawn_blocking(move || -> crate::Result<_> {
            // Putting a page before the eyes of XDP waits some milliseconds for the kernel.
            if let Some((process, page)) = spares.of(id) {
                let heartbeat = datapath.show_heartbeat(index, page)?;
                // Only now one that an agent after us may adopt.
                process::record(&files, process.pid())?;
                return Ok((process, heartbeat));
            }
            let heartbeat = datapath.heartbeat_map(index)?;
            let process = process::start(&binary, &files, id, index, heartbeat.as_fd())?;
            Ok((process, heartbeat))
        })
        .await;
        match started {
            Ok(Ok((process, heartbeat))) => {
                tracing::info!(amphora = %self.id, pid = process.pid(), "amphora started");
                self.attend(process, false, Some(heartbeat)).await
            }
            Ok(Err(error)) => {
                tracing::error!(amphora = %self.id, %error, "amphora cannot be started");
                self.tell(Told::Failed(error.to_string())).await
            }
            Err(error) => self.tell(Told::Failed(error.to_string())).await,
        }
    }

    /// Attends to a process until it has ended.
    async fn attend(
        &mut self,
        process: Pidfd,
        adopted: bool,
        heartbeat: Option<OwnedFd>,
    ) -> Result<(), Gone> {
        let mut pid = process.pid();
        let mut process = match watch(process) {
            Ok(process) => process,
            Err(error) => return self.tell(Told::Failed(error.to_string())).await,
        };
        let started = Told::Started {
            pid,
            adopted,
            heartbeat,
        };
        self.tell(started).await?;
        let mut control = None;
        let mut wait = Duration::ZERO;
        let mut successor: Option<AsyncFd<Pidfd>> = None;
        // One that an earlier agent started may be of an earlier release.
        let mut may_be_outdated = adopted;
        loop {
            tokio::select! {
                biased;
                ended = process.readable() => {
                    drop(ended);
                    break;
                }
                () = ended(successor.as_ref()), if successor.is_some() => {
                    tracing::warn!(amphora = %self.id, pid, "its successor has ended: it goes on");
                    if let Some(successor) = successor.take() {
                        lb_telemetry::task::spawn("departing-amphora", reap(successor));
                    }
                    self.note(pid);
                }
                command = self.inbox.recv() => {
                    let Some(command) = command else { return Err(Gone) };
                    self.obey(command, process.get_ref(), &mut control);
                }
                connected = connect(&self.files, self.config.as_ref(), self.draining, wait),
                    if control.is_none() =>
                {
                    wait = (wait * 2).clamp(RECONNECT_FIRST, RECONNECT);
                    match connected {
                        Ok(connected) => control = Some(connected),
                        Err(error) => tracing::debug!(amphora = %self.id, %error, "no control connection"),
                    }
                }
                frame = receive(control.as_mut()), if control.is_some() => match frame {
                    Ok(Some(FromAmphora::Log { lines })) => self.log(&lines),
                    Ok(Some(FromAmphora::TakenOver)) => {
                        control = None;
                        if let Some(new) = successor.take() {
                            let old = std::mem::replace(&mut process, new);
                            pid = process.get_ref().pid();
                            tracing::info!(amphora = %self.id, pid, "amphora replaced");
                            lb_telemetry::task::spawn("departing-amphora", reap(old));
                            self.tell(Told::Replaced { pid }).await?;
                        }
                    }
                    Ok(Some(message)) => {
                        let serves = matches!(message, FromAmphora::Applied { .. });
                        self.tell(Told::Says(message)).await?;
                        if serves && std::mem::take(&mut may_be_outdated) {
                            successor = self.succeed(pid).await;
                        }
                    }
                    Ok(None) => control = None,
                    Err(error) => {
                        tracing::warn!(amphora = %self.id, %error, "control connection lost");
                        control = None;
                    }
                },
            }
        }
        if let Some(successor) = successor {
            // It asks a process that is not there any more, and ends by itself; not to be waited for.
            drop(successor.get_ref().send(Send::Kill));
            lb_telemetry::task::spawn("departing-amphora", reap(successor));
        }
        let reaped = process.get_ref().reap();
        tracing::info!(amphora = %self.id, pid, reaped, "amphora ended");
        self.tell(Told::Exited).await
    }

    /// Starts a process of our own binary in the place of `pid`, when that runs another.
    async fn succeed(&self, pid: u32) -> Option<AsyncFd<Pidfd>> {
        let (binary, files, id) = (self.binary.clone(), self.files.clone(), self.id);
        let started = tokio::task::spawn_blocking(move || {
            process::is_outdated(pid, &binary)
                .then(|| process::succeed(&binary, &files, id, pid))
                .transpose()
        })
        .await;
        let failed = match started {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(successor))) => match watch(successor) {
                Ok(successor) => {
                    let new = successor.get_ref().pid();
                    tracing::info!(amphora = %self.id, pid, new, "amphora of another binary: a new one takes over");
                    return Some(successor);
                }
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(amphora = %self.id, pid, error = failed, "amphora of another binary stays");
        self.note(pid);
        None
    }

    /// Notes on disk which process this amphora is.
    fn note(&self, pid: u32) {
        if let Err(error) = process::record(&self.files, pid) {
            tracing::warn!(amphora = %self.id, %error, "cannot note which process it is");
        }
    }

    /// Lines of the flow log, of the load balancer it serves.
    fn log(&self, lines: &str) {
        if let (Some(log), Some(config)) = (&self.flow_log, &self.config) {
            log.take(&config.load_balancer, lines);
        }
    }

    fn obey(&mut self, command: Command, process: &Pidfd, control: &mut Option<Control>) {
        let message = match command {
            Command::Start { .. } => return,
            Command::Kill => {
                if let Err(error) = process.send(Send::Kill) {
                    tracing::error!(amphora = %self.id, %error, "amphora cannot be ended");
                }
                return;
            }
            Command::Configure(config) => {
                let message = configure(&config);
                self.config = Some(config);
                message
            }
            Command::Drain(draining) => {
                self.draining = draining;
                ToAmphora::Drain { draining }
            }
            Command::Ties(tables) => ToAmphora::Ties { tables },
            Command::TellTies => ToAmphora::TellTies,
        };
        if let Some(connection) = control
            && let Err(error) = connection.send(&message)
        {
            tracing::warn!(amphora = %self.id, %error, "control connection lost");
            *control = None;
        }
    }
}

fn watch(process: Pidfd) -> io::Result<AsyncFd<Pidfd>> {
    #[expect(
        deprecated,
        reason = "the descriptor is owned and never closed before it is deregistered"
    )]
    AsyncFd::with_interest(process, Interest::READABLE)
}

async fn ended(process: Option<&AsyncFd<Pidfd>>) {
    match process {
        Some(process) => drop(process.readable().await),
        None => std::future::pending().await,
    }
}

/// Waits for the end of a process nobody needs any more.
async fn reap(process: AsyncFd<Pidfd>) {
    ended(Some(&process)).await;
    let reaped = process.get_ref().reap();
    tracing::debug!(pid = process.get_ref().pid(), reaped, "amphora departed");
}

/// Connects after `wait`, and says everything that must be known.
async fn connect(
    files: &Files,
    config: Option<&Arc<AmphoraConfig>>,
    draining: bool,
    wait: Duration,
) -> io::Result<Control> {
    tokio::time::sleep(wait).await;
    let control = Control::connect(&files.control()).await?;
    if let Some(config) = config {
        control.send(&configure(config))?;
    }
    if draining {
        control.send(&ToAmphora::Drain { draining: true })?;
    }
    Ok(control)
}

fn configure(config: &AmphoraConfig) -> ToAmphora {
    ToAmphora::Configure {
        config: Box::new(config.clone()),
    }
}

async fn receive(control: Option<&mut Control>) -> io::Result<Option<FromAmphora>> {
    match control {
        Some(control) => control.receive().await,
        None => std::future::pending().await,
    }
}
