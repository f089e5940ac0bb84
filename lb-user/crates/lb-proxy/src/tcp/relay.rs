//! Bytes both ways between two sockets until both have ended.
//!
//! Small messages are copied through a buffer that all connections of a thread share: an idle
//! connection holds none. A way that fills the buffer twice in a row is bulk: from then on its bytes
//! go through a pipe by splice(2) and are never copied. An end of one way is passed on as a half
//! close. Either side may be silent for its timeout, counted from the last byte it sent or took.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use lb_sys::splice::Pipe;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{Instant, Sleep, sleep_until},
};

use crate::counters::{Counter, ListenerCounters, MemberCounters};

/// Copied at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Full buffers in a row that make a way bulk.
const BULK_AFTER: u8 = 2;

/// Empty pipes kept for the next bulk.
const PIPES_MAX: usize = 32;

/// Buffers kept for the next who need one.
const BUFFERS_MAX: usize = 8;

/// As much of a head as most are.
const HEAD_BYTES: usize = 2 << 10;

/// Buffers of heads kept for the next, and how large they may have grown.
const HEADS_MAX: usize = 64;
const KEPT_HEAD_BYTES: usize = 8 << 10;

/// Moves of one way before others get their turn.
const MOVES_MAX: usize = 32;

/// What the connections of a thread share.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) buffer: RefCell<Box<[u8]>>,
    /// Buffers of those who wait with one.
    buffers: RefCell<Vec<Box<[u8]>>>,
    out: RefCell<Vec<u8>>,
    heads: RefCell<Vec<Vec<u8>>>,
    spare: RefCell<Vec<Pipe>>,
}

impl Default for Pipes {
    fn default() -> Self {
        Self {
            buffer: RefCell::new(vec![0; BUFFER_BYTES].into()),
            buffers: RefCell::default(),
            out: RefCell::default(),
            heads: RefCell::default(),
            spare: RefCell::default(),
        }
    }
}

impl Pipes {
    /// A buffer to hold while bytes are on their way.
    pub(crate) fn take_buffer(&self) -> Box<[u8]> {
        let spare = self.buffers.borrow_mut().pop();
        spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into())
    }

    pub(crate) fn put_buffer(&self, buffer: Box<[u8]>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < BUFFERS_MAX {
            buffers.push(buffer);
        }
    }

    /// An empty buffer to write a message into.
    pub(crate) fn take_out(&self) -> Vec<u8> {
        let mut out = std::mem::take(&mut *self.out.borrow_mut());
        out.clear();
        out
    }

    pub(crate) fn put_out(&self, out: Vec<u8>) {
        if out.capacity() <= 2 * BUFFER_BYTES {
            *self.out.borrow_mut() = out;
        }
    }

    /// An empty buffer for a head.
    pub(crate) fn take_head(&self) -> Vec<u8> {
        let spare = self.heads.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(HEAD_BYTES))
    }

    pub(crate) fn put_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if (1..=KEPT_HEAD_BYTES).contains(&head.capacity()) && heads.len() < HEADS_MAX {
            head.clear();
            heads.push(head);
        }
    }

    pub(crate) fn take(&self) -> Option<Pipe> {
        let spare = self.spare.borrow_mut().pop();
        spare.or_else(|| Pipe::new().ok())
    }

    pub(crate) fn put(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held() == 0 && spare.len() < PIPES_MAX {
            spare.push(pipe);
        }
    }
}

/// How long either side may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) client: Duration,
    pub(crate) member: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides closed.
    Whole,
    /// Too long a silence.
    Idle,
    /// The client broke off.
    Client,
    /// The member broke off.
    Member,
}

/// Bytes that went each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// Whose socket failed.
enum Failed {
    Reading,
    Writing,
}

/// One way.
struct Way<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    /// Read, and not taken by the other side.
    held: Vec<u8>,
    pipe: Option<Pipe>,
    full_buffers: u8,
    at: At,
    count: [&'a Counter; 2],
    passed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Open,
    /// The sender has ended; what is held must still go.
    Ending,
    Ended,
}

/// Passes bytes until both ways have ended.
pub(super) async fn run(
    pipes: &Pipes,
    mut down: TcpStream,
    mut up: TcpStream,
    times: Times,
    listener: &ListenerCounters,
    member: &MemberCounters,
) -> (End, Passed) {
    let (down_read, down_write) = down.split();
    let (up_read, up_write) = up.split();
    let mut upward = Way::new(down_read, up_write, [&listener.bytes_in, &member.bytes_in]);
    let mut downward = Way::new(
        up_read,
        down_write,
        [&listener.bytes_out, &member.bytes_out],
    );
    let mut silence = Silence::new(times);
    let end = poll_fn(|cx| {
        let (sent, upward_end) = upward.poll(pipes, cx);
        let (answered, downward_end) = downward.poll(pipes, cx);
        match (upward_end, downward_end) {
            (Poll::Ready(Err(Failed::Reading)), _) | (_, Poll::Ready(Err(Failed::Writing))) => {
                Poll::Ready(End::Client)
            }
            (Poll::Ready(Err(Failed::Writing)), _) | (_, Poll::Ready(Err(Failed::Reading))) => {
                Poll::Ready(End::Member)
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Whole),
            _ => silence.poll(sent || answered, cx).map(|()| End::Idle),
        }
    })
    .await;
    let passed = Passed {
        up: upward.passed,
        down: downward.passed,
    };
    upward.give_back(pipes);
    downward.give_back(pipes);
    (end, passed)
}

impl<'a> Way<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, count: [&'a Counter; 2]) -> Self {
        Self {
            from,
            to,
            held: Vec::new(),
            pipe: None,
            full_buffers: 0,
            at: At::Open,
            count,
            passed: 0,
        }
    }

    /// Moves what can be moved. Whether anything was; ready when the way has ended.
    fn poll(&mut self, pipes: &Pipes, cx: &mut Context<'_>) -> (bool, Poll<Result<(), Failed>>) {
        let mut moved = false;
        for _ in 0..MOVES_MAX {
            match self.poll_move(pipes, cx) {
                Poll::Ready(Ok(())) if self.at == At::Ended => return (moved, Poll::Ready(Ok(()))),
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(failed)) => return (moved, Poll::Ready(Err(failed))),
                Poll::Pending => return (moved, Poll::Pending),
            }
        }
        cx.waker().wake_by_ref();
        (moved, Poll::Pending)
    }

    fn poll_move(&mut self, pipes: &Pipes, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.at == At::Ended {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_give(cx)).map_err(|_error| Failed::Writing)?;
        if self.at == At::Ending {
            ready!(Pin::new(&mut self.to).poll_shutdown(cx)).map_err(|_error| Failed::Writing)?;
            self.at = At::Ended;
            return Poll::Ready(Ok(()));
        }
        let taken = match &mut self.pipe {
            Some(_) => self.poll_fill(cx),
            None => return self.poll_copy(pipes, cx),
        };
        let taken = ready!(taken).map_err(|_error| Failed::Reading)?;
        self.note(taken);
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, taken: usize) {
        if taken == 0 {
            self.at = At::Ending;
        }
        self.passed += taken as u64;
        for counter in self.count {
            counter.add(taken as u64);
        }
    }

    /// Gives what is held to the other side; ready when nothing is.
    fn poll_give(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let given = ready!(Pin::new(&mut self.to).poll_write(cx, &self.held))?;
            self.held.drain(..given);
            if self.held.is_empty() {
                self.held = Vec::new();
            }
        }
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        let to: &TcpStream = self.to.as_ref();
        while pipe.held() > 0 {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || pipe.empty(to)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                given => drop(given?),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let from: &TcpStream = self.from.as_ref();
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => return Poll::Ready(taken),
            }
        }
    }

    /// One buffer from side to side.
    fn poll_copy(&mut self, pipes: &Pipes, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let mut shared = pipes.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut shared);
        ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer))
            .map_err(|_error| Failed::Reading)?;
        let bytes = buffer.filled();
        self.note(bytes.len());
        if bytes.len() < BUFFER_BYTES {
            self.full_buffers = 0;
        } else {
            self.full_buffers += 1;
            if self.full_buffers >= BULK_AFTER {
                self.pipe = pipes.take();
                self.full_buffers = 0;
            }
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let given = match Pin::new(&mut self.to).poll_write(cx, bytes) {
            Poll::Ready(given) => given.map_err(|_error| Failed::Writing)?,
            Poll::Pending => 0,
        };
        self.held
            .extend_from_slice(bytes.get(given..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }

    fn give_back(self, pipes: &Pipes) {
        if let Some(pipe) = self.pipe {
            pipes.put(pipe);
        }
    }
}

/// Watches for silence without a timer operation a byte.
struct Silence {
    limit: Duration,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(times: Times) -> Self {
        Self {
            // What one side sends the other takes: both were heard of last at the same time.
            limit: times.client.min(times.member),
            last: Instant::now(),
            timer: None,
        }
    }

    /// Ready when nothing has moved for too long.
    fn poll(&mut self, moved: bool, cx: &mut Context<'_>) -> Poll<()> {
        if moved {
            self.last = Instant::now();
            // A timer that is set wakes this same task: it is looked at when it has fired.
            if self
                .timer
                .as_ref()
                .is_some_and(|it| self.last < it.deadline())
            {
                return Poll::Pending;
            }
        }
        loop {
            let deadline = self.last + self.limit;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
