//! LEAST_CONNECTIONS: the fewest open exchanges for its weight; among equals the one not chosen for
//! longest.
//!
//! As HAProxy's `leastconn`, a member with nothing open comes before any other, whatever its weight.

use std::rc::Rc;

use super::{Load, eligible};
use crate::config::PoolConfig;

/// Weights go up to 256: finer than one exchange at the largest.
const SCALE: u64 = 256;

/// When each member was chosen last, by a count of choices.
#[derive(Clone, Debug)]
pub(crate) struct Least {
    chosen: Vec<u64>,
    choices: u64,
}

impl Least {
    pub(super) fn new(members: usize) -> Self {
        Self {
            chosen: vec![0; members],
            choices: 0,
        }
    }

    pub(super) fn next(
        &mut self,
        pool: &PoolConfig,
        loads: &[Rc<Load>],
        tried: &[usize],
    ) -> Option<usize> {
        let key = |index: usize, weight: u16| {
            let open = loads.get(index).map_or(0, |load| load.open());
            let burden = match open {
                0 => 0,
                open => (open + 1) * SCALE / u64::from(weight.max(1)),
            };
            (burden, self.chosen.get(index).copied().unwrap_or(0))
        };
        let (index, _) =
            eligible(pool, tried).min_by_key(|(index, member)| key(*index, member.weight))?;
        self.choices += 1;
        if let Some(chosen) = self.chosen.get_mut(index) {
            *chosen = self.choices;
        }
        Some(index)
    }
}
