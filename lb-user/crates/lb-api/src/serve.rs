//! Serving the routes on a socket, until told to stop.
//!
//! HTTP/1.1 with limits: so many connections at once, so long for a request's head, so long for open
//! requests to end after the shutdown. (The body's limits are in [`crate::call`].)

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{routes::router, state::ApiState};

/// Connections served at once; further ones wait in the socket's queue.
const CONNECTIONS_MAX: u32 = 1024;
/// How long a client may take to send a request's head, also on a connection kept alive.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// How long open requests may go on after the shutdown.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a failed accept: what fails it (no descriptor left) is not gone at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Without authentication everyone who reaches the socket is admin.
    #[error(
        "the API has no authentication (auth_strategy noauth or testing), so it listens on loopback only, not on {0}"
    )]
    NotLoopback(SocketAddr),
    /// The socket failed.
    #[error("the API's socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Serves the API on `listener` until `shutdown`, then lets open requests end.
///
/// # Errors
/// When `listener` is not on a loopback address and the configuration does not force it, or when
/// the socket cannot be used.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if !address.ip().to_canonical().is_loopback()
        && state.config().auth_strategy.is_open()
        && !state.config().force_listen
    {
        return Err(ServeError::NotLoopback(address));
    }
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tracing::info!(%address, "API is served");
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let routes = router(state.clone());
    shutdown
        .run_until_cancelled(accept(&listener, &routes, &slots, &shutdown))
        .await;
    drop(listener);
    // Nobody's request is open for ever.
    state.streams().close();
    // Every slot free again is every connection closed.
    if timeout(DRAIN_DEADLINE, slots.acquire_many(CONNECTIONS_MAX))
        .await
        .is_err()
    {
        tracing::warn!(%address, "open requests were cut off");
    }
    tracing::info!(%address, "API has stopped");
    Ok(())
}

async fn accept(
    listener: &tokio::net::TcpListener,
    routes: &Router,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) {
    // The semaphore is never closed.
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let connection = connection(stream, routes.clone(), shutdown.clone(), slot);
                lb_telemetry::task::spawn("API connection", connection);
            }
            Err(error) => {
                tracing::warn!(%error, "API connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    routes: Router,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let mut serving = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "API connection ended");
    }
}
