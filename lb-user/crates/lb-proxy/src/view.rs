//! A worker's view of the newest configuration: the shared, immutable part and what the worker itself
//! keeps beside it (counters, where balancing stands, ties).

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use lb_model::id::{ListenerId, MemberId, PoolId};

use crate::{
    balance::{Balance, Load},
    config::{ListenerConfig, PoolConfig, Snapshot},
    counters::{ListenerCounters, ListenerMetrics, Metrics, PoolCounters, PoolMetrics, Room},
    listen::Endpoint,
    persistence::{Learned, Ties},
    upstream::Key,
};

/// What a worker serves.
#[derive(Debug, Default)]
pub(crate) struct View {
    listeners: HashMap<ListenerId, Rc<ListenerView>>,
    by_endpoint: HashMap<Endpoint, Rc<ListenerView>>,
    /// Where connections to members may be kept open.
    pub(crate) upstreams: HashSet<Key>,
    /// Of everything, for those who ask this worker.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// One listener in one worker.
#[derive(Debug)]
pub(crate) struct ListenerView {
    pub(crate) config: Arc<ListenerConfig>,
    pub(crate) counters: Arc<ListenerCounters>,
    pub(crate) room: Arc<Room>,
    /// A pool under two listeners is two, as in HAProxy.
    pools: HashMap<PoolId, PoolView>,
}

/// One pool under one listener in one worker.
#[derive(Debug)]
pub(crate) struct PoolView {
    pub(crate) config: Arc<PoolConfig>,
    pub(crate) counters: Arc<PoolCounters>,
    /// By index of the member.
    pub(crate) loads: Vec<Rc<Load>>,
    balance: RefCell<Balance>,
    ties: Rc<RefCell<Ties>>,
}

impl View {
    pub(crate) fn new(
        snapshot: &Arc<Snapshot>,
        metrics: &Arc<Metrics>,
        worker: usize,
        before: &Self,
    ) -> Self {
        let mut view = Self {
            metrics: Arc::clone(metrics),
            snapshot: Arc::clone(snapshot),
            ..Self::default()
        };
        let nothing = ListenerMetrics::default();
        for config in &snapshot.listeners {
            let last = before.listeners.get(&config.id);
            let metrics = metrics.listeners.get(&config.id).unwrap_or(&nothing);
            let listener =
                ListenerView::new(config, snapshot, metrics, worker, last.map(|it| &**it));
            let listener = Rc::new(listener);
            for endpoint in config.endpoints() {
                view.by_endpoint.insert(endpoint, Rc::clone(&listener));
            }
            view.listeners.insert(config.id, listener);
        }
        view.upstreams = snapshot
            .pools
            .values()
            .flat_map(|pool| &pool.members)
            .map(Key::shared)
            .collect();
        view
    }

    pub(crate) fn listener(&self, id: ListenerId) -> Option<Rc<ListenerView>> {
        self.listeners.get(&id).cloned()
    }

    pub(crate) fn at(&self, endpoint: Endpoint) -> Option<Rc<ListenerView>> {
        self.by_endpoint.get(&endpoint).cloned()
    }

    /// Limits may have changed: whoever waits for room looks again.
    pub(crate) fn wake_waiting(&self) {
        for listener in self.listeners.values() {
            listener.room.freed.notify_waiters();
        }
    }

    /// Notes what another worker or the other amphora has learned.
    pub(crate) fn learn(&self, learned: &Learned) {
        let (listener, pool) = learned.place;
        if let Some(pool) = self.listeners.get(&listener).and_then(|it| it.pool(pool)) {
            pool.ties.borrow_mut().learn(&learned.key, learned.member);
        }
    }
}

impl ListenerView {
    fn new(
        config: &Arc<ListenerConfig>,
        snapshot: &Snapshot,
        metrics: &ListenerMetrics,
        worker: usize,
        last: Option<&Self>,
    ) -> Self {
        let nothing = PoolMetrics::default();
        let pools = config.pools().filter_map(|id| {
            let pool = snapshot.pools.get(&id)?;
            let last = last.and_then(|listener| listener.pool(id));
            let metrics = metrics.pools.get(&id).unwrap_or(&nothing);
            Some((id, PoolView::new(pool, metrics, worker, last)))
        });
        Self {
            pools: pools.collect(),
            config: Arc::clone(config),
            counters: metrics.workers.get(worker).cloned().unwrap_or_default(),
            room: Arc::clone(&metrics.room),
        }
    }

    pub(crate) fn pool(&self, id: PoolId) -> Option<&PoolView> {
        self.pools.get(&id)
    }
}

impl PoolView {
    /// Balancing goes on where it stood if the members are the same: a change elsewhere must not send
    /// everyone's next request to the first member. Ties outlive every change but one of their kind.
    fn new(
        config: &Arc<PoolConfig>,
        metrics: &PoolMetrics,
        worker: usize,
        last: Option<&Self>,
    ) -> Self {
        let shares = |pool: &PoolConfig| -> Vec<_> {
            pool.members
                .iter()
                .map(|member| (member.id, member.weight, member.backup))
                .collect()
        };
        let same = |last: &&Self| {
            shares(&last.config) == shares(config) && last.config.algorithm == config.algorithm
        };
        let balance = last.filter(same).map_or_else(
            || Balance::new(config),
            |last| last.balance.borrow().clone(),
        );
        let load = |id: MemberId| {
            let before = last.and_then(|last| {
                let index = last.config.members.iter().position(|it| it.id == id)?;
                last.loads.get(index).cloned()
            });
            before.unwrap_or_else(|| {
                let workers = metrics.members.get(&id);
                let counters = workers.and_then(|workers| workers.get(worker));
                Rc::new(Load::new(counters.cloned().unwrap_or_default()))
            })
        };
        let ties = last
            .filter(|last| last.config.persistence == config.persistence)
            .map(|last| Rc::clone(&last.ties))
            .unwrap_or_default();
        ties.borrow_mut()
            .retain(|id| config.members.iter().any(|member| member.id == id));
        Self {
            loads: config
                .members
                .iter()
                .map(|member| load(member.id))
                .collect(),
            counters: metrics.workers.get(worker).cloned().unwrap_or_default(),
            config: Arc::clone(config),
            balance: RefCell::new(balance),
            ties,
        }
    }

    /// Index of the member for what has no tie; none of `tried`.
    pub(crate) fn next(&self, client: SocketAddr, tried: &[usize]) -> Option<usize> {
        let mut balance = self.balance.borrow_mut();
        balance.next(&self.config, &self.loads, client, tried)
    }

    /// The member with this id, if it takes clients that are tied to it.
    pub(crate) fn tied(&self, id: MemberId) -> Option<usize> {
        let members = &self.config.members;
        let index = members.iter().position(|member| member.id == id)?;
        let member = members.get(index)?;
        member.health.is_usable().then_some(index)
    }

    /// The table of ties, for the pools that have one.
    pub(crate) fn ties(&self) -> &RefCell<Ties> {
        &self.ties
    }
}
