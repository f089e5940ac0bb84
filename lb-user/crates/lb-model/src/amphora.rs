//! What passes between an agent and its amphora, over a Unix stream socket, one JSON object a line.
//!
//! The agent listens on nothing: the amphora is born with a listening socket whose path only root
//! can reach, so that a restarted agent connects again. The agent connects, sends
//! [`ToAmphora::Configure`]; the amphora answers with [`FromAmphora`] frames on that connection. The
//! newest connection that says something wins, older ones are closed. With no agent connected the
//! amphora goes on.
//!
//! A new binary takes an amphora over: its process connects in the same way, says
//! [`ToAmphora::TakeOver`], gets configuration and descriptors, serves, and says
//! [`ToAmphora::Serves`]. The old process then finishes what it has, and tells what it observes over
//! that connection until it ends.

use std::net::SocketAddr;

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
    /// A successor asks for everything it needs to serve in this process's place; answered by
    /// [`FromAmphora::HandedOver`].
    TakeOver,
    /// The successor serves: accept nothing more, finish what is open, end.
    Serves,
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
    /// To a successor: what is served, and the descriptors it is served on. Before this frame came
    /// the descriptors themselves, in batches, each with a space.
    HandedOver {
        /// What is served, when anything is.
        config: Option<Box<AmphoraConfig>>,
        /// A planned failover leaves this amphora.
        draining: bool,
        /// Which client is on which member.
        ties: Vec<TieTable>,
        /// What the descriptors are, in their order.
        descriptors: Vec<Handed>,
        /// Client connections that stay here.
        connections: u64,
        /// Counted so far.
        listeners: Vec<ListenerReport>,
        /// Probed so far.
        members: Vec<MemberReport>,
    },
    /// To the agent: another process serves from now on, on the same control socket; this one
    /// finishes what it has.
    TakenOver,
}

/// A descriptor that passes to a successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handed {
    /// The listening control socket.
    Control,
    /// The map with the heartbeat page.
    Heartbeat,
    /// A raw socket for SCTP monitors.
    Sctp,
    /// A listening TCP socket.
    Listener {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A UDP socket of a listener.
    Datagrams {
        /// Where it listens.
        address: SocketAddr,
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
