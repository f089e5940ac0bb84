//! The server's side of the wire: accepts agents, checks who they are, hands their messages to a
//! [`Handler`].

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    message::{
        PROTOCOL_VERSION, REPORT_PATH, REQUEST_BYTES_MAX, Refusal, ReportRequest, ReportResponse,
        SYNC_PATH, SyncRequest, SyncResponse,
    },
    remembered::Told,
    tls,
};

/// Agents connected at once.
const CONNECTIONS_MAX: usize = 4096;
/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests of one agent under way at once.
const STREAMS_MAX: u32 = 16;
/// An agent that vanished without a word is noticed within the sum of these two.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server does with agents' messages. The host in them has been checked.
pub trait Handler: Send + Sync + 'static {
    /// Answers once something changed for the host, or when it was held long enough.
    fn sync(
        &self,
        request: SyncRequest,
    ) -> impl Future<Output = Result<SyncResponse, HandlerError>> + Send;

    /// Takes a report in.
    fn report(
        &self,
        request: ReportRequest,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// The server cannot answer now (database gone, shutting down); the agent asks again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HandlerError(pub String);

/// Serves agents until `shutdown`; then takes no more, and lets go of those connected.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    handler: Arc<H>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an agent");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!(
                limit = CONNECTIONS_MAX,
                "too many agents: connection refused"
            );
            continue;
        };
        let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
        let shutdown = shutdown.clone();
        lb_telemetry::task::spawn("agent-connection", async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = serve_agent(stream, acceptor, handler) => {}
            }
            drop(permit);
        });
    }
}

async fn serve_agent<H: Handler>(stream: TcpStream, acceptor: TlsAcceptor, handler: Arc<H>) {
    let peer = stream.peer_addr().ok();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(?peer, %error, "agent refused in the TLS handshake");
            return;
        }
        Err(_elapsed) => {
            tracing::warn!(?peer, "agent gave up in the TLS handshake");
            return;
        }
    };
    let host = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(tls::common_name);
    let Some(host) = host else {
        tracing::warn!(?peer, "agent's certificate names no host");
        return;
    };
    tracing::info!(host, ?peer, "agent connected");
    let host: Arc<str> = host.into();
    let told = Arc::new(Told::default());
    let service = service_fn(|request| {
        let (handler, host) = (Arc::clone(&handler), Arc::clone(&host));
        let told = Arc::clone(&told);
        async move { Ok::<_, Infallible>(answer(request, handler.as_ref(), &host, &told).await) }
    });
    let ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    match ended {
        Ok(()) => tracing::info!(%host, "agent disconnected"),
        Err(error) => tracing::info!(%host, %error, "agent's connection broke"),
    }
}

async fn answer<H: Handler>(
    request: Request<Incoming>,
    handler: &H,
    host: &str,
    told: &Told,
) -> Response<Full<Bytes>> {
    let outcome = match (request.method(), request.uri().path()) {
        (&Method::POST, SYNC_PATH) => sync(request, handler, host, told).await,
        (&Method::POST, REPORT_PATH) => report(request, handler, host).await,
        (method, path) => Err((
            StatusCode::NOT_FOUND,
            format!("{method} {path}: no such operation in version {PROTOCOL_VERSION}"),
        )),
    };
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err((status, message)) => {
            tracing::debug!(host, %status, message, "agent's request refused");
            let refusal = Refusal {
                message,
                version: PROTOCOL_VERSION,
            };
            (status, serde_json::to_vec(&refusal).unwrap_or_default())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

type Outcome = Result<Vec<u8>, (StatusCode, String)>;

async fn sync<H: Handler>(
    request: Request<Incoming>,
    handler: &H,
    host: &str,
    told: &Told,
) -> Outcome {
    let mut message: SyncRequest = read(request).await?;
    check_sender(message.version, &message.host, host)?;
    let number = told.whole(&mut message).ok_or_else(|| {
        let unknown = "the question before is not remembered: everything has to be named";
        (StatusCode::CONFLICT, unknown.to_owned())
    })?;
    let mut response = handler.sync(message).await.map_err(unavailable)?;
    response.number = Some(number);
    write(&response)
}

async fn report<H: Handler>(request: Request<Incoming>, handler: &H, host: &str) -> Outcome {
    let message: ReportRequest = read(request).await?;
    check_sender(message.version, &message.host, host)?;
    handler.report(message).await.map_err(unavailable)?;
    write(&ReportResponse {})
}

fn check_sender(version: u32, claimed: &str, host: &str) -> Result<(), (StatusCode, String)> {
    if version != PROTOCOL_VERSION {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            format!("the agent speaks version {version}, this server version {PROTOCOL_VERSION}"),
        ));
    }
    if claimed != host {
        return Err((
            StatusCode::FORBIDDEN,
            format!("the certificate is for host '{host}', the message for '{claimed}'"),
        ));
    }
    Ok(())
}

async fn read<M: DeserializeOwned>(request: Request<Incoming>) -> Result<M, (StatusCode, String)> {
    let collect = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, collect)
        .await
        .map_err(|_elapsed| (StatusCode::REQUEST_TIMEOUT, "body too slow".to_owned()))?
        .map_err(|error| (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

fn write<M: Serialize>(message: &M) -> Outcome {
    serde_json::to_vec(message)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn unavailable(error: HandlerError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.0)
}
