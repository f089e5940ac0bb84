//! A worker's view of the newest configuration: the shared, immutable part and what the worker itself
//! keeps beside it (counters, rounds).

use std::{
    cell::RefCell, collections::HashMap, collections::HashSet, net::SocketAddr, rc::Rc, sync::Arc,
};

use lb_model::id::{ListenerId, PoolId};

use crate::{
    balance::Round,
    config::{ListenerConfig, PoolConfig, Snapshot},
    counters::ListenerCounters,
    upstream::Key,
};

/// What a worker serves.
#[derive(Debug, Default)]
pub(crate) struct View {
    listeners: HashMap<ListenerId, Rc<ListenerView>>,
    by_address: HashMap<SocketAddr, Rc<ListenerView>>,
    /// Where connections to members may be kept open.
    pub(crate) upstreams: HashSet<Key>,
}

/// One listener in one worker.
#[derive(Debug)]
pub(crate) struct ListenerView {
    pub(crate) config: Arc<ListenerConfig>,
    pub(crate) counters: Arc<ListenerCounters>,
    /// A pool under two listeners is two, as in HAProxy.
    pools: HashMap<PoolId, PoolView>,
}

/// One pool under one listener in one worker.
#[derive(Debug)]
pub(crate) struct PoolView {
    pub(crate) config: Arc<PoolConfig>,
    round: RefCell<Round>,
}

impl View {
    pub(crate) fn new(
        snapshot: &Snapshot,
        counters: &HashMap<ListenerId, Arc<ListenerCounters>>,
        before: &Self,
    ) -> Self {
        let mut view = Self::default();
        for config in &snapshot.listeners {
            let last = before.listeners.get(&config.id);
            let listener = Rc::new(ListenerView {
                config: Arc::clone(config),
                counters: counters.get(&config.id).cloned().unwrap_or_default(),
                pools: snapshot
                    .pools
                    .iter()
                    .map(|(id, pool)| {
                        let last = last.and_then(|listener| listener.pool(*id));
                        (*id, PoolView::new(pool, last))
                    })
                    .collect(),
            });
            for address in &config.addresses {
                view.by_address.insert(*address, Rc::clone(&listener));
            }
            view.listeners.insert(config.id, listener);
        }
        view.upstreams = snapshot
            .pools
            .values()
            .flat_map(|pool| &pool.members)
            .map(|member| Key {
                member: member.address,
                source: member.source,
            })
            .collect();
        view
    }

    pub(crate) fn listener(&self, id: ListenerId) -> Option<Rc<ListenerView>> {
        self.listeners.get(&id).cloned()
    }

    pub(crate) fn at(&self, address: SocketAddr) -> Option<Rc<ListenerView>> {
        self.by_address.get(&address).cloned()
    }
}

impl ListenerView {
    pub(crate) fn pool(&self, id: PoolId) -> Option<&PoolView> {
        self.pools.get(&id)
    }
}

impl PoolView {
    /// The round goes on where it stood if the members are the same: a change elsewhere must not send
    /// everyone's next request to the first member.
    fn new(config: &Arc<PoolConfig>, last: Option<&Self>) -> Self {
        let shares = |pool: &PoolConfig| -> Vec<_> {
            pool.members
                .iter()
                .map(|member| (member.address, member.weight, member.backup))
                .collect()
        };
        let round = last
            .filter(|last| shares(&last.config) == shares(config))
            .map_or_else(
                || Round::new(config.members.len()),
                |last| last.round.borrow().clone(),
            );
        Self {
            config: Arc::clone(config),
            round: RefCell::new(round),
        }
    }

    /// Index of the member whose turn it is; none of `tried`.
    pub(crate) fn next(&self, tried: &[usize]) -> Option<usize> {
        self.round.borrow_mut().next(&self.config, tried)
    }
}
