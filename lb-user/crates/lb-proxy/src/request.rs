//! One request: refused, judged by the policies, answered or forwarded (contract 10.1).

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use lb_model::enums::ListenerProtocol;

use crate::{
    config::Action,
    connection::Client,
    gate::{GateState, PLACEHOLDER_METHOD, Refusal},
    headers,
    l7::RequestFields,
    log::{Entry, Note},
    prometheus,
    reply::{self, Reply},
    upstream::{Exchange, forward},
    view::ListenerView,
};

/// Answers `request`. Never fails: every failure is an answer.
pub(crate) async fn handle(client: Rc<Client>, request: Request<Incoming>) -> Response<Reply> {
    let answering = Answering::begin(&client.gate);
    let (listener, is_listed) = client.listener();
    let note = Rc::<Note>::default();
    let logging = client.worker.log.is_on();
    let entry = logging.then(|| Entry::begin(&client, listener.config.id, &note, &request));
    let counters = &listener.counters;
    counters.requests.increment();
    let mut response = decide(&client, &listener, &note, request).await;
    counters.answers.count(response.status());
    let fault = response.extensions_mut().remove::<Fault>();
    if fault.is_some() {
        counters.request_failed();
    }
    if let Some(mut entry) = entry {
        entry.answered(response.status(), response.headers());
        response.body_mut().logs(entry);
    }
    let leaves = client.worker.is_leaving() || !is_listed;
    if client.session.as_ref().is_some_and(|session| session.h2) {
        if leaves {
            client.streams.leave();
        }
    } else if leaves || fault == Some(Fault::Client) {
        close_after(&mut response);
    }
    response.body_mut().settles(Arc::clone(&client.gate));
    answering.goes_on();
    response
}

/// A request is being answered: until its answer takes over, or nobody waits for it any more.
struct Answering<'a>(&'a GateState);

impl<'a> Answering<'a> {
    fn begin(gate: &'a GateState) -> Self {
        gate.begin();
        Self(gate)
    }

    fn goes_on(self) {
        std::mem::forget(self);
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Answers a request of HTTP/2 that has no single meaning.
pub(crate) fn refuse(client: &Client, refusal: Refusal) -> Response<Reply> {
    let (listener, _) = client.listener();
    listener.counters.request_failed();
    reply::status(refusal.status())
}

/// Marks an answer that says what went wrong, by whose fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing this client sends can be trusted to be where it seems.
    Client,
    /// Ours or a member's.
    Service,
}

async fn decide(
    client: &Rc<Client>,
    listener: &ListenerView,
    note: &Rc<Note>,
    request: Request<Incoming>,
) -> Response<Reply> {
    if request.method().as_str() == PLACEHOLDER_METHOD {
        let status = client
            .gate
            .refusal()
            .map_or(StatusCode::BAD_REQUEST, Refusal::status);
        note.state.set(Some(refused_state(status)));
        return failed(client, status, Fault::Client);
    }
    let counters = &listener.counters;
    let (mut parts, body) = request.into_parts();
    if listener.config.protocol == ListenerProtocol::Prometheus {
        counters.intercepted.increment();
        return prometheus::answer(&client.worker, &parts);
    }
    let pool_id = match action(client, listener, &parts) {
        Some(Action::Reject) => {
            counters.denied.increment();
            note.state.set(Some(*b"PR"));
            return reply::status(StatusCode::FORBIDDEN);
        }
        Some(Action::RedirectToUrl { location, code }) => {
            counters.intercepted.increment();
            note.state.set(Some(*b"LR"));
            return reply::redirect(*code, location.clone());
        }
        Some(Action::RedirectPrefix { prefix, code }) => {
            counters.intercepted.increment();
            note.state.set(Some(*b"LR"));
            return prefixed(client, &parts, prefix, *code);
        }
        Some(Action::Pool(id)) => Some(*id),
        None => listener.config.default_pool,
    };
    let Some(pool) = pool_id.and_then(|id| listener.pool(id)) else {
        note.state.set(Some(*b"SC"));
        return failed(client, StatusCode::SERVICE_UNAVAILABLE, Fault::Service);
    };
    let upgrade = headers::asks_for_websocket(&parts.headers)
        .then(|| parts.extensions.remove::<OnUpgrade>())
        .flatten();
    let exchange = Exchange {
        note,
        client,
        listener,
        pool,
        request: &parts,
        upgrade,
    };
    // Boxed: the rest of a connection's state is small, and idle connections are many.
    match Box::pin(forward(exchange, body)).await {
        Ok(response) => response,
        // The client's own fault is told as such, even where it shows as a failed forward.
        Err(failure) => match client.gate.broken_body() {
            Some(refusal) => {
                note.state.set(Some(refused_state(refusal.status())));
                failed(client, refusal.status(), Fault::Client)
            }
            None => {
                note.state.set(Some(failure.state()));
                failed(client, failure.status(), Fault::Service)
            }
        },
    }
}

/// How the log tells a request that was refused.
fn refused_state(status: StatusCode) -> [u8; 2] {
    if status == StatusCode::REQUEST_TIMEOUT {
        *b"cR"
    } else {
        *b"PR"
    }
}

fn action<'a>(client: &Client, listener: &'a ListenerView, parts: &Parts) -> Option<&'a Action> {
    let fields = RequestFields {
        path: parts.uri.path(),
        headers: &parts.headers,
        session: client.session.as_ref(),
    };
    let index = listener
        .config
        .engine
        .decide(fields, &mut client.worker.scratch.borrow_mut())?;
    listener.config.actions.get(index)
}

fn prefixed(client: &Client, parts: &Parts, prefix: &str, code: StatusCode) -> Response<Reply> {
    // Not the target as sent: an absolute form has more than path and query.
    let path = match parts.uri.path() {
        "*" => "/",
        path => path,
    };
    let query = parts.uri.query();
    let (mark, query) = query.map_or(("", ""), |query| ("?", query));
    match HeaderValue::try_from(format!("{prefix}{path}{mark}{query}")) {
        Ok(location) => reply::redirect(code, location),
        Err(_not_a_value) => failed(client, StatusCode::BAD_REQUEST, Fault::Client),
    }
}

fn failed(client: &Client, status: StatusCode, fault: Fault) -> Response<Reply> {
    tracing::trace!(client = %client.ends.client, %status, "answered without a member");
    let mut response = reply::status(status);
    response.extensions_mut().insert(fault);
    response
}

fn close_after(response: &mut Response<Reply>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
