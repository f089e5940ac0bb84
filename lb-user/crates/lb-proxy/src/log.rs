//! The tenant flow log: a line a request (or a TCP connection), in Octavia's order of fields.
//!
//! ```text
//! project lb listener client port time "request" status bytes_read bytes_uploaded \
//!     verify "dn" pool:listener member total_ms termination
//! ```
//!
//! A worker writes lines into a buffer of its own; full, or after [`FLUSH_PERIOD`], it goes to the
//! thread that writes the log. When that thread is behind by [`BATCHES_MAX`] buffers, lines are
//! dropped and counted: a slow disk or syslog never holds up a request.

mod line;

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, StatusCode, Uri, Version};
use lb_model::{
    amphora::FlowLog,
    id::{ListenerId, MemberId, PoolId},
};
use lb_telemetry::sink::Sink;
use tokio::{sync::mpsc::Sender, time::Instant};

pub(crate) use self::line::{Asked, Line};
use crate::{connection::Client, upstream::Cookie};

/// A buffer that has grown to this goes out.
const BATCH_BYTES: usize = 32 << 10;
/// Buffers that may wait for the writing thread.
const BATCHES_MAX: usize = 64;
/// A file beyond this is put aside.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// A line waits at most this long in its worker.
pub(crate) const FLUSH_PERIOD: Duration = Duration::from_millis(250);

/// Lines that were lost because somebody was behind. Told by several threads.
#[derive(Debug, Default)]
pub(crate) struct Dropped(AtomicU64);

impl Dropped {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, batch: &[u8]) {
        let lines = batch.iter().filter(|&&byte| byte == b'\n').count();
        self.0.fetch_add(lines as u64, Ordering::Relaxed);
    }
}

/// Where a log goes.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// The amphora writes it.
    Own(&'a FlowLog),
    /// The control thread tells it to the agent.
    Agent(Sender<String>),
}

enum End {
    Sink(Sink),
    Agent(Sender<String>),
}

impl End {
    fn write(&mut self, batch: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Sink(sink) => sink.write(batch),
            Self::Agent(lines) => {
                let text = String::from_utf8_lossy(batch).into_owned();
                lines.blocking_send(text).map_err(std::io::Error::other)
            }
        }
    }
}

/// The log of a process.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// Whose it is, as the lines begin.
    pub(crate) owner: Arc<str>,
    batches: SyncSender<Vec<u8>>,
    dropped: Arc<Dropped>,
}

impl Log {
    /// Opens the log and starts its thread, which ends with the last clone.
    pub(crate) fn open(
        target: Target<'_>,
        owner: &str,
        dropped: Arc<Dropped>,
    ) -> std::io::Result<Self> {
        let mut end = match target {
            Target::Own(FlowLog::File(path)) => {
                End::Sink(Sink::file(Path::new(path), FILE_BYTES_MAX)?)
            }
            Target::Own(FlowLog::Syslog(path)) => End::Sink(Sink::syslog(Path::new(path))?),
            Target::Own(FlowLog::Journal) => End::Sink(Sink::journal()?),
            Target::Agent(lines) => End::Agent(lines),
        };
        let (batches, queue) = sync_channel::<Vec<u8>>(BATCHES_MAX);
        thread::Builder::new()
            .name("flow-log".to_owned())
            .spawn(move || {
                for batch in queue {
                    if let Err(error) = end.write(&batch) {
                        tracing::warn!(%error, "lines of the flow log are lost");
                    }
                }
            })?;
        Ok(Self {
            owner: owner.into(),
            batches,
            dropped,
        })
    }
}

impl Log {
    /// Lines lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// One worker's end of the log.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    log: RefCell<Option<Log>>,
    buffer: RefCell<Vec<u8>>,
}

impl Writer {
    /// Lines go there from now on.
    pub(crate) fn set(&self, log: Option<&Log>) {
        self.flush();
        *self.log.borrow_mut() = log.cloned();
    }

    pub(crate) fn is_on(&self) -> bool {
        self.log.borrow().is_some()
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        let log = self.log.borrow();
        let Some(log) = &*log else {
            return;
        };
        let mut buffer = self.buffer.borrow_mut();
        line.append(&log.owner, &mut buffer);
        if buffer.len() >= BATCH_BYTES {
            send(log, std::mem::take(&mut buffer));
        }
    }

    /// What has gathered goes out.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if let Some(log) = &*self.log.borrow()
            && !buffer.is_empty()
        {
            send(log, std::mem::take(&mut buffer));
        }
    }
}

fn send(log: &Log, batch: Vec<u8>) {
    if let Err(unsent) = log.batches.try_send(batch) {
        let (std::sync::mpsc::TrySendError::Full(batch)
        | std::sync::mpsc::TrySendError::Disconnected(batch)) = unsent;
        log.dropped.add(&batch);
    }
}

/// Noted while a request is on its way.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub(crate) pool: Cell<Option<PoolId>>,
    pub(crate) member: Cell<Option<MemberId>>,
    pub(crate) cookie: Cell<Cookie>,
    /// Of the body.
    pub(crate) uploaded: Cell<u64>,
    /// Who ended it, and when: HAProxy's first two letters.
    pub(crate) state: Cell<Option<[u8; 2]>>,
}

/// A request that will be a line when it has been answered.
#[derive(Debug)]
pub(crate) struct Entry {
    client: Rc<Client>,
    listener: ListenerId,
    note: Rc<Note>,
    begun: Instant,
    wall: SystemTime,
    method: Method,
    target: Uri,
    version: Version,
    head_bytes: u64,
    status: StatusCode,
    sent: u64,
}

impl Entry {
    pub(crate) fn begin<B>(
        client: &Rc<Client>,
        listener: ListenerId,
        note: &Rc<Note>,
        request: &http::Request<B>,
    ) -> Self {
        let line = request.method().as_str().len() + request.uri().to_string().len() + 12;
        Self {
            client: Rc::clone(client),
            listener,
            note: Rc::clone(note),
            begun: Instant::now(),
            wall: SystemTime::now(),
            method: request.method().clone(),
            target: request.uri().clone(),
            version: request.version(),
            head_bytes: line as u64 + head_bytes(request.headers()),
            status: StatusCode::OK,
            sent: 0,
        }
    }

    /// The answer's head goes out.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let reason = status.canonical_reason().unwrap_or_default().len();
        self.status = status;
        self.sent = (15 + reason) as u64 + head_bytes(headers);
    }

    /// A part of the answer's body goes out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// It ended for this reason, unless another was told before.
    pub(crate) fn ended(&self, state: [u8; 2]) {
        self.note.state.set(self.note.state.get().or(Some(state)));
    }

    pub(crate) fn write(&self) {
        let session = self.client.session.as_ref();
        self.client.worker.log.write(&Line {
            listener: self.listener,
            client: self.client.ends.client,
            time: self.wall,
            request: Some(Asked::Parsed(&self.method, &self.target, self.version)),
            status: self.status.as_u16(),
            read: self.sent,
            uploaded: self.head_bytes + self.note.uploaded.get(),
            session,
            pool: self.note.pool.get(),
            member: self.note.member.get(),
            total: self.begun.elapsed(),
            state: self.note.state.get().unwrap_or(*b"--"),
            cookie: self.note.cookie.get(),
        });
    }
}

/// Of headers and the empty line behind them.
fn head_bytes(headers: &HeaderMap) -> u64 {
    let lines = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    lines.sum::<usize>() as u64 + 2
}
