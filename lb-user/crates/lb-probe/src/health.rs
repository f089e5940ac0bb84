//! A member's health: consecutive results counted both ways (contract 10.6).
//!
//! ```text
//! Fragile  -- failed --> Down        the first check of a member nobody knows decides alone
//! Fragile  -- passed --> Up
//! Up       -- failed × max_retries_down --> Down
//! Down     -- passed × max_retries      --> Up
//! ```

use std::sync::atomic::{AtomicU16, Ordering};

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The member answered as expected, in time.
    Passed,
    /// Anything else.
    Failed,
}

/// How many results in a row turn a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `max_retries`: passes that bring it up.
    pub rise: u8,
    /// `max_retries_down`: failures that take it down.
    pub fall: u8,
}

/// What is known of a monitored member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Never checked: used, but the first failed check takes it down.
    Fragile,
    /// Up.
    Up {
        /// Failures in a row so far.
        failures: u8,
    },
    /// Down.
    Down {
        /// Passes in a row so far.
        passes: u8,
    },
}

impl Health {
    /// Where a member starts: with what was last known of it, else fragile.
    #[must_use]
    pub const fn initial(last_known_up: Option<bool>) -> Self {
        match last_known_up {
            Some(true) => Self::Up { failures: 0 },
            Some(false) => Self::Down { passes: 0 },
            None => Self::Fragile,
        }
    }

    /// The state after a check.
    #[must_use]
    pub const fn next(self, outcome: Outcome, thresholds: Thresholds) -> Self {
        match (self, outcome) {
            (Self::Fragile | Self::Up { .. }, Outcome::Passed) => Self::Up { failures: 0 },
            (Self::Fragile | Self::Down { .. }, Outcome::Failed) => Self::Down { passes: 0 },
            (Self::Up { failures }, Outcome::Failed) => {
                let failures = failures.saturating_add(1);
                if failures >= thresholds.fall {
                    Self::Down { passes: 0 }
                } else {
                    Self::Up { failures }
                }
            }
            (Self::Down { passes }, Outcome::Passed) => {
                let passes = passes.saturating_add(1);
                if passes >= thresholds.rise {
                    Self::Up { failures: 0 }
                } else {
                    Self::Down { passes }
                }
            }
        }
    }

    /// What is reported: nothing before the first check has ended.
    #[must_use]
    pub const fn reported(self) -> Option<bool> {
        match self {
            Self::Fragile => None,
            Self::Up { .. } => Some(true),
            Self::Down { .. } => Some(false),
        }
    }
}

const UNMONITORED: u16 = 0;
const FRAGILE: u16 = 0x100;
const UP: u16 = 0x200;
const DOWN: u16 = 0x300;
const KIND: u16 = 0xff00;

/// A member's health as the probe writes it and every worker reads it: one word.
#[derive(Debug)]
pub struct MemberHealth(AtomicU16);

impl MemberHealth {
    /// Of a member nobody probes: always usable.
    #[must_use]
    pub const fn unmonitored() -> Self {
        Self(AtomicU16::new(UNMONITORED))
    }

    /// Of a probed member.
    #[must_use]
    pub const fn monitored(health: Health) -> Self {
        Self(AtomicU16::new(word(health)))
    }

    /// Whether new requests may go there.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.0.load(Ordering::Relaxed) & KIND != DOWN
    }

    /// The state; `None` for a member nobody probes.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        let [kind, count] = self.0.load(Ordering::Relaxed).to_be_bytes();
        match u16::from_be_bytes([kind, 0]) {
            FRAGILE => Some(Health::Fragile),
            UP => Some(Health::Up { failures: count }),
            DOWN => Some(Health::Down { passes: count }),
            _ => None,
        }
    }

    /// Stores the state.
    pub fn set(&self, health: Health) {
        self.0.store(word(health), Ordering::Relaxed);
    }
}

const fn word(health: Health) -> u16 {
    match health {
        Health::Fragile => FRAGILE,
        Health::Up { failures } => UP | failures as u16,
        Health::Down { passes } => DOWN | passes as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_states() -> Vec<Health> {
        let mut states = vec![Health::Fragile];
        states.extend((0..=11).map(|failures| Health::Up { failures }));
        states.extend((0..=11).map(|passes| Health::Down { passes }));
        states
    }

    #[test]
    fn every_pair_of_state_and_outcome_ends_where_the_contract_says() {
        for rise in 1..=10 {
            for fall in 1..=10 {
                let thresholds = Thresholds { rise, fall };
                for state in all_states() {
                    let passed = state.next(Outcome::Passed, thresholds);
                    let failed = state.next(Outcome::Failed, thresholds);
                    match state {
                        Health::Fragile => {
                            assert_eq!(passed, Health::Up { failures: 0 });
                            assert_eq!(failed, Health::Down { passes: 0 });
                        }
                        Health::Up { failures } => {
                            assert_eq!(passed, Health::Up { failures: 0 });
                            assert_eq!(
                                failed.reported(),
                                Some(failures + 1 < fall),
                                "{state:?} fall {fall}"
                            );
                        }
                        Health::Down { passes } => {
                            assert_eq!(failed, Health::Down { passes: 0 });
                            assert_eq!(
                                passed.reported(),
                                Some(passes + 1 >= rise),
                                "{state:?} rise {rise}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn exactly_fall_failures_take_down_and_exactly_rise_passes_bring_up() {
        let thresholds = Thresholds { rise: 2, fall: 3 };
        let mut health = Health::initial(Some(true));
        for _ in 0..2 {
            health = health.next(Outcome::Failed, thresholds);
            assert_eq!(health.reported(), Some(true));
        }
        health = health.next(Outcome::Failed, thresholds);
        assert_eq!(health.reported(), Some(false));
        health = health.next(Outcome::Passed, thresholds);
        assert_eq!(health.reported(), Some(false));
        health = health.next(Outcome::Passed, thresholds);
        assert_eq!(health, Health::Up { failures: 0 });
    }

    #[test]
    fn the_word_holds_every_state() {
        for state in all_states() {
            let cell = MemberHealth::monitored(state);
            assert_eq!(cell.health(), Some(state));
            assert_eq!(cell.is_usable(), state.reported() != Some(false));
        }
        assert_eq!(MemberHealth::unmonitored().health(), None);
        assert!(MemberHealth::unmonitored().is_usable());
    }
}
