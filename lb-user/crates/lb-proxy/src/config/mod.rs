//! What is served, compiled: immutable, made by the control thread, handed to every worker.
//!
//! Each worker keeps a pointer of its own to the newest one and looks at nothing shared: a change is
//! a message that replaces the pointer, and connections see it with their next request.

mod action;
mod compile;
mod insert;

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use lb_model::{
    enums::{L4Protocol, LbAlgorithm, ListenerProtocol, PoolProtocol},
    id::{ListenerId, MemberId, PoolId},
};
use lb_probe::health::MemberHealth;

pub(crate) use action::Action;
pub(crate) use compile::{Compiled, TlsCache, compile, sources};
pub(crate) use insert::Insert;

pub(crate) use crate::persistence::Persistence;

use crate::{l7::Engine, listen::Endpoint, log::Log, persistence::Place, tls::MemberTls};

/// Everything one amphora serves.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) listeners: Vec<Arc<ListenerConfig>>,
    /// Where requests are logged.
    pub(crate) log: Option<Log>,
    pub(crate) pools: HashMap<PoolId, Arc<PoolConfig>>,
}

impl Snapshot {
    /// Where ties are kept in tables.
    pub(crate) fn tables(&self) -> Vec<Place> {
        let has_table = |id: &PoolId| {
            let pool = self.pools.get(id);
            pool.is_some_and(|pool| pool.persistence.has_table())
        };
        self.listeners
            .iter()
            .flat_map(|listener| {
                // Of UDP, sessions are told.
                let datagrams = listener.protocol == ListenerProtocol::Udp;
                let tied = listener.pools().filter(|id| datagrams || has_table(id));
                tied.map(|pool| (listener.id, pool)).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// One listener.
#[derive(Debug)]
pub(crate) struct ListenerConfig {
    pub(crate) id: ListenerId,
    pub(crate) protocol: ListenerProtocol,
    /// Every VIP with the listener's port.
    pub(crate) addresses: Vec<SocketAddr>,
    /// TERMINATED_HTTPS.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) engine: Engine,
    /// By the engine's index.
    pub(crate) actions: Vec<Action>,
    pub(crate) default_pool: Option<PoolId>,
    /// Headers that members get to see of ours.
    pub(crate) insert: Vec<Insert>,
    /// Strict-Transport-Security of members' answers.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) client_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) member_timeout: Duration,
    /// Connections beyond it wait to be accepted.
    pub(crate) connection_limit: u64,
}

impl ListenerConfig {
    /// Where it listens.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        let datagrams = self.protocol.l4() == L4Protocol::Udp;
        let addresses = self.addresses.iter();
        addresses.map(move |&address| Endpoint { address, datagrams })
    }

    /// Every pool it may send to, each once.
    pub(crate) fn pools(&self) -> impl Iterator<Item = PoolId> {
        let by_policy = self.actions.iter().filter_map(|action| match action {
            Action::Pool(id) => Some(*id),
            Action::Reject | Action::RedirectToUrl { .. } | Action::RedirectPrefix { .. } => None,
        });
        let ids: BTreeSet<PoolId> = self.default_pool.into_iter().chain(by_policy).collect();
        ids.into_iter()
    }
}

/// One pool.
#[derive(Debug)]
pub(crate) struct PoolConfig {
    pub(crate) id: PoolId,
    pub(crate) protocol: PoolProtocol,
    pub(crate) algorithm: LbAlgorithm,
    pub(crate) persistence: Persistence,
    pub(crate) members: Vec<MemberConfig>,
    /// TLS towards members.
    pub(crate) tls: Option<Arc<MemberTls>>,
}

/// One member.
#[derive(Debug)]
pub(crate) struct MemberConfig {
    pub(crate) id: MemberId,
    pub(crate) address: SocketAddr,
    /// Where connections to it come from.
    pub(crate) source: Option<IpAddr>,
    pub(crate) weight: u16,
    pub(crate) backup: bool,
    pub(crate) health: Arc<MemberHealth>,
}

impl MemberConfig {
    /// Whether requests without ties may go there.
    pub(crate) fn takes_new(&self) -> bool {
        self.weight > 0 && self.health.is_usable()
    }
}
