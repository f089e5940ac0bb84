//! One request to one pool, with the retries that are safe.

use std::{future::Future, pin::pin, rc::Rc, time::Duration};

use http::{
    Method, Request, Response, StatusCode, Uri, Version, header::STRICT_TRANSPORT_SECURITY,
    request::Parts,
};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{TrySendError, http1, http1::SendRequest},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Download, Key, Upload,
    body::{Lease, Progress},
    tunnel,
};
use crate::{
    connection::Client,
    headers,
    reply::Reply,
    view::{ListenerView, PoolView},
};

/// Further members that are tried when one cannot be connected to (HAProxy's `retries 3`).
const REDISPATCHES: usize = 3;

/// A request that must not be repeated goes only on a connection used this recently: one that has
/// been idle for long may be closed by the member at this very moment.
const FRESH: Duration = Duration::from_millis(500);

/// Any other request takes any idle connection.
const ANY_AGE: Duration = Duration::MAX;

/// Why a member's answer cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// 503.
    NoMember,
    /// 502.
    BadAnswer,
    /// 504.
    Timeout,
}

impl Failure {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NoMember => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// What a request goes through.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) client: &'a Rc<Client>,
    pub(crate) listener: &'a ListenerView,
    pub(crate) pool: &'a PoolView,
    pub(crate) request: &'a Parts,
    /// Set when the client asks for a protocol switch that is passed through.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// How one attempt ended without an answer.
enum Attempt {
    /// Nothing reached the member; the body is still here.
    NotSent(Option<Incoming>),
    /// It may have reached the member.
    Lost,
    Failed(Failure),
}

type Answer = Response<Reply>;

/// Sends the request to a member and passes its answer on.
pub(crate) async fn forward(mut exchange: Exchange<'_>, body: Incoming) -> Result<Answer, Failure> {
    let mut body = (!body.is_end_stream()).then_some(body);
    let repeatable = body.is_none() && is_idempotent(&exchange.request.method);
    let mut tried = Vec::new();
    while let Some((index, key)) = exchange.choose(&tried) {
        let age = if repeatable { ANY_AGE } else { FRESH };
        let mut reused = exchange.client.worker.idle.take(key, age);
        loop {
            let is_reused = reused.is_some();
            let sender = match reused.take() {
                Some(sender) => Some(sender),
                None => exchange.connect(key).await,
            };
            let Some(sender) = sender else {
                break;
            };
            match exchange.attempt(sender, key, body.take()).await {
                Ok(answer) => return Ok(answer),
                Err(Attempt::NotSent(back)) => {
                    body = back;
                    if !is_reused {
                        break;
                    }
                }
                Err(Attempt::Lost) if is_reused && repeatable => {}
                Err(Attempt::Lost) => return Err(Failure::BadAnswer),
                Err(Attempt::Failed(failure)) => return Err(failure),
            }
        }
        tried.push(index);
        if tried.len() > REDISPATCHES {
            break;
        }
    }
    Err(Failure::NoMember)
}

impl Exchange<'_> {
    fn choose(&self, tried: &[usize]) -> Option<(usize, Key)> {
        let index = self.pool.next(tried)?;
        let member = self.pool.config.members.get(index)?;
        let key = Key {
            member: member.address,
            source: member.source,
        };
        Some((index, key))
    }

    /// A new connection, or `None`: then another member may be tried.
    async fn connect(&self, key: Key) -> Option<SendRequest<Upload>> {
        let deadline = self.listener.config.connect_timeout;
        let connecting = lb_probe::connect::connect(key.member, key.source);
        let stream = match timeout(deadline, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::trace!(pool.id = %self.pool.config.id, member.addr = %key.member, %error, "member refused the connection");
                return None;
            }
            Err(_elapsed) => {
                tracing::trace!(pool.id = %self.pool.config.id, member.addr = %key.member, "connecting to the member timed out");
                return None;
            }
        };
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .ok()?;
        lb_telemetry::task::spawn_local("member connection", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(member.addr = %key.member, %error, "member connection ended");
            }
        });
        Some(sender)
    }

    async fn attempt(
        &mut self,
        mut sender: SendRequest<Upload>,
        key: Key,
        body: Option<Incoming>,
    ) -> Result<Answer, Attempt> {
        // A pooled connection may still be finishing; one that has closed says so here.
        if sender.ready().await.is_err() {
            return Err(Attempt::NotSent(body));
        }
        let progress = Progress::new();
        let request = self.request_for_member(Upload::new(body, Rc::clone(&progress)));
        let sending = sender.try_send_request(request);
        let patience = self.listener.config.member_timeout;
        let sent = within(patience, &progress, sending)
            .await
            .ok_or(Attempt::Failed(Failure::Timeout))?;
        let response = sent.map_err(|error| unsent(error, key))?;
        let lease = Lease {
            sender,
            key,
            worker: Rc::clone(&self.client.worker),
            progress,
        };
        self.answer(response, lease).map_err(Attempt::Failed)
    }

    fn request_for_member(&self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.request.method.clone();
        // Absolute form ends here: members get the path and query.
        *request.uri_mut() = origin_form(&self.request.uri);
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers::for_member(
            &self.request.headers,
            self.client.ends,
            (&self.listener.config.insert, self.client.session.as_ref()),
            self.pool.config.protocol,
            self.upgrade.is_some(),
        );
        request
    }

    fn answer(
        &mut self,
        mut response: Response<Incoming>,
        lease: Lease,
    ) -> Result<Answer, Failure> {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switching {
            let from_client = self.upgrade.take().ok_or(Failure::BadAnswer)?;
            let from_member = hyper::upgrade::on(&mut response);
            self.client.gate.open();
            tunnel::start(self.client, from_client, from_member);
        }
        let (mut parts, body) = response.into_parts();
        headers::strip_answer(&mut parts.headers, switching);
        if let Some(hsts) = &self.listener.config.hsts {
            parts
                .headers
                .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        // hyper speaks the client's version.
        parts.version = Version::HTTP_11;
        let patience = self.listener.config.member_timeout;
        let download = Download::new(body, (!switching).then_some(lease), patience);
        Ok(Response::from_parts(parts, Reply::member(download)))
    }
}

fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => Uri::from(path.clone()),
        // `http://host?query` has no path of its own.
        Some(query) => {
            Uri::try_from(format!("/{}", query.as_str())).unwrap_or_else(|_| Uri::from_static("/"))
        }
        None => Uri::from_static("/"),
    }
}

fn unsent(error: TrySendError<Request<Upload>>, key: Key) -> Attempt {
    let mut error = error;
    if let Some(request) = error.take_message() {
        return Attempt::NotSent(request.into_body().into_body());
    }
    let error = error.into_error();
    tracing::trace!(member.addr = %key.member, %error, "no answer from the member");
    // Only a connection that closed without a word leaves room for another try.
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_reset(&error)
    {
        Attempt::Lost
    } else {
        Attempt::Failed(Failure::BadAnswer)
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| {
            matches!(
                source.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )
        })
}

/// Waits for the head of an answer. The member's time runs while it is the member we wait for: not
/// while its client still has to send.
async fn within<T>(
    patience: Duration,
    progress: &Progress,
    sending: impl Future<Output = T>,
) -> Option<T> {
    let mut sending = pin!(sending);
    loop {
        let from = if progress.awaits_client.get() {
            Instant::now()
        } else {
            progress.last.get()
        };
        let deadline = from + patience;
        if deadline <= Instant::now() {
            return None;
        }
        tokio::select! {
            biased;
            output = &mut sending => return Some(output),
            () = sleep_until(deadline) => {}
        }
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}
