//! Taking over from a running amphora, and being its successor.
//!
//! What: [`AmphoraArgs::succeed`] asks the process behind a control socket for everything it serves
//! by: configuration, ties, health, and the very descriptors, listening sockets first of all. They
//! stay open in one process or the other all the time, so no connection that waits in a queue is
//! lost. The old process serves until it is told that we do; then it finishes what it has, and tells
//! us what it counts, logs and learns, which we pass on as our own ([`Predecessor`]).

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::SocketAddr,
    num::NonZeroUsize,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    time::Duration,
};

use lb_model::{
    amphora::{AmphoraConfig, FRAME_BYTES_MAX, FromAmphora, Handed, TieTable, ToAmphora},
    id::{MemberId, PoolId},
    spec::{ListenerReport, MemberReport},
};
use lb_sys::rights;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::mpsc,
};

use crate::{AmphoraArgs, Error, control::frame, listen::Endpoint};

/// The old process answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Frames of the old process that may wait.
const FRAMES_MAX: usize = 16;

/// Descriptors that are taken at most.
const DESCRIPTORS_MAX: usize = 16_384;

/// What an amphora is born with when it takes another's place.
#[derive(Debug)]
pub struct Inheritance {
    stream: StdUnixStream,
    /// Read from the stream beyond the answer.
    rest: Vec<u8>,
    pub(crate) config: Option<Box<AmphoraConfig>>,
    pub(crate) draining: bool,
    pub(crate) ties: Vec<TieTable>,
    pub(crate) sockets: Vec<(Endpoint, OwnedFd)>,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) stays: Stays,
}

/// What is still with the old process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stays {
    pub(crate) connections: u64,
    pub(crate) listeners: Vec<ListenerReport>,
}

impl Stays {
    /// It has ended; what it counted stays counted.
    pub(crate) fn end(&mut self) {
        self.connections = 0;
        for listener in &mut self.listeners {
            listener.active_connections = 0;
        }
    }

    /// Adds what it counted to what we have.
    pub(crate) fn add_to(&self, reports: &mut [ListenerReport]) {
        let by_id: HashMap<_, _> = self.listeners.iter().map(|it| (it.id, it)).collect();
        for report in reports {
            if let Some(old) = by_id.get(&report.id) {
                report.bytes_in += old.bytes_in;
                report.bytes_out += old.bytes_out;
                report.active_connections += old.active_connections;
                report.total_connections += old.total_connections;
                report.request_errors += old.request_errors;
            }
        }
    }
}

impl AmphoraArgs {
    /// Takes over from the process at the other end of `stream`, which goes on until [`crate::run`]
    /// serves.
    ///
    /// # Errors
    /// When it does not hand over.
    pub fn succeed(stream: OwnedFd, workers: NonZeroUsize) -> Result<Self, Error> {
        ask(stream.into(), workers).map_err(|source| Error::TakeOver { source })
    }
}

fn ask(mut stream: StdUnixStream, workers: NonZeroUsize) -> io::Result<AmphoraArgs> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut question = serde_json::to_vec(&ToAmphora::TakeOver)?;
    question.push(b'\n');
    stream.write_all(&question)?;
    let mut received = Received::default();
    loop {
        let line = received.line(&stream)?;
        // The agent's part: a status may come first.
        let FromAmphora::HandedOver {
            config,
            draining,
            ties,
            descriptors: handed,
            connections,
            listeners,
            members,
        } = serde_json::from_slice(&line)?
        else {
            continue;
        };
        let Received {
            bytes: rest,
            descriptors,
        } = received;
        if handed.len() != descriptors.len() {
            return Err(io::Error::other("descriptors are missing"));
        }
        let (mut control, mut heartbeat) = (None, None);
        let (mut sctp, mut sockets) = (Vec::new(), Vec::new());
        for (handed, descriptor) in handed.into_iter().zip(descriptors) {
            match handed {
                Handed::Control => control = Some(descriptor),
                Handed::Heartbeat => heartbeat = Some(descriptor),
                Handed::Sctp => sctp.push(descriptor),
                Handed::Listener { address } => {
                    sockets.push((endpoint(address, false), descriptor));
                }
                Handed::Datagrams { address } => {
                    sockets.push((endpoint(address, true), descriptor));
                }
            }
        }
        let control = control.ok_or_else(|| io::Error::other("no control socket"))?;
        return Ok(AmphoraArgs {
            heartbeat,
            sctp,
            inherits: Some(Inheritance {
                stream,
                rest,
                config,
                draining,
                ties,
                sockets,
                members,
                stays: Stays {
                    connections,
                    listeners,
                },
            }),
            ..AmphoraArgs::new(control, workers)
        });
    }
}

const fn endpoint(address: SocketAddr, datagrams: bool) -> Endpoint {
    Endpoint { address, datagrams }
}

/// What was read and is not understood yet.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Received {
    fn line(&mut self, stream: &StdUnixStream) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        let mut looked = 0;
        loop {
            let fresh = self.bytes.get(looked..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|&byte| byte == b'\n') {
                let rest = self.bytes.split_off(looked + end + 1);
                return Ok(std::mem::replace(&mut self.bytes, rest));
            }
            looked = self.bytes.len();
            let read = rights::receive(stream, &mut buffer, &mut self.descriptors)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if looked + read > FRAME_BYTES_MAX || self.descriptors.len() > DESCRIPTORS_MAX {
                return Err(io::Error::other("the answer is too large"));
            }
            self.bytes.extend_from_slice(bytes);
        }
    }
}

impl Inheritance {
    /// What was last known of members' health.
    pub(crate) fn health(&self) -> HashMap<(PoolId, MemberId), bool> {
        let known = |report: &MemberReport| Some(((report.pool_id, report.member_id), report.up?));
        self.members.iter().filter_map(known).collect()
    }

    /// Listens to the old process from now on. Must be called within a runtime.
    pub(crate) fn attend(self) -> io::Result<Predecessor> {
        self.stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(self.stream)?.into_split();
        let mut reader = BufReader::new(io::Cursor::new(self.rest).chain(reader));
        let (told, frames) = mpsc::channel(FRAMES_MAX);
        lb_telemetry::task::spawn("predecessor", async move {
            loop {
                match frame::read(&mut reader).await {
                    Ok(Some(frame)) => {
                        if told.send(frame).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, "the old process is gone");
                        return;
                    }
                }
            }
        });
        Ok(Predecessor { frames, writer })
    }
}

/// The process whose place we have taken.
#[derive(Debug)]
pub(crate) struct Predecessor {
    frames: mpsc::Receiver<FromAmphora>,
    writer: OwnedWriteHalf,
}

impl Predecessor {
    /// Tells it that we serve.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        let mut line = serde_json::to_vec(&ToAmphora::Serves)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }

    /// What it says; `None`: it has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<FromAmphora> {
        self.frames.recv().await
    }
}
