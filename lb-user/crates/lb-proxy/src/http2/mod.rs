//! HTTP/2 from clients: the same policies and pools as HTTP/1, one task a stream.
//!
//! What is let through has one meaning for the members too ([`normal`]): one authority, origin form,
//! no CONNECT, one Cookie line. The frames of a connection are watched as bytes before the codec
//! sees them ([`frames`]); the codec bounds heads, streams and what waits.
//!
//! Against floods: heads and what they decompress to, CONTINUATION included, by size; streams at
//! once, and their windows, by number; streams reset before they were answered by a budget that
//! answered ones fill; frames that carry nothing by a rate. A connection that goes beyond is closed.
//!
//! Times are the listener's, as for HTTP/1: idle between requests, and no byte either way for as long
//! as client and member may take together.
//!
//! Left out on purpose: server push, priorities, extended CONNECT.

mod frames;
mod normal;
mod watched;

use std::{cell::Cell, convert::Infallible, future::Future, pin::pin, rc::Rc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::watched::Watched;
use crate::{connection::Client, gate::HEAD_BYTES_MAX, reply::Reply, request};

/// Streams of one client at once.
const STREAMS_MAX: u32 = 128;
/// Bytes of one request's body that may be under way.
const STREAM_WINDOW: u32 = 128 << 10;
/// Bytes of all bodies of a connection that may be under way.
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Bytes of one answer that wait for the client.
const SEND_BYTES_MAX: usize = 128 << 10;
/// Streams that were reset before we took them up.
const RESETS_PENDING_MAX: usize = 32;
/// Streams that may be reset before they are answered, beyond as many as were answered.
const RESETS_MAX: u32 = 100;
/// A client that is told to leave has this long to hear it.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// What streams of a connection tell its task.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    answered: Cell<u32>,
    reset: Cell<u32>,
    /// Take no new streams.
    leave: Notify,
    /// Close at once.
    cut: Notify,
}

impl Streams {
    /// Has the client come back on another connection, once what it asked is answered.
    pub(crate) fn leave(&self) {
        self.leave.notify_one();
    }
}

/// Counts a stream that ends before its answer has begun.
struct Unanswered<'a>(&'a Streams);

impl Unanswered<'_> {
    fn answered(self) {
        self.0.answered.set(self.0.answered.get().saturating_add(1));
        std::mem::forget(self);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let reset = self.0.reset.get().saturating_add(1);
        self.0.reset.set(reset);
        if reset > self.0.answered.get().saturating_add(RESETS_MAX) {
            self.0.cut.notify_one();
        }
    }
}

/// Tasks of the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        lb_telemetry::task::spawn_local("http2", async move {
            future.await;
        });
    }
}

/// Serves a connection whose client speaks HTTP/2.
pub(crate) async fn serve<S>(client: Rc<Client>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (listener, _) = client.listener();
    let idle = listener.config.client_timeout;
    let silence = idle.saturating_add(listener.config.member_timeout);
    let last = Rc::new(Cell::new(Instant::now()));
    let watched = Watched::new(stream, &listener.counters, &last);
    drop(listener);
    let answering = Rc::clone(&client);
    let service = service_fn(move |request| answer(Rc::clone(&answering), request));
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_PENDING_MAX)
        .serve_connection(TokioIo::new(watched), service);
    let mut connection = pin!(connection);
    let mut leaving: Option<Instant> = None;
    loop {
        let deadline = leaving.unwrap_or_else(|| {
            let since = client.gate.idle_since().unwrap_or_else(Instant::now);
            (since + idle).min(last.get() + silence)
        });
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(client = %client.ends.client, %error, "connection ended");
                }
                return;
            }
            () = client.streams.cut.notified() => {
                tracing::debug!(client = %client.ends.client, "too many streams are reset: closed");
                return;
            }
            () = leave(&client), if leaving.is_none() => {}
            () = sleep_until(deadline) => {
                let idle_for = client.gate.idle_since().map(|since| since.elapsed());
                let is_silent = last.get().elapsed() >= silence;
                if leaving.is_some_and(|_| idle_for.is_some()) || is_silent {
                    return;
                }
                if leaving.is_some() {
                    // What was asked is still being answered; the member's time bounds it.
                    leaving = Some(Instant::now() + LEAVE_WITHIN);
                    continue;
                }
                if idle_for.is_none_or(|idle_for| idle_for < idle) {
                    continue;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        leaving = Some(Instant::now() + LEAVE_WITHIN);
    }
}

async fn leave(client: &Client) {
    tokio::select! {
        () = client.worker.stop.cancelled() => {}
        () = client.streams.leave.notified() => {}
    }
}

async fn answer(
    client: Rc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let unanswered = Unanswered(&client.streams);
    let response = match normal::make(&mut request) {
        // Boxed: the task of a stream is moved several times before it runs.
        Ok(()) => Box::pin(request::handle(Rc::clone(&client), request)).await,
        Err(refusal) => request::refuse(&client, refusal),
    };
    unanswered.answered();
    Ok(response)
}

/// Whether what arrives in these pieces, at one moment, is refused as a flood.
pub(crate) fn is_flood(pieces: &[&[u8]], now: Instant) -> bool {
    let mut frames = frames::Frames::new(now);
    let mut pieces = pieces.iter();
    pieces.any(|piece| frames.read(piece, now).is_err())
}
