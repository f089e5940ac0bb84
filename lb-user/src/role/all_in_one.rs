//! `lbaas all-in-one`: server and agent in one process, for one host.
//!
//! The server's sockets are bound in the namespace the process was started in; then the process as a
//! whole moves to the edge's, and only then has threads. The agent talks to the server over the same
//! wire as any other.

use std::sync::Arc;

use lb_agent::Origin;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    failure::Failure,
    role::{
        agent::{agent_config, hold},
        process::{require_root, run_until_signal},
        server,
    },
};

/// As the lock on the state directory names it.
const ROLE: &str = "all-in-one";

pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    require_root()?;
    server::require_free(config, ROLE)?;
    let agent = agent_config(config)?;
    lb_telemetry::logging::init();
    let prepared = server::prepare(config, ROLE)?;
    let lock = hold(&agent, ROLE)?;
    let origin = Origin::enter_edge(&agent).map_err(Failure::failed)?;
    let outcome = run_until_signal(async |shutdown: CancellationToken| {
        let config = Arc::new(config.clone());
        let server = async {
            let served = server::serve(&config, prepared, shutdown.clone()).await;
            shutdown.cancel();
            served
        };
        let agent = async {
            let ran = lb_agent::run(agent, origin, shutdown.clone()).await;
            shutdown.cancel();
            ran.map_err(Failure::failed)
        };
        let (server, agent) = tokio::join!(server, agent);
        server.and(agent)
    });
    drop(lock);
    outcome
}
