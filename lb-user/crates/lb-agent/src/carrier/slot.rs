//! One amphora as its carrier sees it.

use std::time::Duration;

use lb_common::heartbeat::is_dead;
use lb_model::{
    amphora::ListenerFailure,
    id::AmphoraId,
    spec::{ListenerReport, MemberReport},
};
use lb_sys::heartbeat::HeartbeatReader;
use tokio::time::Instant;

use crate::{
    edge::{AmphoraNetwork, Veths},
    failover::View,
    supervisor::{Amphora, Event, State},
};

/// First pause before a process that failed is started again; doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A process that ran this long has not failed at once.
const STABLE: Duration = Duration::from_secs(10);
/// Looks at heartbeats in a row that found it dead before it counts as hung: two seconds.
const HUNG_LOOKS: u32 = 8;
/// A process that does not serve within this after its start is ended.
pub(super) const START_LIMIT: Duration = Duration::from_secs(15);
/// For this long a process that starts for the first time is waited for.
pub(super) const FIRST_START: Duration = Duration::from_secs(5);

/// Its network as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) wanted: AmphoraNetwork,
    pub(crate) veths: Veths,
}

/// Reports made sooner after the beginning of a drain do not count: a handshake that was under way
/// may not have become a connection yet.
const DRAIN_SETTLE: Duration = Duration::from_millis(500);

/// One amphora.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: AmphoraId,
    /// Index in the maps.
    pub(super) index: Option<u16>,
    pub(super) amphora: Amphora,
    /// Whether there was a process to adopt is known.
    pub(super) known: bool,
    pub(super) state: State,
    pub(super) pid: Option<u32>,
    pub(super) network: Option<Network>,
    /// The network must be looked at before the next start.
    pub(super) stale: bool,
    pub(super) link: bool,
    pub(super) heartbeat: Option<HeartbeatReader>,
    pub(super) dead_looks: u32,
    /// Started since the planned failover under way began.
    pub(super) fresh: bool,
    /// Both amphorae were asked for their ties since it began.
    pub(super) shares_ties: bool,
    /// Newest generation it serves.
    pub(super) applied: u64,
    pub(super) failures: Vec<ListenerFailure>,
    pub(super) connections: Option<u64>,
    /// When it was told that it is being left.
    pub(super) drained_at: Option<Instant>,
    pub(super) listeners: Vec<ListenerReport>,
    pub(super) members: Vec<MemberReport>,
    pub(super) started_at: Option<Instant>,
    pub(super) starts: u32,
    backoff: Duration,
    not_before: Option<Instant>,
}

impl Slot {
    pub(super) fn new(id: AmphoraId, amphora: Amphora) -> Self {
        Self {
            id,
            index: None,
            amphora,
            known: false,
            state: State::Stopped,
            pid: None,
            network: None,
            stale: false,
            link: true,
            heartbeat: None,
            dead_looks: 0,
            fresh: false,
            shares_ties: false,
            applied: 0,
            failures: Vec::new(),
            connections: None,
            drained_at: None,
            listeners: Vec::new(),
            members: Vec::new(),
            started_at: None,
            starts: 0,
            backoff: Duration::ZERO,
            not_before: None,
        }
    }

    /// For the decision; `None` while it has no index.
    pub(super) fn view(&self) -> Option<View> {
        Some(View {
            index: self.index?,
            state: self.state,
            link: self.link,
            heartbeat: self.heartbeat.as_ref().map(HeartbeatReader::read),
            hung: self.dead_looks >= HUNG_LOOKS && self.state.serves(),
            fresh: self.fresh,
            connections: self.connections,
        })
    }

    pub(super) fn event(&mut self, event: Event) {
        let next = self.state.next(event);
        if next != self.state {
            tracing::debug!(amphora = %self.id, from = ?self.state, to = ?next, "amphora");
            self.state = next;
        }
    }

    /// Looks at its heartbeat. `regular`: we ourselves were not paused since the last look.
    pub(super) fn look(&mut self, now_ns: u64, regular: bool) {
        let dead = self
            .heartbeat
            .as_ref()
            .is_some_and(|page| is_dead(page.read().deadline_ns, now_ns));
        self.dead_looks = if dead && regular && self.state.serves() {
            self.dead_looks.saturating_add(1)
        } else {
            0
        };
    }

    /// It takes too long to start.
    pub(super) fn overdue(&self) -> bool {
        self.state == State::Starting && self.age().is_some_and(|age| age > START_LIMIT)
    }

    /// Since the process was started by this agent.
    pub(super) fn age(&self) -> Option<Duration> {
        self.started_at.map(|at| at.elapsed())
    }

    /// It may be started now.
    pub(super) fn may_start(&self) -> bool {
        self.known
            && self.state == State::Stopped
            && self.index.is_some()
            && self.network.is_some()
            && !self.stale
            && self.not_before.is_none_or(|at| at <= Instant::now())
    }

    /// Notes a start.
    pub(super) fn starting(&mut self) {
        self.started_at = Some(Instant::now());
        self.starts = self.starts.saturating_add(1);
        self.fresh = true;
        self.dead_looks = 0;
        self.applied = 0;
        self.shares_ties = false;
        self.failures.clear();
        self.connections = None;
        self.drained_at = None;
        self.event(Event::Start);
    }

    /// Notes how many client connections it has.
    pub(super) fn connected(&mut self, connections: u64) {
        let settled = self
            .drained_at
            .is_some_and(|at| at.elapsed() >= DRAIN_SETTLE);
        self.connections = settled.then_some(connections);
    }

    /// Notes the end of its process. One that failed soon after its start is started again later.
    pub(super) fn ended(&mut self) {
        let soon = self.age().is_some_and(|age| age < STABLE);
        self.event(Event::Exited);
        self.pid = None;
        self.dead_looks = 0;
        self.backoff = if soon {
            (self.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX)
        } else {
            Duration::ZERO
        };
        self.not_before = Some(Instant::now() + self.backoff);
        // Its links may have gone with whatever ended it.
        self.stale = true;
    }
}
