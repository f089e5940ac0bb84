//! HTTP/1.1 of our own for what most requests are: GET or HEAD without a body, to a plain HTTP
//! member, on a connection that stays.
//!
//! Why: hyper builds a map of every head twice and hands messages between tasks; here a head is
//! rewritten from slices into a buffer, and goes out with the body's beginning in one call. The gate's
//! own reader decides what a head is, as in front of hyper.
//!
//! Whatever is not of that shape (another method, a body, an upgrade, cookies that keep clients, a
//! refusal, a redirect, anything malformed) is handed to hyper with the bytes read so far, and the
//! connection stays with hyper: there is one way to serve what is rare. Both ways share policies,
//! balancing, ties, counters, log and idle connections to members.
//!
//! Invariants: an idle connection holds no buffer; a request is repeated only
//! if its connection had been idle and closed without a byte.

mod answer;
mod body;
mod exchange;
mod head;
mod io;

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use lb_model::enums::{ListenerProtocol, PoolProtocol};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

pub(crate) use self::io::Stream;
use self::{head::Asked, io::Timer};
use crate::{
    config::{Action, ListenerConfig, Persistence},
    connection::Client,
    gate::head as gate,
    headers::Ends,
    l7::{Headers, RequestFields},
    view::{ListenerView, PoolView},
};

/// Policies that look at more fields than this get a map of the headers.
const FEW_FIELDS: usize = 8;

/// Writes what a member gets of `head` into `to`. Whether this path serves it at all.
pub(crate) fn rewrite(head: &[u8], config: &ListenerConfig, ends: Ends, to: &mut Vec<u8>) -> bool {
    head::rewrite(head, config, ends, to).is_some()
}

/// What hyper goes on with.
#[derive(Debug)]
pub(crate) struct Rest<S> {
    pub(crate) stream: S,
    /// Read, and not served.
    pub(crate) bytes: Vec<u8>,
    /// When the first of them came.
    pub(crate) since: Option<Instant>,
}

#[cfg(test)]
impl<S> Rest<S> {
    pub(crate) fn fresh(stream: S) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            since: None,
        }
    }
}

/// A client's connection.
struct Connection<S> {
    client: Rc<Client>,
    stream: S,
    /// Read, and not served.
    held: Vec<u8>,
    since: Option<Instant>,
    timer: Timer,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    stop_is_watched: bool,
    /// The request as the member gets it.
    request: Vec<u8>,
}

enum Head {
    /// So many bytes of what is held.
    Whole(usize),
    Foreign,
    Closed,
}

/// Serves what it can; `None`: the connection has ended.
pub(crate) async fn serve<S: Stream>(client: &Rc<Client>, stream: S) -> Option<Rest<S>> {
    let mut connection = Connection {
        client: Rc::clone(client),
        stream,
        held: Vec::new(),
        since: None,
        timer: Timer::default(),
        stop: Box::pin(client.worker.stop.clone().cancelled_owned()),
        stop_is_watched: false,
        request: Vec::new(),
    };
    loop {
        let (listener, _) = client.listener();
        let length = match connection.head(&listener).await {
            Head::Whole(length) => length,
            Head::Foreign => return Some(connection.rest()),
            Head::Closed => return None,
        };
        // It may have changed while we waited.
        let (listener, is_listed) = client.listener();
        let Some((pool, asked)) = connection.plan(&listener, length) else {
            return Some(connection.rest());
        };
        connection.held.drain(..length);
        connection.since = (!connection.held.is_empty()).then(Instant::now);
        let closes = asked.closes || !is_listed || client.worker.is_leaving();
        // Boxed: idle connections are many, and those that wait for a member are few.
        let exchange = Box::pin(connection.exchange(&listener, pool, asked, closes));
        if !exchange.await {
            return None;
        }
        connection.tidy();
    }
}

impl<S: Stream> Connection<S> {
    fn rest(self) -> Rest<S> {
        self.client.gate.settle();
        Rest {
            stream: self.stream,
            bytes: self.held,
            since: self.since,
        }
    }

    /// Gives buffers back: who waits for the next request holds none.
    fn tidy(&mut self) {
        let pipes = &self.client.worker.pipes;
        pipes.put_head(std::mem::take(&mut self.request));
        if self.held.is_empty() {
            pipes.put_head(std::mem::take(&mut self.held));
        }
    }

    /// Reads until a whole head is held.
    async fn head(&mut self, listener: &ListenerView) -> Head {
        let patience = listener.config.client_timeout;
        let idle_since = Instant::now();
        let mut scanned = 0;
        loop {
            if !self.held.is_empty() {
                match gate::end(&self.held, scanned) {
                    Ok(Some(length)) => return Head::Whole(length),
                    Ok(None) => scanned = self.held.len(),
                    Err(_refusal) => return Head::Foreign,
                }
            }
            let until = self.since.unwrap_or(idle_since) + patience;
            match self.read(until).await {
                Ok(Some(0)) | Err(_) if self.held.is_empty() => return Head::Closed,
                Ok(Some(0)) | Err(_) => return Head::Foreign,
                Ok(None) => return Head::Closed,
                Ok(Some(read)) => {
                    listener.counters.received(read);
                    let pipes = &self.client.worker.pipes;
                    if self.held.capacity() == 0 {
                        self.held = pipes.take_head();
                    }
                    let buffer = pipes.buffer.borrow();
                    self.held
                        .extend_from_slice(buffer.get(..read).unwrap_or_default());
                    self.since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// `None`: the process ends, and nothing is under way here.
    async fn read(&mut self, until: Instant) -> std::io::Result<Option<usize>> {
        let Self {
            client,
            stream,
            held,
            timer,
            stop,
            stop_is_watched,
            ..
        } = self;
        poll_fn(|cx| {
            match io::poll_read(stream, &client.worker.pipes.buffer, cx) {
                Poll::Ready(read) => return Poll::Ready(read.map(Some)),
                Poll::Pending if !held.is_empty() => {}
                Poll::Pending => {
                    let watched = std::mem::replace(stop_is_watched, true);
                    let stops = client.worker.stop.is_cancelled()
                        || !watched && stop.as_mut().poll(cx).is_ready();
                    if stops {
                        return Poll::Ready(Ok(None));
                    }
                }
            }
            timer.within(Poll::Pending, until, cx)
        })
        .await
    }

    /// Where the request that is held goes; `None`: hyper serves it.
    fn plan<'a>(
        &mut self,
        listener: &'a ListenerView,
        length: usize,
    ) -> Option<(&'a PoolView, Asked)> {
        let config = &listener.config;
        let http = matches!(
            config.protocol,
            ListenerProtocol::Http | ListenerProtocol::TerminatedHttps
        );
        if !http || config.hsts.is_some() {
            return None;
        }
        let bytes = self.held.get(..length)?;
        if self.request.capacity() == 0 {
            self.request = self.client.worker.pipes.take_head();
        }
        let asked = head::rewrite(bytes, config, self.client.ends, &mut self.request)?;
        let id = if config.engine.is_empty() {
            config.default_pool?
        } else {
            let (lines, map);
            let headers: &dyn Headers = if config.engine.fields() <= FEW_FIELDS {
                lines = head::Lines(bytes);
                &lines
            } else {
                map = head::map(bytes)?;
                &map
            };
            let fields = RequestFields {
                path: head::path(bytes)?,
                headers,
                session: self.client.session.as_ref(),
            };
            let scratch = &mut self.client.worker.scratch.borrow_mut();
            match config.engine.decide(fields, scratch) {
                None => config.default_pool?,
                Some(index) => match config.actions.get(index)? {
                    Action::Pool(id) => *id,
                    Action::Reject
                    | Action::RedirectToUrl { .. }
                    | Action::RedirectPrefix { .. } => return None,
                },
            }
        };
        let pool = listener.pool(id)?;
        let plain = pool.config.protocol == PoolProtocol::Http && pool.config.tls.is_none();
        let kept = match pool.config.persistence {
            Persistence::None | Persistence::SourceIp(_) => true,
            Persistence::HttpCookie | Persistence::AppCookie { .. } => false,
        };
        (plain && kept).then_some((pool, asked))
    }
}
