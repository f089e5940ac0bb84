//! Carrying out what [`crate::failover`] decides.

use std::sync::Arc;

use lb_sys::clock::monotonic_ns;

use super::Carrier;
use crate::{
    failover::{Action, Planned, Situation, View, decide},
    supervisor::{Command, Event},
};

/// Rounds of decision and action after one input; it takes three at most.
const ROUNDS_MAX: usize = 8;

impl Carrier {
    /// Decides and acts until there is nothing left to do. Does not wait for anything.
    pub(super) fn settle(&mut self) {
        // Before it is known which processes there are, a decision would be about nobody.
        if self.places.is_none() || self.slots.iter().any(|slot| !slot.known) {
            return;
        }
        for _ in 0..ROUNDS_MAX {
            let actions = self.decide();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                tracing::debug!(load_balancer = %self.spec.id, ?action, "failover");
                self.carry_out(action);
            }
        }
        tracing::error!(load_balancer = %self.spec.id, "the decision does not settle");
    }

    fn decide(&self) -> Vec<Action> {
        // Before the heartbeats are read: were this thread put off between the two, an amphora that
        // stamps in time would look late.
        let now_ns = monotonic_ns();
        let views: Vec<View> = self.slots.iter().filter_map(super::Slot::view).collect();
        let latch = self.load_balancer_index().map_or(0, |index| {
            self.host.datapath.read_latch(index).unwrap_or_default()
        });
        decide(&Situation {
            amphorae: &views,
            steer: self.steer,
            latch,
            wanted: self.spec.failover_count > self.failovers,
            planned: self.planned,
            drain_timeout: self.host.config.drain_timeout,
            now_ns,
        })
    }

    fn load_balancer_index(&self) -> Option<u32> {
        self.places.as_ref().map(|places| places.load_balancer)
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Steer(word) => self.steer_to(word),
            Action::Kill(index) => {
                if let Some(slot) = self.slot(index) {
                    slot.event(Event::Kill);
                    slot.amphora.tell(Command::Kill);
                }
            }
            Action::Drain(index, draining) => {
                if let Some(slot) = self.slot(index) {
                    slot.connections = None;
                    slot.drained_at = draining.then(tokio::time::Instant::now);
                    slot.event(if draining {
                        Event::Drain
                    } else {
                        Event::Undrain
                    });
                    slot.amphora.tell(Command::Drain(draining));
                }
            }
            Action::Planned(planned) => {
                if self.planned.is_none() || matches!(planned, Some(Planned::Refresh)) {
                    self.slots.iter_mut().for_each(|slot| slot.fresh = false);
                }
                if self.planned != planned {
                    tracing::info!(load_balancer = %self.spec.id, ?planned, "planned failover");
                }
                self.planned = planned;
            }
            Action::Done => {
                self.failovers = self.spec.failover_count;
                self.note_failovers();
                tracing::info!(load_balancer = %self.spec.id, "planned failover done");
            }
        }
    }

    fn slot(&mut self, index: u16) -> Option<&mut super::Slot> {
        self.slots.iter_mut().find(|slot| slot.index == Some(index))
    }

    fn steer_to(&mut self, word: lb_common::maps::SteerWord) {
        let Some(index) = self.load_balancer_index() else {
            return;
        };
        if let Err(error) = self.host.datapath.write_steer(index, word) {
            tracing::error!(%error, "cannot say who is active");
            return;
        }
        let before = std::mem::replace(&mut self.steer, word);
        if before.active != word.active {
            let id = |index| {
                self.slots
                    .iter()
                    .find(|slot| slot.index == Some(index))
                    .map(|s| s.id)
            };
            tracing::info!(
                load_balancer = %self.spec.id,
                from = ?id(before.active),
                to = ?id(word.active),
                epoch = word.epoch,
                "active amphora"
            );
        }
        if before.draining && !word.draining {
            self.forget_drain([before.active, before.standby]);
        }
    }

    /// Records of a drain that is over are of no use.
    fn forget_drain(&self, amphorae: [u16; 2]) {
        let datapath = Arc::clone(&self.host.datapath);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = datapath.clear_drains(&amphorae) {
                tracing::warn!(%error, "cannot clear the records of a drain");
            }
        });
    }

    /// Keeps how many planned failovers were carried out.
    pub(super) fn note_failovers(&self) {
        let kept = self.host.disk.put_failovers(self.spec.id, self.failovers);
        if let Err(error) = kept {
            tracing::error!(%error, "a planned failover may be carried out again");
        }
    }
}
