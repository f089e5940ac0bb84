//! `lbaas all-in-one`: server and agent in one process, for one host.
//!
//! The server's sockets are bound in the namespace the process was started in; then the process as a
//! whole moves to the edge's, and only then has threads. The agent talks to the server over the same
//! wire as any other. Simulated, the agent carries nothing and needs neither edge nor root.

use std::{future::Future, sync::Arc};

use clap::Args;
use lb_agent::Origin;
use lb_model::capability::CapabilitySet;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    failure::Failure,
    role::{
        agent::{agent_config, hold, simulation},
        process::{require_root, run_until_signal},
        roles::Roles,
        server::{self, Prepared},
    },
};

/// As the lock on the state directory names it.
const ROLE: &str = "all-in-one";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// With an agent that carries nothing: no kernel, no root; networks of its own when none are
    /// configured. For tests.
    #[arg(long)]
    pub(crate) simulate: bool,
}

pub(crate) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    if options.simulate {
        return simulate(config);
    }
    require_root()?;
    server::require_free(config, ROLE)?;
    let agent = agent_config(config)?;
    lb_telemetry::logging::init();
    let prepared = server::prepare(config, ROLE, Roles::all())?;
    let lock = hold(&agent, ROLE)?;
    let origin = Origin::enter_edge(&agent).map_err(Failure::failed)?;
    let outcome = run_until_signal(async |shutdown: CancellationToken| {
        let agent = lb_agent::run(agent, origin, shutdown.clone());
        Box::pin(both(config, prepared, agent, &shutdown)).await
    });
    drop(lock);
    outcome
}

fn simulate(config: &Config) -> Result<(), Failure> {
    lb_telemetry::logging::init();
    let mut prepared = server::prepare(config, ROLE, Roles::all())?;
    // Known before the API opens, not only once the agent asks.
    prepared.declares = Some((config.agent.host.clone(), CapabilitySet::all()));
    let server = prepared
        .sync_address()?
        .unwrap_or(config.controller.sync_listen);
    let simulation = simulation(config, server.to_string());
    run_until_signal(async |shutdown: CancellationToken| {
        let agent = lb_agent::simulate(simulation, || {}, shutdown.clone());
        Box::pin(both(config, prepared, agent, &shutdown)).await
    })
}

/// Until one of them ends; then the other is told to.
async fn both(
    config: &Config,
    prepared: Prepared,
    agent: impl Future<Output = lb_agent::Result<()>>,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let config = Arc::new(config.clone());
    let server = async {
        let served = Box::pin(server::serve(&config, prepared, shutdown.clone())).await;
        shutdown.cancel();
        served
    };
    let agent = async {
        let ran = agent.await;
        shutdown.cancel();
        ran.map_err(Failure::failed)
    };
    let (server, agent) = tokio::join!(server, agent);
    server.and(agent)
}
