//! What passes between an agent and its amphora, over a Unix stream socket, one JSON object a line.
//!
//! The agent listens on nothing: the amphora is born with a listening socket whose path only root
//! can reach, so that a restarted agent connects again. The agent connects, sends
//! [`ToAmphora::Configure`]; the amphora answers with [`FromAmphora`] frames on that connection. The
//! newest connection wins, older ones are closed. With no agent connected the amphora goes on.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AmphoraId, ListenerId, MemberId, PoolId},
    secret::Secret,
    spec::{ListenerReport, LoadBalancerSpec, MemberReport},
};

pub use crate::spec::ListenerFailure;

/// Longest frame either side accepts, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Everything one amphora serves. A snapshot: it replaces the one before as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmphoraConfig {
    /// Which amphora this is.
    pub amphora_id: AmphoraId,
    /// The load balancer; only listeners with path `Amphora` are served, every monitored pool is
    /// probed.
    pub load_balancer: LoadBalancerSpec,
    /// What TLS session tickets are sealed under: keys are derived from it for each period of time.
    /// The amphorae of a load balancer have the same. `None`: tickets are one process's own.
    #[serde(default)]
    pub ticket_seed: Option<Secret>,
    /// Where requests and connections are logged; `None`: nowhere.
    #[serde(default)]
    pub flow_log: Option<FlowLog>,
    /// Lines of the flow log are told over the control connection, where `flow_log` is `None`.
    #[serde(default)]
    pub log_to_agent: bool,
}

/// Where the tenant flow log goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowLog {
    /// Appended to this file.
    File(String),
    /// To the syslog that listens on this Unix socket.
    Syslog(String),
    /// To systemd's journal.
    Journal,
}

/// Agent to amphora.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAmphora {
    /// Serve this from now on, without cutting a connection.
    Configure {
        /// Boxed: it is large beside the other variants.
        config: Box<AmphoraConfig>,
    },
    /// A planned failover away from this amphora: answer what comes, stop keep-alive.
    Drain {
        /// `false` takes a drain back.
        draining: bool,
    },
    /// Ties of clients to members that the other amphora has made.
    Ties {
        /// By pool.
        tables: Vec<TieTable>,
    },
    /// Answer with every tie there is: the other amphora has just begun.
    TellTies,
    /// Close what is left and exit.
    Shutdown,
}

/// Amphora to agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromAmphora {
    /// The configuration of this generation is served by every worker.
    Applied {
        /// Generation of the load balancer.
        generation: u64,
        /// Listeners that could not be served, with the reason; empty: all are.
        failures: Vec<ListenerFailure>,
    },
    /// Sent on every change of a member's health, on every change of `connections` to 0, and once a
    /// second.
    Status {
        /// Generation served.
        generation: u64,
        /// Client connections open now.
        connections: u64,
        /// Per listener.
        listeners: Vec<ListenerReport>,
        /// Per monitored member.
        members: Vec<MemberReport>,
    },
    /// Lines of the flow log.
    Log {
        /// Whole lines, each with its end.
        lines: String,
    },
    /// Ties of clients to members that are new here, for the other amphora.
    Ties {
        /// By pool.
        tables: Vec<TieTable>,
    },
}

/// Which members clients are kept on (SOURCE_IP and APP_COOKIE persistence), or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TieTable {
    /// A pool under two listeners has two tables.
    pub listener_id: ListenerId,
    /// Which pool.
    pub pool_id: PoolId,
    /// Key of a client, in hexadecimal, and its member; newer ones come later.
    pub ties: Vec<(String, MemberId)>,
}
