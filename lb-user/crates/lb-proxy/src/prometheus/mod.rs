//! PROMETHEUS listeners: `GET /metrics` in Octavia's families and labels (contract 9).
//!
//! Octavia's are HAProxy's, renamed. A family that has no meaning here (a cache, compression, memory
//! pools) is there all the same, with the value HAProxy shows where the feature is off, so that
//! dashboards find what they ask for. Listener series have `listener`, pool series
//! `pool="POOL:LISTENER"`, member series `member` as well.
//!
//! The answer is made from the counters as they stand, by the worker that is asked, over all workers.

mod families;
mod sums;
mod write;

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
    request::Parts,
};

use crate::{
    reply::{self, Reply},
    worker::Worker,
};

/// Answers a request to a PROMETHEUS listener.
pub(crate) fn answer(worker: &Worker, request: &Parts) -> Response<Reply> {
    let asked = request.uri.path() == "/metrics"
        && (request.method == Method::GET || request.method == Method::HEAD);
    let mut response = if asked {
        let view = worker.view();
        let text = families::render(&view, worker.connections.open());
        Response::new(Reply::text(text))
    } else {
        reply::status(StatusCode::FORBIDDEN)
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if asked {
        let text = HeaderValue::from_static("text/plain; version=0.0.4");
        headers.insert(CONTENT_TYPE, text);
    }
    response
}
