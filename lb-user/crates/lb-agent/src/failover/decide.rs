//! The decision, from what is seen to what must be done.
//!
//! A planned failover is a drain. Its steps:
//! 1. [`Planned::Refresh`]: the standby is started anew, so that the failover ends on a process that
//!    is new; it is over when it serves.
//! 2. [`Planned::Drain`]: new connections go to the standby, those that exist stay; over when the
//!    one that is left reports none, or at the deadline.
//! 3. [`Planned::Renew`]: the standby is active, the one that was left is started anew.
//!
//! An unplanned failover in between starts it over: nothing is lost by that but time.

use std::time::Duration;

use lb_common::{
    heartbeat::{HeartbeatPage, is_dead, may_take_over},
    maps::SteerWord,
};

use crate::supervisor::State;

/// A drain lasts at least this long: a handshake whose SYN went to the one that is left, before the
/// drain began, must have the time to become a connection that it reports.
pub const DRAIN_MIN: Duration = Duration::from_secs(1);

/// One amphora as seen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Index in the maps; never 0.
    pub index: u16,
    /// Its process.
    pub state: State,
    /// Its veth in the VIP's network has carrier.
    pub link: bool,
    /// Its heartbeat page; `None`: never mapped.
    pub heartbeat: Option<HeartbeatPage>,
    /// It has missed its deadline for so long that it will not come back.
    pub hung: bool,
    /// Its process was started after the planned failover under way began.
    pub fresh: bool,
    /// Client connections it reported last; `None`: not since it was told to drain.
    pub connections: Option<u64>,
}

impl View {
    /// Packets may be sent to it.
    #[must_use]
    pub const fn usable(&self) -> bool {
        self.state.serves() && self.link && !self.hung
    }
}

/// How far a planned failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// The standby is being started anew.
    Refresh,
    /// New connections go to the standby, since this time.
    Drain {
        /// When the drain began (CLOCK_MONOTONIC).
        since_ns: u64,
    },
    /// The one that was left is being started anew.
    Renew,
}

/// Everything the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The load balancer's amphorae, in the order of its spec.
    pub amphorae: &'a [View],
    /// `STEER` as it is.
    pub steer: SteerWord,
    /// `LATCH` as it is.
    pub latch: u64,
    /// A planned failover is wanted that was not carried out.
    pub wanted: bool,
    /// How far it is.
    pub planned: Option<Planned>,
    /// Longest a drain may take.
    pub drain_timeout: Duration,
    /// CLOCK_MONOTONIC.
    pub now_ns: u64,
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish this.
    Steer(SteerWord),
    /// End a process. Whatever is stopped is started again by its supervisor.
    Kill(u16),
    /// Tell an amphora that it is being left, or not any more.
    Drain(u16, bool),
    /// Remember how far the planned failover is. From `None`, and to [`Planned::Refresh`] again, no
    /// process counts as fresh.
    Planned(Option<Planned>),
    /// The planned failover was carried out.
    Done,
}

/// Decides. To be asked again after its actions were carried out, until it has none.
#[must_use]
pub fn decide(situation: &Situation<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    situation.unplanned(&mut actions);
    if actions.is_empty() {
        situation.standby(&mut actions);
    }
    if actions.is_empty() {
        situation.planned(&mut actions);
    }
    actions
}

impl Situation<'_> {
    fn view(&self, index: u16) -> Option<&View> {
        self.amphorae.iter().find(|view| view.index == index)
    }

    fn active(&self) -> Option<&View> {
        self.view(self.steer.active)
    }

    fn named_standby(&self) -> Option<&View> {
        self.view(self.steer.standby)
    }

    /// XDP has left the active by itself, and nobody has taken note yet.
    fn latched(&self) -> bool {
        self.steer.epoch != 0 && self.latch == u64::from(self.steer.epoch)
    }

    /// 31 bits; 0 means that there never was a word. Never the one that is latched: under an index
    /// that was another load balancer's before, XDP would leave the new active at once.
    fn next_epoch(&self) -> u32 {
        let after = |epoch: u32| match (epoch + 1) & 0x7fff_ffff {
            0 => 1,
            epoch => epoch,
        };
        let next = after(self.steer.epoch);
        if self.latch == u64::from(next) {
            after(next)
        } else {
            next
        }
    }

    fn switch_to(&self, index: u16) -> Action {
        Action::Steer(SteerWord {
            active: index,
            standby: 0,
            epoch: self.next_epoch(),
            draining: false,
        })
    }

    /// What cannot wait: the active is gone.
    fn unplanned(&self, actions: &mut Vec<Action>) {
        let successor = if self.latched() && self.named_standby().is_some() {
            // Whatever became of the standby since: XDP sends to it, and only a new word ends that.
            Some(self.steer.standby)
        } else if self
            .active()
            .is_some_and(|active| active.usable() && !self.is_hanging(active))
        {
            return;
        } else {
            let standby = self.named_standby().filter(|standby| standby.usable());
            let other = || self.amphorae.iter().find(|view| self.may_follow(view));
            standby.or_else(other).map(|view| view.index)
        };
        if let Some(successor) = successor.filter(|index| *index != self.steer.active) {
            actions.push(self.switch_to(successor));
            self.give_up_planned(actions);
        }
        // Also without a successor: ended and started again it may come back to life.
        if let Some(active) = self.active()
            && (self.latched() || active.hung || !active.link || self.is_hanging(active))
        {
            self.kill(active, actions);
        }
    }

    fn may_follow(&self, view: &View) -> bool {
        view.usable() && view.index != self.steer.active
    }

    /// The rule of XDP, for a pair without traffic.
    fn is_hanging(&self, active: &View) -> bool {
        let standby = self.named_standby().filter(|standby| standby.usable());
        let (Some(ours), Some(theirs)) = (
            active.heartbeat,
            standby.and_then(|standby| standby.heartbeat),
        ) else {
            return false;
        };
        is_dead(ours.deadline_ns, self.now_ns)
            && may_take_over(
                ours.deadline_ns,
                theirs.deadline_ns,
                theirs.alive_since_ns,
                self.now_ns,
            )
    }

    fn kill(&self, view: &View, actions: &mut Vec<Action>) {
        if view.state.runs() && view.state != State::Dying {
            actions.push(Action::Kill(view.index));
        }
    }

    fn give_up_planned(&self, actions: &mut Vec<Action>) {
        if self.planned.is_some() {
            actions.push(Action::Planned(None));
        }
    }

    /// Who follows when the active fails.
    fn standby(&self, actions: &mut Vec<Action>) {
        for view in self.amphorae {
            if view.index != self.steer.active && view.state.serves() && (view.hung || !view.link) {
                self.kill(view, actions);
            }
        }
        if self.active().is_none() {
            return;
        }
        let named = self.named_standby().filter(|standby| standby.usable());
        let wanted = named
            .or_else(|| self.amphorae.iter().find(|view| self.may_follow(view)))
            .filter(|view| !self.must_be_refreshed(view));
        let index = wanted.map_or(0, |view| view.index);
        if index == self.steer.standby {
            return;
        }
        if self.steer.draining {
            // The one that new connections went to is gone: back to the one that is being left.
            actions.push(Action::Drain(self.steer.active, false));
            self.give_up_planned(actions);
        }
        actions.push(Action::Steer(SteerWord {
            standby: index,
            draining: false,
            ..self.steer
        }));
    }

    /// It is about to be started anew, so it is nobody to fail over to.
    fn must_be_refreshed(&self, view: &View) -> bool {
        matches!(self.planned, Some(Planned::Refresh | Planned::Renew)) && !view.fresh
    }

    fn planned(&self, actions: &mut Vec<Action>) {
        let Some(active) = self.active().filter(|active| active.usable()) else {
            return;
        };
        match self.planned {
            None if self.steer.draining => self.resume_drain(active, actions),
            None if self.wanted => self.begin(active, actions),
            None => {}
            Some(Planned::Refresh) => self.refresh(active, actions),
            Some(Planned::Drain { since_ns }) => self.drain(active, since_ns, actions),
            Some(Planned::Renew) => self.renew(active, actions),
        }
    }

    fn others(&self) -> impl Iterator<Item = &View> {
        let active = self.steer.active;
        self.amphorae
            .iter()
            .filter(move |view| view.index != active)
    }

    fn begin(&self, active: &View, actions: &mut Vec<Action>) {
        if self.others().next().is_some() {
            actions.push(Action::Planned(Some(Planned::Refresh)));
        } else {
            // Alone, it can only be started anew, with the gap that brings.
            actions.push(Action::Planned(Some(Planned::Renew)));
            self.kill(active, actions);
        }
    }

    /// An earlier agent began it.
    fn resume_drain(&self, active: &View, actions: &mut Vec<Action>) {
        let since_ns = self.now_ns;
        actions.push(Action::Planned(Some(Planned::Drain { since_ns })));
        actions.push(Action::Drain(active.index, true));
    }

    fn refresh(&self, active: &View, actions: &mut Vec<Action>) {
        for view in self.others().filter(|view| !view.fresh) {
            self.kill(view, actions);
        }
        let standby = self
            .named_standby()
            .filter(|view| view.usable() && view.fresh);
        if actions.is_empty() && standby.is_some() {
            // The word first: whoever connects after the drain message goes to the other one.
            actions.push(Action::Steer(SteerWord {
                draining: true,
                ..self.steer
            }));
            self.resume_drain(active, actions);
        }
    }

    fn drain(&self, active: &View, since_ns: u64, actions: &mut Vec<Action>) {
        let lasted = Duration::from_nanos(self.now_ns.saturating_sub(since_ns));
        let empty = active.connections == Some(0) && lasted >= DRAIN_MIN;
        if !empty && lasted < self.drain_timeout.max(DRAIN_MIN) {
            return;
        }
        let Some(standby) = self.named_standby() else {
            return;
        };
        actions.push(self.switch_to(standby.index));
        actions.push(Action::Planned(Some(Planned::Renew)));
        self.kill(active, actions);
    }

    /// Over when everyone was started anew and serves.
    fn renew(&self, active: &View, actions: &mut Vec<Action>) {
        for view in self.others().filter(|view| !view.fresh) {
            self.kill(view, actions);
        }
        let alone = self.others().next().is_none();
        let standby = self
            .named_standby()
            .is_some_and(|view| view.usable() && view.fresh);
        if standby || (alone && active.fresh) {
            actions.push(Action::Planned(None));
            actions.push(Action::Done);
        }
    }
}
