//! ROUND_ROBIN: smooth weighted, over the members that are usable right now.

use super::eligible;
use crate::config::PoolConfig;

/// Where a pool's round stands: one number a member.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    current: Vec<i64>,
}

impl Round {
    pub(super) fn new(members: usize) -> Self {
        Self {
            current: vec![0; members],
        }
    }

    pub(super) fn next(&mut self, pool: &PoolConfig, tried: &[usize]) -> Option<usize> {
        let mut total = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for (index, member) in eligible(pool, tried) {
            let Some(current) = self.current.get_mut(index) else {
                continue;
            };
            let weight = i64::from(member.weight);
            *current += weight;
            total += weight;
            if best.is_none_or(|(_, most)| *current > most) {
                best = Some((index, *current));
            }
        }
        let (index, _) = best?;
        if let Some(chosen) = self.current.get_mut(index) {
            *chosen -= total;
        }
        Some(index)
    }
}
