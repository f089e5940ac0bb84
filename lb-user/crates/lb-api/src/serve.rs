//! Serving the routes on a socket, until told to stop.

use std::net::{SocketAddr, TcpListener};

use tokio_util::sync::CancellationToken;

use crate::{routes::router, state::ApiState};

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Without authentication everyone who reaches the socket is admin.
    #[error(
        "the API has no authentication (auth_strategy noauth), so it listens on loopback only, not on {0}"
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
/// the socket fails.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if !address.ip().to_canonical().is_loopback() && !state.config().force_listen {
        return Err(ServeError::NotLoopback(address));
    }
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tracing::info!(%address, "API is served");
    axum::serve(listener, router(state))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    tracing::info!(%address, "API has stopped");
    Ok(())
}
