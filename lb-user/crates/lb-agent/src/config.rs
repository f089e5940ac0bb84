//! What an agent must be told. Read from the configuration file by the binary, which also says
//! what is wrong with it; here it is only data.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use lb_model::id::NetworkId;

/// One host's agent.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Names the host; the name in the agent's certificate.
    pub host: String,
    /// Where the server's `sync_listen` is reached, `host:port`. `None`: carry what is on disk and
    /// ask nobody.
    pub server: Option<String>,
    /// Directory with ca.pem, agent.pem and agent.key.
    pub credentials: PathBuf,
    /// Specs, allocations and what must survive a reboot; the agent uses `agent/` below it.
    pub state_dir: PathBuf,
    /// Sockets and process files.
    pub run_dir: PathBuf,
    /// The network namespace XDP works in; `None`: the one the agent was started in.
    pub edge_netns: Option<String>,
    /// Where maps and links are pinned.
    pub bpf_dir: PathBuf,
    /// Longest a planned failover waits for connections to end.
    pub drain_timeout: Duration,
    /// What XDP is attached to. No other interface of the edge is ever touched.
    pub interfaces: Vec<Interface>,
    /// Further addresses that no amphora may reach.
    pub deny: Vec<IpNet>,
    /// The binary that amphorae run (`<binary> amphora …`).
    pub binary: PathBuf,
}

/// An interface of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Networks it leads to.
    pub networks: Vec<NetworkId>,
}

impl AgentConfig {
    /// The agent's own directory below `state_dir`, which only root may enter.
    #[must_use]
    pub fn agent_dir(&self) -> PathBuf {
        self.state_dir.join("agent")
    }

    /// Where amphorae have their sockets and process files.
    #[must_use]
    pub fn amphorae_dir(&self) -> PathBuf {
        self.run_dir.join("amphorae")
    }
}
