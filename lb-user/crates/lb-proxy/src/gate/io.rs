//! The gate as a stream: reads are inspected, writes pass.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    GateState, PLACEHOLDER_METHOD, Refusal,
    chunked::Chunked,
    head::{self, Framing},
    timer::Timer,
};
use crate::{counters::ListenerCounters, h1::Rest};

/// Read at once while a head is incomplete.
const READ_BYTES: usize = 8 << 10;

/// How long what a client still sends is read away after our last word.
const LINGER: Duration = Duration::from_secs(1);

/// Read away at once.
const WASTE_BYTES: usize = 4 << 10;

/// A client's stream behind the gate.
#[derive(Debug)]
pub(crate) struct Gated<S> {
    stream: S,
    at: At,
    /// Bytes that were read but not handed on; the first `cleared` of them may be.
    held: BytesMut,
    cleared: usize,
    /// How much of a held, incomplete head was looked at.
    scanned: usize,
    head_since: Option<Instant>,
    state: Arc<GateState>,
    counters: Arc<ListenerCounters>,
    timeout: Duration,
    read_timer: Timer,
    write_timer: Timer,
    /// Our side is closed.
    shut: bool,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Head,
    Body(u64),
    Chunked(Chunked),
    Through,
    /// Between messages a placeholder stands in, then the stream ends; within one it fails.
    Refused {
        between: bool,
    },
}

impl<S> Gated<S> {
    pub(crate) fn new(
        rest: Rest<S>,
        state: Arc<GateState>,
        counters: Arc<ListenerCounters>,
        timeout: Duration,
    ) -> Self {
        let mut gated = Self {
            stream: rest.stream,
            at: At::Head,
            held: BytesMut::from(&*rest.bytes),
            cleared: 0,
            scanned: 0,
            head_since: rest.since,
            state,
            counters,
            timeout,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            shut: false,
        };
        if !gated.held.is_empty() {
            gated.judge_held();
        }
        if let Some(since) = gated.head_since {
            gated.read_timer.set(since + timeout);
        }
        gated
    }

    /// How many of `bytes`, which begin where the gate stands, may pass.
    fn inspect(&mut self, bytes: &[u8]) -> Result<usize, (usize, Refusal)> {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            let step = match &mut self.at {
                At::Head => match Self::head(rest, self.scanned) {
                    Ok(Some((length, next))) => {
                        self.scanned = 0;
                        self.head_since = None;
                        self.at = next;
                        Ok(length)
                    }
                    Ok(None) => {
                        self.scanned = rest.len();
                        self.head_since.get_or_insert_with(Instant::now);
                        return Ok(passed);
                    }
                    Err(refusal) => Err((0, refusal)),
                },
                At::Body(left) => {
                    let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(*left);
                    *left -= here;
                    if *left == 0 {
                        self.at = At::Head;
                    }
                    Ok(usize::try_from(here).unwrap_or(usize::MAX))
                }
                At::Chunked(chunked) => chunked.advance(rest).map(|(length, done)| {
                    if done {
                        self.at = At::Head;
                    }
                    length
                }),
                At::Through => Ok(rest.len()),
                At::Refused { .. } => return Ok(passed),
            };
            passed += step.map_err(|(fine, refusal)| (passed + fine, refusal))?;
        }
        Ok(passed)
    }

    fn head(bytes: &[u8], scanned: usize) -> Result<Option<(usize, At)>, Refusal> {
        let Some(length) = head::end(bytes, scanned)? else {
            return Ok(None);
        };
        let next = match head::inspect(bytes.get(..length).unwrap_or_default())? {
            Framing::Length(0) => At::Head,
            Framing::Length(length) => At::Body(length),
            Framing::Chunked => At::Chunked(Chunked::default()),
        };
        Ok(Some((length, next)))
    }

    /// Lets what is cleared out, and after it nothing but the placeholder.
    fn refuse(&mut self, refusal: Refusal) {
        let between = matches!(self.at, At::Head);
        self.state.refuse(refusal, !between);
        self.held.truncate(self.cleared);
        if between {
            let placeholder = format!("{PLACEHOLDER_METHOD} / HTTP/1.1\r\nhost: refused\r\n\r\n");
            self.held.extend_from_slice(placeholder.as_bytes());
            self.cleared = self.held.len();
        }
        self.at = At::Refused { between };
    }

    /// Judges what was just read into `buffer` after its first `before` bytes.
    fn judge_read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let fresh_length = fresh.len();
        self.counters.received(fresh_length);
        match self.inspect(fresh) {
            Ok(passed) => {
                let rest = buffer.filled().get(before + passed..).unwrap_or_default();
                self.held.extend_from_slice(rest);
                buffer.set_filled(before + passed);
            }
            Err((passed, refusal)) => {
                buffer.set_filled(before + passed);
                self.refuse(refusal);
            }
        }
    }

    fn judge_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let judged = self.inspect(&held);
        self.held = held;
        match judged {
            Ok(passed) => self.cleared = passed,
            Err((passed, refusal)) => {
                self.cleared = passed;
                self.refuse(refusal);
            }
        }
    }

    /// A silent tunnel is cut, an idle connection ends.
    fn idle_end(&self) -> io::Result<()> {
        match self.at {
            At::Through => Err(io::ErrorKind::TimedOut.into()),
            At::Head | At::Body(_) | At::Chunked(_) | At::Refused { .. } => Ok(()),
        }
    }

    /// Nothing came: has it been so for too long?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Silence> {
        loop {
            ready!(self.read_timer.poll(self.timeout, cx));
            let since = match (&self.at, self.head_since) {
                (At::Head, Some(since)) => Some(since),
                (At::Head | At::Through, _) => self.state.idle_since(),
                _ => return Poll::Ready(Silence::MidMessage),
            };
            let deadline = since.unwrap_or_else(Instant::now) + self.timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(if self.head_since.is_some() {
                    Silence::MidMessage
                } else {
                    Silence::Idle
                });
            }
            self.read_timer.set(deadline);
        }
    }
}

enum Silence {
    /// Between messages: closed without a word.
    Idle,
    /// In a head or body: 408.
    MidMessage,
}

impl<S: AsyncRead + Unpin> Gated<S> {
    /// Reads more behind what is held. `false`: the client has ended.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let before = self.held.len();
        self.held.resize(before + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(self.held.get_mut(before..).unwrap_or_default());
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        self.held.truncate(before + read);
        self.counters.received(read);
        polled.map_ok(|()| read > 0)
    }

    /// One attempt to get bytes from the client. `true`: look again at what there is.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        if !self.held.is_empty() {
            let more = ready!(self.poll_hold(cx))?;
            if more {
                self.judge_held();
            }
            return Poll::Ready(Ok(more));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(false));
        }
        self.judge_read(buffer, before);
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.state.is_open() && !matches!(this.at, At::Through) {
            this.at = At::Through;
            this.cleared = this.held.len();
        }
        loop {
            if this.cleared > 0 {
                let length = this.cleared.min(buffer.remaining());
                buffer.put_slice(this.held.get(..length).unwrap_or_default());
                this.held.advance(length);
                this.cleared -= length;
                if this.held.is_empty() {
                    // An idle connection holds no buffer.
                    this.held = BytesMut::new();
                }
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                this.read_timer.clear();
                return Poll::Ready(Ok(()));
            }
            match this.at {
                At::Refused { between: true } => return Poll::Ready(Ok(())),
                At::Refused { between: false } => {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                At::Head | At::Body(_) | At::Chunked(_) | At::Through => {}
            }
            match this.poll_more(cx, buffer) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match ready!(this.poll_patience(cx)) {
                    Silence::Idle => return Poll::Ready(this.idle_end()),
                    Silence::MidMessage => this.refuse(Refusal::Timeout),
                },
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Gated<S> {
    fn settle_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = self.in_time(written, cx);
        if let Poll::Ready(Ok(length)) = &written {
            self.counters.sent(*length);
            if matches!(self.at, At::Through) {
                self.state.settle();
            }
        }
        written
    }

    /// A client that takes nothing for too long is given up.
    fn in_time<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_timer.clear();
            return polled;
        }
        ready!(self.write_timer.poll(self.timeout, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.settle_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.settle_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.in_time(shut, cx))?;
            this.shut = true;
        }
        this.poll_linger(cx).map(Ok)
    }
}

impl<S: AsyncRead + Unpin> Gated<S> {
    /// Closing with bytes of the client unread would reset the connection, and the answer might never
    /// be seen. So what still comes of a refused or unfinished request is read away for a moment.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.at, At::Head | At::Through) {
            return Poll::Ready(());
        }
        let mut waste = [MaybeUninit::uninit(); WASTE_BYTES];
        loop {
            if self.write_timer.poll(LINGER, cx).is_ready() {
                return Poll::Ready(());
            }
            let mut waste = ReadBuf::uninit(&mut waste);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut waste));
            if read.is_err() || waste.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}
