//! Reading, writing and waiting, without a buffer or a timer operation of one's own where none is
//! needed.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_rustls::server::TlsStream;

/// Read at once while a head is waited for: more of a large body would only be copied.
const FIRST_BYTES: usize = 16 << 10;

/// More than this is not queued in front of a goodbye.
const LAST_BYTES: usize = 16 << 10;

/// A client's stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket, where nothing stands between.
    fn socket(&self) -> Option<&TcpStream>;

    /// Takes the last bytes and notes that none follow, where the protocol has a word for that; both
    /// go out with the next flush. How many bytes it took.
    fn conclude(&mut self, last: &[u8]) -> io::Result<usize>;
}

impl Stream for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn conclude(&mut self, _last: &[u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Stream for Box<TlsStream<TcpStream>> {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }

    fn conclude(&mut self, last: &[u8]) -> io::Result<usize> {
        let (_, session) = self.get_mut();
        session.writer().write_all(last)?;
        session.send_close_notify();
        Ok(last.len())
    }
}

/// A timer that is set once and looked at again only when it fires.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `until` has passed.
    pub(super) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }

    /// As `polled`, but `TimedOut` once `until` has passed.
    pub(super) fn within<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self
                .poll(until, cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready @ Poll::Ready(_) => ready,
        }
    }
}

/// One attempt to read into a buffer that is lent for the moment.
pub(super) fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &RefCell<Box<[u8]>>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut lent = buffer.borrow_mut();
    let mut into = ReadBuf::new(lent.get_mut(..FIRST_BYTES).unwrap_or_default());
    ready!(Pin::new(stream).poll_read(cx, &mut into))?;
    Poll::Ready(Ok(into.filled().len()))
}

/// Reads into a buffer that is lent for the moment.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &RefCell<Box<[u8]>>,
    timer: &mut Timer,
    until: Instant,
) -> io::Result<usize> {
    poll_fn(|cx| timer.within(poll_read(stream, buffer, cx), until, cx)).await
}

/// Reads into a buffer of one's own.
pub(super) async fn read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
    timer: &mut Timer,
    until: Instant,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut into = ReadBuf::new(buffer);
        let polled = Pin::new(&mut *stream).poll_read(cx, &mut into);
        let read = into.filled().len();
        timer.within(polled, until, cx).map_ok(|()| read)
    })
    .await
}

/// Writes all of `bytes`; the other side may take nothing for `patience`.
pub(super) async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    mut bytes: &[u8],
    timer: &mut Timer,
    patience: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut until = None;
        let written = poll_fn(|cx| {
            let polled = Pin::new(&mut *stream).poll_write(cx, bytes);
            if polled.is_ready() {
                return polled;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + patience);
            timer.within(polled, until, cx)
        })
        .await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    let mut until = None;
    poll_fn(|cx| {
        let polled = Pin::new(&mut *stream).poll_flush(cx);
        if polled.is_ready() {
            return polled;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + patience);
        timer.within(polled, until, cx)
    })
    .await
}

/// As [`write`], with nothing to follow: a TLS client is told so, with the same call.
pub(super) async fn write_last<S: Stream>(
    stream: &mut S,
    mut bytes: &[u8],
    timer: &mut Timer,
    patience: Duration,
) -> io::Result<()> {
    if bytes.len() > LAST_BYTES {
        write(stream, bytes, timer, patience).await?;
        bytes = &[];
    }
    let taken = stream.conclude(bytes)?;
    let left = bytes.get(taken..).unwrap_or_default();
    write(stream, left, timer, patience).await
}
