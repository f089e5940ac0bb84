//! One request to one pool, with the retries that are safe.

use std::{future::Future, pin::pin, rc::Rc, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{HOST, STRICT_TRANSPORT_SECURITY, TE, WWW_AUTHENTICATE},
    request::Parts,
};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::TrySendError,
    upgrade::OnUpgrade,
};
use lb_model::enums::PoolProtocol;
use tokio::time::{Instant, sleep_until};

use super::{
    Download, Key, Upload,
    body::{Lease, Progress, Source},
    connect::{self, Connected, Purpose},
    http1,
    kept::Kept,
    tunnel,
};
use crate::{
    balance::{Busy, Load},
    connection::Client,
    headers,
    log::Note,
    persistence::{self, COOKIE, Persistence},
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
    /// 408: the client does not go on with its body.
    SlowClient,
}

impl Failure {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NoMember => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::SlowClient => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// How the log tells it.
    pub(crate) const fn state(self) -> [u8; 2] {
        match self {
            Self::NoMember => *b"SC",
            Self::BadAnswer => *b"SH",
            Self::Timeout => *b"sH",
            Self::SlowClient => *b"cD",
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
    pub(crate) note: &'a Rc<Note>,
    /// Set when the client asks for a protocol switch that is passed through.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// How an attempt ended without an answer: what it says about another one.
enum Lost {
    /// Nothing reached the member; the body is still here. Another attempt is safe.
    NotSent(Box<Upload>),
    /// It may have reached the member, which closed without a byte. Safe for what may be repeated.
    Unanswered,
    /// There was something of an answer, or time ran out. Never repeated.
    Failed(Failure),
}

/// One member in one attempt.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    index: usize,
    key: Key,
    load: &'a Rc<Load>,
}

type Answer = Response<Reply>;

/// Sends the request to a member and passes its answer on.
pub(crate) async fn forward(mut exchange: Exchange<'_>, body: Incoming) -> Result<Answer, Failure> {
    let body = (!body.is_end_stream()).then_some(body);
    let repeatable = body.is_none() && is_idempotent(&exchange.request.method);
    let progress = Progress::new(Instant::now());
    let upload = Upload::new(body, progress, Rc::clone(exchange.note));
    let mut body = Some(Box::new(upload));
    let pool = exchange.pool;
    let kept = Kept::find(pool, exchange.client, &exchange.request.headers);
    exchange.note.cookie.set(kept.cookie);
    let mut tried = Vec::new();
    while let Some(chosen) = exchange.choose(kept, &tried) {
        let counters = &chosen.load.counters;
        let age = if repeatable { ANY_AGE } else { FRESH };
        let mut reused = exchange.reuse(chosen.key, age);
        loop {
            let is_reused = reused.is_some();
            let connection = match reused.take() {
                Some(reused) => {
                    counters.reuses.increment();
                    Some(reused)
                }
                None => exchange.connect(chosen).await,
            };
            let Some((key, connection)) = connection else {
                break;
            };
            let chosen = Chosen { key, ..chosen };
            let Some(upload) = body.take() else {
                return Err(Failure::BadAnswer);
            };
            match exchange.attempt(connection, chosen, *upload).await {
                Ok(mut answer) => {
                    let headers = answer.headers_mut();
                    kept.settle(
                        exchange.listener,
                        pool,
                        exchange.client,
                        chosen.index,
                        headers,
                    );
                    return Ok(answer);
                }
                Err(Lost::NotSent(back)) => {
                    body = Some(back);
                    if !is_reused {
                        break;
                    }
                }
                Err(Lost::Unanswered) if is_reused && repeatable => {
                    counters.retries.increment();
                    let progress = Progress::new(Instant::now());
                    let upload = Upload::new(None, progress, Rc::clone(exchange.note));
                    body = Some(Box::new(upload));
                }
                Err(Lost::Unanswered) => {
                    counters.answer_errors.increment();
                    return Err(Failure::BadAnswer);
                }
                Err(Lost::Failed(failure)) => {
                    counters.answer_errors.increment();
                    return Err(failure);
                }
            }
        }
        tried.push(chosen.index);
        if tried.len() > REDISPATCHES {
            break;
        }
        counters.redispatches.increment();
    }
    pool.counters.without_member.increment();
    Err(Failure::NoMember)
}

impl<'a> Exchange<'a> {
    fn choose(&self, kept: Kept, tried: &[usize]) -> Option<Chosen<'a>> {
        let tied = kept.index.filter(|_| tried.is_empty());
        let pool = self.pool;
        let index = match tied {
            Some(index) => index,
            None => pool.next(self.client.ends.client, tried)?,
        };
        let member = pool.config.members.get(index)?;
        let load = pool.loads.get(index)?;
        if tied.is_none() {
            load.counters.balanced.increment();
        }
        let purpose = self.purpose();
        let tls = pool.config.tls.as_ref();
        let shared = Key {
            tls: tls.map(|tls| tls.key(purpose.sni, purpose.upgrade)),
            ..Key::shared(member)
        };
        let key = match pool.config.protocol {
            PoolProtocol::Proxy | PoolProtocol::ProxyV2 => shared.of(self.client.number),
            _ => shared,
        };
        self.note.pool.set(Some(pool.config.id));
        self.note.member.set(Some(member.id));
        Some(Chosen { index, key, load })
    }

    fn purpose(&self) -> Purpose<'_> {
        let session = self.client.session.as_ref();
        Purpose {
            sni: session.and_then(|session| session.sni.as_deref()),
            upgrade: self.upgrade.is_some(),
        }
    }

    /// An idle connection: the client's own before anyone's.
    fn reuse(&self, key: Key, age: Duration) -> Option<(Key, Connected)> {
        let idle = &self.client.worker.idle;
        let own = self.client.owns.get();
        let owned = own.then(|| {
            let key = key.of(self.client.number);
            Some((key, idle.take(key, age)?))
        });
        let anyone = || Some((key, idle.take(key, age)?));
        owned.flatten().or_else(anyone)
    }

    /// A new connection, or `None`: then another member may be tried.
    async fn connect(&self, chosen: Chosen<'_>) -> Option<(Key, Connected)> {
        let pool = &self.pool.config;
        let member = pool.members.get(chosen.index)?;
        let counters = &chosen.load.counters;
        let deadline = self.listener.config.connect_timeout;
        counters.connects.increment();
        let begun = Instant::now();
        let ends = self.client.ends;
        // Boxed: most requests find a connection, and TLS and HTTP/2 need much to begin.
        let connecting = Box::pin(connect::http(pool, member, ends, self.purpose(), deadline));
        match connecting.await {
            Ok(connected) => {
                counters.connect_time.note(begun.elapsed());
                Some((chosen.key, connected))
            }
            Err(error) => {
                counters.connect_errors.increment();
                tracing::trace!(pool.id = %pool.id, member.addr = %member.address, %error, "no connection to the member");
                None
            }
        }
    }

    async fn attempt(
        &mut self,
        connection: Connected,
        chosen: Chosen<'_>,
        body: Upload,
    ) -> Result<Answer, Lost> {
        let since = Instant::now();
        let meter = Arc::clone(connection.meter());
        let before = (meter.sent.get(), meter.received.get());
        let busy = Busy::count(chosen.load);
        let progress = Progress::new(since);
        let body = body.again(Rc::clone(&progress));
        let mut request = self.request_for_member(body);
        if connection.is_http2() {
            self.make_http2(&mut request, chosen.key);
        }
        let lease = Lease {
            meter,
            key: chosen.key,
            worker: Rc::clone(&self.client.worker),
            progress: Rc::clone(&progress),
            busy,
            before,
            since,
        };
        let config = &self.listener.config;
        // In HTTP/1 the gate keeps the client's times.
        let is_h2 = self.client.session.as_ref().is_some_and(|it| it.h2);
        let times = (
            config.member_timeout,
            is_h2.then_some(config.client_timeout),
        );
        let speaking = speak(connection, request, &lease);
        let sent = within(times, &progress, speaking).await;
        match sent.map_err(Lost::Failed).flatten() {
            Ok(response) => {
                let counters = &lease.busy.0.counters;
                counters.answer_time.note(since.elapsed());
                counters.answers.count(response.status());
                self.answer(response, lease).map_err(Lost::Failed)
            }
            Err(lost) => {
                lease.abandon();
                Err(lost)
            }
        }
    }

    fn request_for_member(&self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.request.method.clone();
        // Absolute form ends here: members get the path and query.
        *request.uri_mut() = origin_form(&self.request.uri);
        *request.version_mut() = Version::HTTP_11;
        let mut headers = headers::for_member(
            &self.request.headers,
            self.client.ends,
            (&self.listener.config.insert, self.client.session.as_ref()),
            self.pool.config.protocol,
            self.upgrade.is_some(),
        );
        if self.pool.config.persistence == Persistence::HttpCookie {
            persistence::strip(&mut headers, COOKIE);
        }
        *request.headers_mut() = headers;
        request
    }

    /// A request for a member that speaks HTTP/2: its authority is in the target, and it may say
    /// that trailers are understood.
    fn make_http2(&self, request: &mut Request<Upload>, key: Key) {
        *request.version_mut() = Version::HTTP_2;
        let host = request.headers_mut().remove(HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok());
        let target = |authority: &str| {
            Uri::builder()
                .scheme("https")
                .authority(authority)
                .path_and_query(request.uri().path_and_query().map_or("/", |it| it.as_str()))
                .build()
                .ok()
        };
        let member = || target(&key.member.to_string());
        if let Some(target) = host.and_then(target).or_else(member) {
            *request.uri_mut() = target;
        }
        let asks = self.request.headers.get_all(TE).iter();
        let mut asks = asks.filter_map(|value| value.to_str().ok());
        if asks.any(|value| {
            value
                .split(',')
                .any(|it| it.trim().eq_ignore_ascii_case("trailers"))
        }) {
            let headers = request.headers_mut();
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }

    fn answer(&mut self, response: Response<Source>, mut lease: Lease) -> Result<Answer, Failure> {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if authenticates_connections(response.headers()) {
            lease.key = lease.key.of(self.client.number);
        }
        if lease.key.owner.is_some() {
            self.client.owns.set(true);
        }
        let (mut parts, mut body) = response.into_parts();
        let mut lease = Some(lease);
        if switching {
            let from_member;
            (from_member, body) = body.into_tunnel();
            let (Some(from_client), Some(from_member)) = (self.upgrade.take(), from_member) else {
                if let Some(lease) = lease {
                    lease.abandon();
                }
                return Err(Failure::BadAnswer);
            };
            self.client.gate.open();
            if let Some(lease) = lease.take() {
                tunnel::start(self.client, lease, from_client, from_member);
            }
        }
        headers::strip_answer(&mut parts.headers, switching);
        if let Some(hsts) = &self.listener.config.hsts {
            parts
                .headers
                .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        // hyper speaks the client's version.
        parts.version = Version::HTTP_11;
        let patience = self.listener.config.member_timeout;
        let download = Download::new(body, lease, patience);
        Ok(Response::from_parts(parts, Reply::member(download)))
    }
}

/// Negotiate and NTLM make a connection its client's: whoever sends on it is taken for that client.
fn authenticates_connections(headers: &HeaderMap) -> bool {
    let schemes = ["negotiate", "ntlm"];
    headers.get_all(WWW_AUTHENTICATE).iter().any(|value| {
        let scheme = value.as_bytes().split(|&byte| byte == b' ').next();
        let scheme = scheme.unwrap_or_default();
        schemes
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
    })
}

fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') || path == "*" => Uri::from(path.clone()),
        // `http://host?query` has no path of its own.
        Some(query) => {
            Uri::try_from(format!("/{}", query.as_str())).unwrap_or_else(|_| Uri::from_static("/"))
        }
        None => Uri::from_static("/"),
    }
}

/// Sends a request and waits for the head of its answer.
async fn speak(
    connection: Connected,
    request: Request<Upload>,
    lease: &Lease,
) -> Result<Response<Source>, Lost> {
    let (mut sender, meter) = match connection {
        Connected::Http1(wire) => {
            let answer = http1::exchange(wire, request, &lease.worker, |_status, _hints| {}).await;
            return match answer {
                Ok(response) => Ok(response.map(Source::Http1)),
                Err(http1::Lost::NotSent(upload)) => Err(Lost::NotSent(Box::new(upload))),
                Err(http1::Lost::Unanswered) => Err(Lost::Unanswered),
                Err(http1::Lost::Bad) => Err(Lost::Failed(Failure::BadAnswer)),
            };
        }
        Connected::Http2(sender, meter) => (sender, meter),
    };
    // A pooled connection may still be finishing; one that has closed says so here.
    if sender.ready().await.is_err() {
        return Err(Lost::NotSent(Box::new(request.into_body())));
    }
    match sender.try_send_request(request).await {
        Ok(response) => {
            let connection = Connected::Http2(sender, meter);
            Ok(response.map(|body| Source::Http2(body, Some(connection))))
        }
        Err(error) => Err(lost(error, lease)),
    }
}

fn lost(mut error: TrySendError<Request<Upload>>, lease: &Lease) -> Lost {
    if let Some(request) = error.take_message() {
        return Lost::NotSent(Box::new(request.into_body()));
    }
    let error = error.into_error();
    tracing::trace!(member.addr = %lease.key.member, %error, "no answer from the member");
    let (_, received) = lease.before;
    let silent = lease.meter.received.get() == received;
    let closed = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || is_reset(&error);
    if silent && closed {
        Lost::Unanswered
    } else {
        Lost::Failed(Failure::BadAnswer)
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
    (member, client): (Duration, Option<Duration>),
    progress: &Progress,
    sending: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut sending = pin!(sending);
    loop {
        let last = progress.last.get();
        let (deadline, failure) = match (progress.awaits_client.get(), client) {
            (true, Some(client)) => (last + client, Failure::SlowClient),
            (true, None) => (Instant::now() + member, Failure::Timeout),
            (false, _) => (last + member, Failure::Timeout),
        };
        if deadline <= Instant::now() {
            return Err(failure);
        }
        // What becomes of the body may change whom we wait for, and for how long.
        let look = deadline.min(Instant::now() + client.unwrap_or(member));
        tokio::select! {
            biased;
            output = &mut sending => return Ok(output),
            () = sleep_until(look) => {}
        }
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}
