//! HTTP/1.1 towards members, for requests that hyper or the HTTP/2 codec took from clients.
//!
//! Why not hyper's: it drops trailers that were not announced, and each message costs a hop between
//! two tasks. Here whoever waits for the answer drives both ways of the exchange: the request's head
//! and body out ([`send`]), the answer's head and body in ([`receive`],
//! [`chunks`]).
//!
//! Invariants: a connection comes back only from an exchange whose request was wholly written and
//! whose answer ended where it said, with nothing behind it; what may have reached the member is told
//! apart from what has not ([`Lost`]).
//!
//! Left out on purpose: pipelining, and HTTP/1.0 members' keep-alive beyond what they announce.

mod chunks;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead as _, ReadBuf};

pub(super) use self::receive::{Broken, Receiving};
use self::{receive::Head, send::Sending};
use super::{Upload, wire::Wire};
use crate::worker::Worker;

/// A head of a member longer than this is none.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Read at once while a head is waited for.
const FIRST_BYTES: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nothing has reached the member.
    NotSent(Upload),
    /// The member closed without a byte.
    Unanswered,
    /// There was something of an answer and no more, or no HTTP; or the client broke its body off.
    Bad,
}

/// Sends `request` and waits for the head of its answer; hints on the way are given to `hint`.
pub(super) async fn exchange(
    mut wire: Wire,
    request: Request<Upload>,
    worker: &Rc<Worker>,
    mut hint: impl FnMut(StatusCode, HeaderMap),
) -> Result<Response<Receiving>, Lost> {
    let is_head = request.method() == Method::HEAD;
    let mut sending = Sending::new(request, worker.pipes.take_head());
    let mut received = BytesMut::new();
    let mut is_silent = true;
    let answer = poll_fn(|cx| {
        loop {
            match sending.poll(&mut wire, cx) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(send::Failed::Client)) => return Poll::Ready(Err(Refused::Bad)),
                Poll::Ready(Err(send::Failed::Member)) if !sending.has_begun() => {
                    return Poll::Ready(Err(Refused::NotSent));
                }
                // It may have answered before it closed.
                Poll::Ready(Err(send::Failed::Member)) => {}
            }
            let read = match poll_read(&mut wire, worker, FIRST_BYTES, &mut received, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(read) => read,
            };
            match read {
                Ok(0) | Err(_) if is_silent => return Poll::Ready(Err(Refused::Unanswered)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Refused::Bad)),
                Ok(_) => is_silent = false,
            }
            loop {
                match receive::head(&mut received, is_head) {
                    Head::Incomplete if received.len() > HEAD_BYTES_MAX => {
                        return Poll::Ready(Err(Refused::Bad));
                    }
                    Head::Incomplete => break,
                    Head::Interim(status, headers) => hint(status, headers),
                    Head::Answer(response, left, stays) => {
                        return Poll::Ready(Ok((response, left, stays)));
                    }
                    Head::Bad => return Poll::Ready(Err(Refused::Bad)),
                }
            }
        }
    })
    .await;
    if sending.is_done() {
        worker.pipes.put_head(sending.take_buffer());
    }
    match answer {
        Ok((response, left, stays)) => {
            let (parts, ()) = response.into_parts();
            let receiving = Receiving::new(wire, sending, received, left, stays, worker);
            Ok(Response::from_parts(parts, receiving))
        }
        Err(Refused::NotSent) => Err(Lost::NotSent(sending.into_body())),
        Err(Refused::Unanswered) => Err(Lost::Unanswered),
        Err(Refused::Bad) => Err(Lost::Bad),
    }
}

/// As [`Lost`], while the request is still in use.
enum Refused {
    NotSent,
    Unanswered,
    Bad,
}

/// Appends what has come to `to`, by way of a buffer that is lent for the moment.
fn poll_read(
    wire: &mut Wire,
    worker: &Worker,
    most: usize,
    to: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut lent = worker.pipes.buffer.borrow_mut();
    let most = most.min(lent.len());
    let mut into = ReadBuf::new(lent.get_mut(..most).unwrap_or_default());
    ready!(Pin::new(wire).poll_read(cx, &mut into))?;
    to.extend_from_slice(into.filled());
    Poll::Ready(Ok(into.filled().len()))
}
