//! What the agent says of its amphorae (`run/agent.json`), and signals to them.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::{command, wait};

/// A lost amphora is running again and serves its configuration within this.
const REBUILT_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The agent's own view.
#[derive(Clone, Debug, Deserialize)]
pub struct AgentStatus {
    load_balancers: Vec<LoadBalancer>,
}

/// One load balancer of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LoadBalancer {
    id: String,
    /// Goes up with every change of the active amphora.
    pub epoch: u32,
    /// Both of a pair.
    pub amphorae: Vec<Amphora>,
}

/// One amphora.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Amphora {
    /// Identity.
    pub id: String,
    /// Process on this machine.
    pub pid: Option<u32>,
    /// Carries the traffic.
    pub active: bool,
    /// Serves its newest configuration.
    pub ready: bool,
}

impl LoadBalancer {
    /// Reads the agent's view of one load balancer.
    ///
    /// # Errors
    /// When the agent has not written it, or does not carry it.
    pub fn read(status: &Path, id: &str) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(status).with_context(|| format!("no {}", status.display()))?;
        let agent: AgentStatus = serde_json::from_str(&text)?;
        let found = agent
            .load_balancers
            .into_iter()
            .find(|load_balancer| load_balancer.id == id);
        found.with_context(|| format!("the agent does not carry {id}"))
    }

    /// Waits until both amphorae run and serve, one of them active.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn whole(status: &Path, id: &str) -> anyhow::Result<Self> {
        let mut last = None;
        let found = wait::until(REBUILT_WITHIN, LOOK_EVERY, || {
            last = Self::read(status, id).ok();
            Ok(last.as_ref().is_some_and(Self::is_whole))
        })?;
        match last {
            Some(whole) if found => Ok(whole),
            last => bail!("the pair is not whole again after {REBUILT_WITHIN:?}: {last:?}"),
        }
    }

    fn is_whole(&self) -> bool {
        self.amphorae.len() == 2
            && self
                .amphorae
                .iter()
                .all(|amphora| amphora.ready && amphora.pid.is_some())
            && self
                .amphorae
                .iter()
                .filter(|amphora| amphora.active)
                .count()
                == 1
    }

    /// The one that carries the traffic.
    ///
    /// # Errors
    /// When nobody is active.
    pub fn active(&self) -> anyhow::Result<&Amphora> {
        self.amphorae
            .iter()
            .find(|amphora| amphora.active)
            .context("nobody is active")
    }
}

impl Amphora {
    /// Sends a signal by its name.
    ///
    /// # Errors
    /// When it has no process.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid.context("it has no process")?;
        command::run(None, "kill", &[&format!("-{name}"), &pid.to_string()])?;
        Ok(())
    }
}
