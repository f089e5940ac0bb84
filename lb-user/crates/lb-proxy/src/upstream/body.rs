//! Bodies on their way: what is sent to a member, and what it answers.

use std::{
    cell::Cell,
    future::Future as _,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Key,
    connect::Connected,
    http1::{Broken, Receiving},
    metered::Meter,
    wire::Wire,
};
use crate::{balance::Busy, log::Note, worker::Worker};

/// How far a request's body is.
#[derive(Debug)]
pub(crate) struct Progress {
    /// All of it was handed to the connection.
    pub(super) finished: Cell<bool>,
    /// The client is the one we wait for.
    pub(super) awaits_client: Cell<bool>,
    /// When something of it last went on.
    pub(super) last: Cell<Instant>,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            finished: Cell::new(false),
            awaits_client: Cell::new(false),
            last: Cell::new(now),
        })
    }
}

/// A client's body, going to a member.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Taken before, and not sent.
    first: Option<Bytes>,
    body: Option<Incoming>,
    progress: Rc<Progress>,
    note: Rc<Note>,
}

impl Upload {
    pub(super) fn new(body: Option<Incoming>, progress: Rc<Progress>, note: Rc<Note>) -> Self {
        progress
            .finished
            .set(body.as_ref().is_none_or(Incoming::is_end_stream));
        Self {
            first: None,
            body,
            progress,
            note,
        }
    }

    /// What was taken comes first again.
    pub(super) fn put_back(mut self, first: Option<Bytes>) -> Self {
        self.first = first;
        self
    }

    /// Of a request that was not sent: its next attempt.
    pub(super) fn again(self, progress: Rc<Progress>) -> Self {
        progress.finished.set(self.is_end_stream());
        Self { progress, ..self }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(first) = self.first.take() {
            self.progress.finished.set(self.is_end_stream());
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let polled = match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        };
        let progress = &self.progress;
        progress.awaits_client.set(polled.is_pending());
        if let Poll::Ready(frame) = &polled {
            if let Some(Ok(frame)) = frame {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.note
                    .uploaded
                    .set(self.note.uploaded.get() + bytes as u64);
            }
            progress.last.set(Instant::now());
            let ended = frame.is_none() || self.is_end_stream();
            if ended {
                progress.finished.set(true);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self
            .body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint);
        if let Some(first) = &self.first {
            let first = first.len() as u64;
            let (lower, upper) = (hint.lower() + first, hint.upper());
            hint.set_lower(lower);
            if let Some(upper) = upper {
                hint.set_upper(upper + first);
            }
        }
        hint
    }
}

/// What comes from a member.
#[derive(Debug)]
pub(super) enum Source {
    Http1(Receiving),
    Http2(Incoming, Option<Connected>),
    Nothing,
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(receiving) => receiving.is_end_stream(),
            Self::Http2(body, _) => body.is_end_stream(),
            Self::Nothing => true,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        match self {
            Self::Http1(receiving) => receiving
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(DownloadError::Http1))),
            Self::Http2(body, _) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(DownloadError::Http2))),
            Self::Nothing => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(receiving) => receiving.size_hint(),
            Self::Http2(body, _) => body.size_hint(),
            Self::Nothing => SizeHint::with_exact(0),
        }
    }

    /// The connection after a switch of protocols, with what has come of the new one; and no body.
    pub(super) fn into_tunnel(self) -> (Option<(Wire, Bytes)>, Self) {
        match self {
            Self::Http1(receiving) => (receiving.into_tunnel(), Self::Nothing),
            other => (None, other),
        }
    }

    /// The connection, when another exchange may follow.
    fn take_connection(&mut self, finished: bool) -> Option<Connected> {
        match self {
            Self::Http1(receiving) => receiving.take_connection().map(Connected::Http1),
            Self::Http2(_, connection) => connection.take().filter(|_| finished),
            Self::Nothing => None,
        }
    }
}

/// A connection in use: it goes back to the idle ones when its exchange has ended well.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) meter: Arc<Meter>,
    pub(super) key: Key,
    pub(super) worker: Rc<Worker>,
    pub(super) progress: Rc<Progress>,
    /// The member has this exchange; what passed is put to its account.
    pub(super) busy: Busy,
    /// Where the connection's meter stood before: bytes sent and received.
    pub(super) before: (u64, u64),
    pub(super) since: Instant,
}

impl Lease {
    fn give_back(self, source: &mut Source) {
        self.busy.0.counters.total_time.note(self.since.elapsed());
        self.settle();
        if let Some(connection) = source.take_connection(self.progress.finished.get()) {
            self.worker.idle.put(self.key, connection);
        }
    }

    /// Puts what passed to the member's account.
    fn settle(&self) {
        let (sent, received) = self.before;
        let counters = &self.busy.0.counters;
        counters.bytes_in.add(self.meter.sent.get() - sent);
        counters.bytes_out.add(self.meter.received.get() - received);
    }

    /// The exchange ends without a whole answer: the connection is not used again.
    pub(super) fn abandon(&self) {
        self.settle();
    }
}

/// Why a member's body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("the member's answer broke off: {0}")]
    Http1(Broken),
    #[error("the member's answer broke off: {0}")]
    Http2(hyper::Error),
    #[error("the member fell silent within its answer")]
    Silent,
}

/// A member's body, going to the client.
#[derive(Debug)]
pub(crate) struct Download {
    body: Source,
    lease: Option<Lease>,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Download {
    /// `lease` is `None` when the connection is not an HTTP one any more.
    pub(super) fn new(body: Source, lease: Option<Lease>, patience: Duration) -> Self {
        let mut download = Self {
            body,
            lease,
            patience,
            timer: None,
        };
        download.give_back_at_end();
        download
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back(&mut self.body);
        }
    }

    /// The member's fault.
    fn break_off(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.busy.0.counters.server_aborts.increment();
            lease.abandon();
        }
    }

    /// The member owes bytes: for how long already?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        self.timer
            .get_or_insert_with(|| Box::pin(sleep(patience)))
            .as_mut()
            .poll(cx)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Nobody takes the rest: it is the client who went.
        if let Some(lease) = self.lease.take() {
            lease.busy.0.counters.client_aborts.increment();
            lease.abandon();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let this = &mut *self;
        match this.body.poll_frame(cx) {
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back(&mut this.body);
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                this.give_back_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.break_off();
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => match this.poll_silence(cx) {
                Poll::Ready(()) => {
                    this.break_off();
                    Poll::Ready(Some(Err(DownloadError::Silent)))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
