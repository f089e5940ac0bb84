//! The decision walked through what can happen, against a small model of the processes.

use std::time::Duration;

use lb_common::{
    heartbeat::{BUSY_PERIOD_NS, HeartbeatPage, deadline_word},
    maps::SteerWord,
};

use super::{Action, Planned, Situation, View, decide};
use crate::supervisor::{Event, State};

const SECOND: u64 = 1_000_000_000;

/// Amphorae and words; carries out what is decided as a carrier would.
#[derive(Clone, Debug)]
struct World {
    amphorae: Vec<View>,
    steer: SteerWord,
    latch: u64,
    wanted: bool,
    planned: Option<Planned>,
    now_ns: u64,
    told: Vec<Action>,
}

fn view(index: u16, state: State) -> View {
    View {
        index,
        state,
        link: true,
        heartbeat: None,
        hung: false,
        fresh: false,
        connections: None,
    }
}

impl World {
    /// A pair whose first is active and whose second is standby.
    fn pair() -> Self {
        let mut world = Self {
            amphorae: vec![view(1, State::Starting), view(2, State::Starting)],
            steer: SteerWord::default(),
            latch: 0,
            wanted: false,
            planned: None,
            now_ns: 1_000 * SECOND,
            told: Vec::new(),
        };
        world.event(1, Event::Applied);
        world.event(2, Event::Applied);
        assert_eq!((world.steer.active, world.steer.standby), (1, 2));
        world.told.clear();
        world
    }

    fn amphora(&mut self, index: u16) -> &mut View {
        self.amphorae
            .iter_mut()
            .find(|view| view.index == index)
            .unwrap()
    }

    fn event(&mut self, index: u16, event: Event) {
        let view = self.amphora(index);
        view.state = view.state.next(event);
        if event == Event::Start {
            view.fresh = true;
            view.hung = false;
            view.link = true;
        }
        self.settle();
    }

    /// Asks until there is nothing left to do.
    fn settle(&mut self) {
        for _ in 0..8 {
            let actions = decide(&Situation {
                amphorae: &self.amphorae,
                steer: self.steer,
                latch: self.latch,
                wanted: self.wanted,
                planned: self.planned,
                drain_timeout: Duration::from_secs(30),
                now_ns: self.now_ns,
            });
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.told.push(action);
                self.carry_out(action);
            }
        }
        panic!("it does not settle: {self:?}");
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Steer(word) => {
                assert_ne!(word.active, word.standby, "{self:?}");
                if word.active != self.steer.active {
                    assert_ne!(word.epoch, self.steer.epoch, "a switch is a new epoch");
                } else {
                    assert_eq!(word.epoch, self.steer.epoch);
                }
                self.steer = word;
            }
            Action::Kill(index) => {
                let view = self.amphora(index);
                view.state = view.state.next(Event::Kill);
            }
            Action::Drain(index, on) => {
                let view = self.amphora(index);
                view.connections = None;
                view.state = view
                    .state
                    .next(if on { Event::Drain } else { Event::Undrain });
            }
            Action::Planned(planned) => {
                if matches!(planned, Some(Planned::Refresh)) || self.planned.is_none() {
                    self.amphorae.iter_mut().for_each(|view| view.fresh = false);
                }
                self.planned = planned;
            }
            Action::Done => self.wanted = false,
        }
    }

    fn restart(&mut self, index: u16) {
        self.event(index, Event::Exited);
        self.event(index, Event::Start);
        self.event(index, Event::Applied);
    }
}

#[test]
fn a_process_that_ends_is_left_at_once_and_becomes_the_standby() {
    let mut world = World::pair();
    let epoch = world.steer.epoch;
    world.event(1, Event::Exited);
    assert_eq!((world.steer.active, world.steer.standby), (2, 0));
    assert_eq!(world.steer.epoch, epoch + 1);
    world.restart(1);
    assert_eq!(
        (world.steer.active, world.steer.standby),
        (2, 1),
        "no fail-back"
    );
    assert!(
        !world
            .told
            .iter()
            .any(|action| matches!(action, Action::Kill(_)))
    );
}

#[test]
fn what_xdp_decided_is_adopted_and_the_one_it_left_is_ended() {
    let mut world = World::pair();
    world.latch = world.steer.epoch.into();
    world.settle();
    assert_eq!((world.steer.active, world.steer.standby), (2, 0));
    assert_eq!(world.amphora(1).state, State::Dying);
    let word = world.steer;
    world.settle();
    assert_eq!(world.steer, word, "adopted once");
    world.restart(1);
    assert_eq!((world.steer.active, world.steer.standby), (2, 1));
}

#[test]
fn a_link_that_goes_down_is_left_and_rebuilt() {
    let mut world = World::pair();
    world.amphora(1).link = false;
    world.settle();
    assert_eq!(world.steer.active, 2);
    assert_eq!(world.amphora(1).state, State::Dying);
    let mut world = World::pair();
    world.amphora(2).link = false;
    world.settle();
    assert_eq!((world.steer.active, world.steer.standby), (1, 0));
    assert_eq!(world.amphora(2).state, State::Dying);
}

#[test]
fn both_frozen_changes_nothing_and_one_frozen_is_left() {
    let page = |stamped: u64| HeartbeatPage {
        deadline_ns: deadline_word(stamped, true),
        alive_since_ns: 1,
        _pad: [0; 6],
        traffic_ns: 0,
        _pad2: [0; 7],
    };
    let mut world = World::pair();
    let frozen_at = world.now_ns;
    world.now_ns += SECOND / 2;
    world.amphora(1).heartbeat = Some(page(frozen_at));
    world.amphora(2).heartbeat = Some(page(frozen_at));
    world.settle();
    assert!(world.told.is_empty(), "{:?}", world.told);
    world.amphora(2).heartbeat = Some(page(frozen_at + SECOND / 2 - BUSY_PERIOD_NS));
    world.settle();
    assert_eq!((world.steer.active, world.steer.standby), (2, 0));
    assert_eq!(world.amphora(1).state, State::Dying);
}

#[test]
fn with_nobody_left_whoever_serves_first_is_active() {
    let mut world = World::pair();
    world.event(2, Event::Exited);
    world.event(1, Event::Exited);
    assert_eq!(world.steer.active, 1, "nobody better");
    world.event(2, Event::Start);
    world.event(2, Event::Applied);
    assert_eq!(world.steer.active, 2);
}

#[test]
fn planned_failover_refreshes_drains_and_renews() {
    let mut world = World::pair();
    world.wanted = true;
    world.settle();
    assert_eq!(world.steer.standby, 0, "nobody to fail over to meanwhile");
    assert_eq!(world.amphora(2).state, State::Dying);
    assert_eq!(world.steer.active, 1);
    world.restart(2);
    assert!(world.steer.draining);
    assert_eq!((world.steer.active, world.steer.standby), (1, 2));
    assert_eq!(world.amphora(1).state, State::Draining);

    world.amphora(1).connections = Some(0);
    world.settle();
    assert!(world.steer.draining, "not before the least time");
    world.now_ns += 2 * SECOND;
    world.amphora(1).connections = Some(3);
    world.settle();
    assert!(world.steer.draining, "not while it has connections");
    world.amphora(1).connections = Some(0);
    world.settle();
    assert_eq!((world.steer.active, world.steer.standby), (2, 0));
    assert!(!world.steer.draining && world.wanted);
    assert_eq!(world.amphora(1).state, State::Dying);
    world.restart(1);
    assert_eq!((world.steer.active, world.steer.standby), (2, 1));
    assert!(!world.wanted, "told when all are new");
    assert_eq!(world.planned, None);
}

#[test]
fn drain_ends_at_its_deadline() {
    let mut world = World::pair();
    world.wanted = true;
    world.settle();
    world.restart(2);
    world.amphora(1).connections = Some(1);
    world.now_ns += 29 * SECOND;
    world.settle();
    assert!(world.steer.draining);
    world.now_ns += 2 * SECOND;
    world.settle();
    assert_eq!(world.steer.active, 2);
}

#[test]
fn planned_failover_survives_a_death_at_any_step() {
    for victim in [1, 2] {
        for step in 0..4 {
            let mut world = World::pair();
            world.wanted = true;
            world.settle();
            let mut dead = false;
            for round in 0..40 {
                if round == step && !dead {
                    dead = true;
                    world.event(victim, Event::Exited);
                }
                for index in [1, 2] {
                    match world.amphora(index).state {
                        State::Dying => world.event(index, Event::Exited),
                        State::Stopped => world.event(index, Event::Start),
                        State::Starting => world.event(index, Event::Applied),
                        State::Draining => world.amphora(index).connections = Some(0),
                        State::Ready => {}
                    }
                }
                world.now_ns += SECOND;
                world.settle();
            }
            assert!(!world.wanted, "victim {victim} at step {step}: {world:?}");
            assert_ne!(world.steer.standby, 0);
        }
    }
}

#[test]
fn agent_restarted_in_the_middle_of_a_drain_goes_on_with_it() {
    let mut world = World::pair();
    world.wanted = true;
    world.settle();
    world.restart(2);
    // What a new agent knows: the words and the processes.
    world.planned = None;
    world.amphora(1).state = State::Ready;
    world.settle();
    assert!(matches!(world.planned, Some(Planned::Drain { .. })));
    assert_eq!(world.amphora(1).state, State::Draining);
}

#[test]
fn the_only_one_is_started_anew() {
    let mut world = World::pair();
    world.amphorae.truncate(1);
    world.settle();
    assert_eq!(world.steer.standby, 0);
    world.wanted = true;
    world.settle();
    assert_eq!(world.amphora(1).state, State::Dying);
    world.restart(1);
    assert!(!world.wanted);
    assert_eq!(world.steer.active, 1);
}

#[test]
fn whatever_is_seen_it_settles_on_someone_who_serves() {
    let words = [(0, 0), (1, 0), (1, 2), (2, 1), (2, 0)];
    let plans = [
        None,
        Some(Planned::Refresh),
        Some(Planned::Drain { since_ns: 0 }),
        Some(Planned::Renew),
    ];
    for first in State::ALL {
        for second in State::ALL {
            for bits in 0..64_u32 {
                for (active, standby) in words {
                    for planned in plans {
                        let bit = |n: u32| bits >> n & 1 == 1;
                        let mut world = World::pair();
                        world.amphorae = vec![view(1, first), view(2, second)];
                        world.amphora(1).link = bit(0);
                        world.amphora(2).link = bit(1);
                        world.amphora(1).hung = bit(2);
                        world.wanted = bit(3);
                        world.steer = SteerWord {
                            active,
                            standby,
                            epoch: 7,
                            draining: bit(4) && standby != 0,
                        };
                        world.latch = if bit(5) && standby != 0 { 7 } else { 3 };
                        let latched = world.latch == 7;
                        world.planned = planned;
                        let before = world.clone();
                        world.settle();
                        let serves = |world: &World, index: u16| {
                            world
                                .amphorae
                                .iter()
                                .any(|v| v.index == index && v.usable())
                        };
                        let someone = serves(&before, 1) || serves(&before, 2);
                        let ended = |index| world.told.contains(&Action::Kill(index));
                        assert!(
                            !someone
                                || latched
                                || serves(&world, world.steer.active)
                                || ended(world.steer.active),
                            "{before:?} became {world:?}"
                        );
                    }
                }
            }
        }
    }
}
