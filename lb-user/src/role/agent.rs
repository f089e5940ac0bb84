//! `lbaas agent`: this host carries what the server asks for.
//!
//! Stopping it changes nothing for a packet: XDP and amphorae go on, and the next agent adopts them.

use std::{path::Path, time::Duration};

use clap::Args;
use lb_agent::{AgentConfig, Origin, Simulation};
use lb_store::StateLock;
use lb_wire::ca::read_agent_credentials;
use tokio::time::Instant;

use crate::{
    config::Config,
    failure::Failure,
    role::{
        process::{require_root, run_until_signal},
        ready,
    },
};

/// How long an agent waits for its credentials to appear.
const CREDENTIALS_WAIT: Duration = Duration::from_secs(10);
/// Between looks.
const CREDENTIALS_LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Removes everything an agent of this configuration made on this host, and ends.
    #[arg(long)]
    teardown: bool,
    /// Speaks the real protocol but carries nothing: no kernel, no root. For tests.
    #[arg(long, conflicts_with = "teardown")]
    simulate: bool,
}

pub(crate) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    if options.simulate {
        return simulate(config);
    }
    require_root()?;
    let agent = agent_config(config)?;
    lb_telemetry::logging::init();
    let lock = hold(&agent, "agent")?;
    if options.teardown {
        // Also after the edge's namespace is gone: what is left elsewhere must go all the same.
        if agent
            .edge_netns
            .as_deref()
            .is_none_or(lb_sys::netns::exists)
        {
            Origin::enter_edge(&agent).map_err(Failure::failed)?;
        }
        return run_until_signal(async |_shutdown| {
            lb_agent::teardown(&agent).await.map_err(Failure::failed)
        });
    }
    await_credentials(&agent.credentials)?;
    let origin = Origin::enter_edge(&agent).map_err(Failure::failed)?;
    let outcome = run_until_signal(async |shutdown| {
        lb_agent::run(agent, origin, shutdown)
            .await
            .map_err(Failure::failed)
    });
    drop(lock);
    outcome
}

/// Carries nothing and says it does.
fn simulate(config: &Config) -> Result<(), Failure> {
    lb_telemetry::logging::init();
    let simulation = simulation(config, config.agent.server.clone());
    await_credentials(&simulation.credentials)?;
    run_until_signal(async |shutdown| {
        lb_agent::simulate(simulation, || ready::tell("agent", None, None), shutdown)
            .await
            .map_err(Failure::failed)
    })
}

/// What a simulated agent of this configuration is told.
pub(crate) fn simulation(config: &Config, server: String) -> Simulation {
    Simulation {
        host: config.agent.host.clone(),
        server,
        credentials: config.agent.credentials.clone(),
    }
}

/// The agent's part of the configuration, complete or refused.
pub(crate) fn agent_config(config: &Config) -> Result<AgentConfig, Failure> {
    let agent = &config.agent;
    if agent.interfaces.is_empty() {
        return Err(Failure::Usage(
            "configuration: agent.interfaces: none is named: an agent needs at least one [[agent.interfaces]] with name and networks".to_owned(),
        ));
    }
    Ok(AgentConfig {
        host: agent.host.clone(),
        server: Some(agent.server.clone()),
        credentials: agent.credentials.clone(),
        state_dir: config.state_dir.clone(),
        run_dir: config.run_dir.clone(),
        edge_netns: agent.edge_netns.clone(),
        bpf_dir: agent.bpf_dir.clone(),
        drain_timeout: agent.drain_timeout,
        l4: agent.l4,
        spare_amphorae: agent.spare_amphorae,
        amphora: agent.amphora,
        interfaces: agent
            .interfaces
            .iter()
            .map(|interface| lb_agent::Interface {
                name: interface.name.clone(),
                networks: interface.networks.clone(),
            })
            .collect(),
        deny: config.deny_cidrs.clone(),
        flow_log: agent.flow_log.clone(),
        binary: std::env::current_exe().map_err(Failure::failed)?,
    })
}

/// A server that is started at the same time may only be making them: waits a little for good ones.
fn await_credentials(dir: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match read_agent_credentials(dir) {
            Ok(_good) => return Ok(()),
            Err(error) if begun.elapsed() >= CREDENTIALS_WAIT => {
                return Err(Failure::failed(error));
            }
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for credentials");
                told = true;
            }
            Err(_same) => {}
        }
        std::thread::sleep(CREDENTIALS_LOOK_AGAIN);
    }
}

/// One agent at a time on a state directory; a second is told who the first is.
pub(crate) fn hold(agent: &AgentConfig, role: &str) -> Result<StateLock, Failure> {
    let dir = agent.agent_dir();
    lb_wire::files::private_dir(&dir).map_err(Failure::failed)?;
    StateLock::acquire(&dir, role).map_err(Failure::failed)
}
