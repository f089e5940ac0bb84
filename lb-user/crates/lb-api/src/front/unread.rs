//! What a request's body still holds when its answer is made.
//!
//! A refusal is often made before the body is looked at, and HTTP/1.1 closes a connection whose
//! request was not read to its end. A client that keeps connections would send its next request into
//! a closing one, and see a broken pipe where it should have seen the refusal.
//!
//! Invariant: at most so many bytes for so long are read to no purpose; beyond that, and for a client
//! that waits to be asked for its body, the answer says that the connection closes.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// Bytes that are read only to be forgotten. A body that is refused for its length is worth this much,
/// so that its client reads why.
const FORGOTTEN_BYTES_MAX: usize = 8 << 20;

/// How long they may take.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(5);

/// Layer: reads what the inner service left.
pub(crate) async fn read_to_the_end(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits_to_be_asked = expects_continue(request.headers());
    let (parts, body) = request.into_parts();
    let shared = Shared(Arc::new(Mutex::new(Held {
        body,
        is_touched: false,
    })));
    let request = Request::from_parts(parts, Body::new(shared.clone()));
    let mut response = next.run(request).await;
    let mut left = shared.take();
    let ends = if left.body.is_end_stream() {
        true
    } else if (waits_to_be_asked && !left.is_touched)
        || left.body.size_hint().lower() > FORGOTTEN_BYTES_MAX as u64
    {
        false
    } else {
        tokio::time::timeout(FORGOTTEN_WITHIN, forget(&mut left.body))
            .await
            .unwrap_or(false)
    };
    if !ends {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether the end was reached.
async fn forget(body: &mut Body) -> bool {
    let mut forgotten = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        forgotten = forgotten.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if forgotten > FORGOTTEN_BYTES_MAX {
            return false;
        }
    }
    true
}

#[derive(Debug)]
struct Held {
    body: Body,
    is_touched: bool,
}

/// The request's body, which its reader may drop without the rest being lost.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Held>>);

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self) -> Held {
        self.with(|held| Held {
            body: std::mem::take(&mut held.body),
            is_touched: held.is_touched,
        })
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|held| {
            held.is_touched = true;
            Pin::new(&mut held.body).poll_frame(context)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.with(|held| held.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|held| held.body.size_hint())
    }
}
