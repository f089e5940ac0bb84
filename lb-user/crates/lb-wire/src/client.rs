//! The agent's side of the wire: one HTTP/2 connection that carries the held sync and the reports
//! beside it, made anew when it breaks.
//!
//! Each call tries every server once, beginning with the one that answered last: any of them may be
//! asked anything. A caller that loops gets the back-off for free, since after a round without a
//! connection the next one waits here.

use std::{
    fmt,
    future::Future,
    io,
    net::TcpStream as StdTcpStream,
    pin::Pin,
    sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, sync::Mutex, time::Instant};
use tokio_rustls::TlsConnector;

use crate::{
    ca::SERVER_NAME,
    error::WireError,
    message::{
        PROTOCOL_VERSION, REPORT_PATH, RESPONSE_BYTES_MAX, Refusal, ReportRequest, ReportResponse,
        SYNC_HOLD_MAX, SYNC_PATH, SyncRequest, SyncResponse,
    },
    remembered::Asked,
    tls::{self, Credentials},
};

/// First wait after a failed connection; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest wait between attempts: a restarted server is found within it.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Time for connection and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a report to be answered.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a sync to be answered: it may be held.
const SYNC_TIMEOUT: Duration = Duration::from_secs(SYNC_HOLD_MAX.as_secs() + 15);
/// A server that vanished without a word is noticed within the sum of these two.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes TCP connections to the server. An agent lives in another network namespace than its
/// server: its dialer connects from a thread that stayed in the namespace of origin.
pub trait Dialer: Send + Sync {
    /// Connects to `server` (`host:port`).
    fn dial(
        &self,
        server: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<StdTcpStream>> + Send + '_>>;
}

/// Connects from the namespace of the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectDialer;

impl Dialer for DirectDialer {
    fn dial(
        &self,
        server: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<StdTcpStream>> + Send + '_>> {
        Box::pin(async move { TcpStream::connect(server).await?.into_std() })
    }
}

/// The connection to one of the servers.
pub struct SyncClient {
    servers: Vec<String>,
    tls: Arc<ClientConfig>,
    dialer: Arc<dyn Dialer>,
    link: Mutex<Link>,
    /// The last question that was answered.
    asked: SyncMutex<Option<Asked>>,
}

/// The connection, or when the next attempt is allowed.
struct Link {
    sender: Option<SendRequest<Full<Bytes>>>,
    /// How many were made so far.
    made: u64,
    /// Which server is tried first.
    current: usize,
    next_attempt: Instant,
    backoff: Duration,
}

impl fmt::Debug for SyncClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncClient")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl SyncClient {
    /// Connects to nothing yet. `servers`: `host:port`, several separated by commas.
    ///
    /// # Errors
    /// Credentials that TLS cannot use.
    pub fn new(
        credentials: &Credentials,
        servers: impl Into<String>,
        dialer: Arc<dyn Dialer>,
    ) -> Result<Self, WireError> {
        Ok(Self {
            servers: servers
                .into()
                .split(',')
                .map(|server| server.trim().to_owned())
                .collect(),
            tls: tls::client_config(credentials)?,
            dialer,
            asked: SyncMutex::default(),
            link: Mutex::new(Link {
                sender: None,
                made: 0,
                current: 0,
                next_attempt: Instant::now(),
                backoff: BACKOFF_MIN,
            }),
        })
    }

    /// Asks what changed; held by the server for up to [`SYNC_HOLD_MAX`].
    ///
    /// # Errors
    /// No connection, or no proper answer. Safe to repeat.
    pub async fn sync(&self, request: &SyncRequest) -> Result<SyncResponse, WireError> {
        let (sender, connection) = self.sender().await?;
        // Taken: after whatever else than an answer, everything is told again.
        let asked = self.asked().take();
        let short = asked
            .filter(|asked| asked.connection == connection)
            .map(|asked| asked.shortened(request));
        let answer: SyncResponse = match short {
            None => {
                self.exchange(sender, SYNC_PATH, request, SYNC_TIMEOUT)
                    .await?
            }
            Some(short) => {
                let again = sender.clone();
                match self.exchange(sender, SYNC_PATH, &short, SYNC_TIMEOUT).await {
                    Err(WireError::Refused { status: 409, .. }) => {
                        self.exchange(again, SYNC_PATH, request, SYNC_TIMEOUT)
                            .await?
                    }
                    other => other?,
                }
            }
        };
        if let Some(number) = answer.number {
            *self.asked() = Some(Asked {
                connection,
                number,
                known: request.known.clone(),
            });
        }
        Ok(answer)
    }

    fn asked(&self) -> MutexGuard<'_, Option<Asked>> {
        // Replaced as a whole.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what the host carries.
    ///
    /// # Errors
    /// No connection, or no proper answer. Safe to repeat.
    pub async fn report(&self, request: &ReportRequest) -> Result<(), WireError> {
        let (sender, _connection) = self.sender().await?;
        let ReportResponse {} = self
            .exchange(sender, REPORT_PATH, request, REPORT_TIMEOUT)
            .await?;
        Ok(())
    }

    async fn exchange<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        path: &str,
        message: &Q,
        timeout: Duration,
    ) -> Result<A, WireError> {
        let body = Bytes::from(serde_json::to_vec(message)?);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{SERVER_NAME}{path}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let exchange = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok((parts.status, read_body(body).await?))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok((StatusCode::OK, body))) => Ok(serde_json::from_slice(&body)?),
            Ok(Ok((status, body))) => Err(refused(status, &body)),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => {
                self.link.lock().await.sender = None;
                Err(WireError::Timeout {
                    seconds: timeout.as_secs(),
                })
            }
        }
    }

    /// The live connection, or a new one once back-off allows it; and which one it is.
    async fn sender(&self) -> Result<(SendRequest<Full<Bytes>>, u64), WireError> {
        let mut link = self.link.lock().await;
        if let Some(sender) = link.sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), link.made));
        }
        link.sender = None;
        tokio::time::sleep_until(link.next_attempt).await;
        let mut failed = WireError::TlsSetup("no server is named".to_owned());
        let count = self.servers.len();
        let first = link.current;
        let round = self.servers.iter().cycle().skip(first).take(count);
        for (server, place) in round.zip(first..) {
            let attempt = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(server)).await;
            failed = match attempt {
                Ok(Ok(sender)) => {
                    tracing::info!(server, "connected to the server");
                    link.sender = Some(sender.clone());
                    link.current = place % count;
                    link.backoff = BACKOFF_MIN;
                    // A server that accepts and hangs up is not hammered either.
                    link.next_attempt = Instant::now() + BACKOFF_MIN;
                    link.made += 1;
                    return Ok((sender, link.made));
                }
                Ok(Err(error)) => error,
                Err(_elapsed) => WireError::Timeout {
                    seconds: CONNECT_TIMEOUT.as_secs(),
                },
            };
            tracing::debug!(server, error = %failed, "no connection");
        }
        link.next_attempt = Instant::now() + link.backoff;
        link.backoff = (link.backoff * 2).min(BACKOFF_MAX);
        Err(failed)
    }

    async fn connect(&self, server: &str) -> Result<SendRequest<Full<Bytes>>, WireError> {
        let connect = |source| WireError::Connect {
            server: server.to_owned(),
            source,
        };
        let tls_error = |source| WireError::Tls {
            server: server.to_owned(),
            source,
        };
        let stream = self.dialer.dial(server.to_owned()).await.map_err(connect)?;
        stream.set_nonblocking(true).map_err(connect)?;
        let stream = TcpStream::from_std(stream).map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let name = ServerName::try_from(SERVER_NAME)
            .map_err(|error| WireError::TlsSetup(error.to_string()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(tls_error)?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        lb_telemetry::task::spawn("wire-connection", async move {
            if let Err(error) = connection.await {
                tracing::info!(%error, "the connection to the server ended");
            }
        });
        Ok(sender)
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, WireError> {
    let collected = Limited::new(body, RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| WireError::Body {
            limit: RESPONSE_BYTES_MAX,
            reason: error.to_string(),
        })?;
    Ok(collected.to_bytes())
}

fn refused(status: StatusCode, body: &[u8]) -> WireError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if refusal.version != PROTOCOL_VERSION => WireError::VersionMismatch {
            ours: PROTOCOL_VERSION,
            theirs: refusal.version,
        },
        Ok(refusal) => WireError::Refused {
            status: status.as_u16(),
            message: refusal.message,
        },
        Err(_not_ours) => WireError::Refused {
            status: status.as_u16(),
            message: "not an LBaaS server".to_owned(),
        },
    }
}
