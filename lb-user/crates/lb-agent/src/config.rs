//! What an agent must be told. Read from the configuration file by the binary, which also says
//! what is wrong with it; here it is only data.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use lb_common::maps::{limits, live::LbShare};
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
    /// Amphorae kept ready, started and without a load balancer; 0: none.
    pub spare_amphorae: usize,
    /// What XDP is attached to. No other interface of the edge is ever touched.
    pub interfaces: Vec<Interface>,
    /// Further addresses that no amphora may reach.
    pub deny: Vec<IpNet>,
    /// What a load balancer may have of what all of them use.
    pub l4: L4Limits,
    /// What an amphora may have of the host.
    pub amphora: AmphoraLimits,
    /// Where tenants' requests are logged; `None`: nowhere.
    pub flow_log: Option<crate::FlowLogConfig>,
    /// The binary that amphorae run (`<binary> amphora …`).
    pub binary: PathBuf,
}

/// What one amphora may have of the host; 0: as much as there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmphoraLimits {
    /// Memory, buffers of its sockets among it. Beyond it, the kernel ends the amphora.
    pub memory_mib: u32,
    /// Of one processor: 150 is one and a half.
    pub cpu_percent: u32,
    /// Threads.
    pub processes: u32,
}

impl Default for AmphoraLimits {
    /// As much memory as 50,000 TLS connections need, twice over.
    fn default() -> Self {
        Self {
            memory_mib: 2048,
            cpu_percent: 0,
            processes: 256,
        }
    }
}

/// What one load balancer may have of the data path; 0: as much as there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4Limits {
    /// Entries of the flow table.
    pub flows: u32,
    /// Source ports of NAT.
    pub ports: u32,
    /// New flows a second.
    pub new_per_second: u32,
    /// New TCP connections a second of one listener.
    pub syn_per_second: u32,
}

impl Default for L4Limits {
    /// Half of what there is, so that no tenant alone takes it all.
    fn default() -> Self {
        Self {
            flows: limits::FLOW_BLOCKS4 * 8 / 2,
            ports: limits::REVERSE_ENTRIES / 2,
            new_per_second: 0,
            syn_per_second: 0,
        }
    }
}

impl L4Limits {
    pub(crate) const fn share(self) -> LbShare {
        LbShare {
            flows: self.flows,
            ports: self.ports,
            new_per_second: self.new_per_second,
            _pad: 0,
        }
    }
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

    /// The same of amphorae that are not needed yet.
    #[must_use]
    pub fn spares_dir(&self) -> PathBuf {
        self.run_dir.join("spares")
    }

    /// Where amphorae have their sockets and process files.
    #[must_use]
    pub fn amphorae_dir(&self) -> PathBuf {
        self.run_dir.join("amphorae")
    }
}
