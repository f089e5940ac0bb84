//! ROUND_ROBIN: smooth weighted, over the members that are usable right now.

use crate::config::PoolConfig;

/// Where a pool's round stands: one number a member.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    current: Vec<i64>,
}

impl Round {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            current: vec![0; members],
        }
    }

    /// The next member's index, none of `tried`. Backups (all of them) only when no primary is
    /// usable. `None`: there is no usable member.
    pub(crate) fn next(&mut self, pool: &PoolConfig, tried: &[usize]) -> Option<usize> {
        let primary_usable = pool
            .members
            .iter()
            .any(|member| !member.backup && member.takes_new());
        let mut total = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for (index, (member, current)) in pool.members.iter().zip(&mut self.current).enumerate() {
            let eligible = member.backup != primary_usable && member.takes_new();
            if !eligible || tried.contains(&index) {
                continue;
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lb_model::{enums::PoolProtocol, id::PoolId};
    use lb_probe::health::{Health, MemberHealth};
    use uuid::Uuid;

    use super::*;
    use crate::config::MemberConfig;

    fn pool(members: &[(u16, bool, bool)]) -> PoolConfig {
        PoolConfig {
            id: PoolId(Uuid::nil()),
            protocol: PoolProtocol::Http,
            tls: None,
            members: members
                .iter()
                .zip(1..)
                .map(|(&(weight, backup, up), port)| MemberConfig {
                    address: ([192, 0, 2, 1], port).into(),
                    source: None,
                    weight,
                    backup,
                    health: Arc::new(MemberHealth::monitored(Health::initial(Some(up)))),
                })
                .collect(),
        }
    }

    fn counts(pool: &PoolConfig, times: usize) -> Vec<usize> {
        let mut round = Round::new(pool.members.len());
        let mut counts = vec![0; pool.members.len()];
        for _ in 0..times {
            if let Some(index) = round.next(pool, &[]) {
                counts[index] += 1;
            }
        }
        counts
    }

    #[test]
    fn shares_are_exactly_the_weights() {
        let pool = pool(&[
            (3, false, true),
            (1, false, true),
            (0, false, true),
            (4, false, true),
        ]);
        assert_eq!(counts(&pool, 80), [30, 10, 0, 40]);
    }

    #[test]
    fn down_members_are_skipped_and_backups_share_when_no_primary_is_left() {
        let some_up = pool(&[(1, false, false), (1, false, true), (1, true, true)]);
        assert_eq!(counts(&some_up, 4), [0, 4, 0]);
        let none_up = pool(&[
            (1, false, false),
            (0, false, true),
            (1, true, true),
            (1, true, true),
        ]);
        assert_eq!(counts(&none_up, 4), [0, 0, 2, 2]);
        assert_eq!(counts(&pool(&[(1, false, false)]), 4), [0]);
    }

    #[test]
    fn a_tried_member_is_not_chosen_again() {
        let pool = pool(&[(9, false, true), (1, false, true)]);
        let mut round = Round::new(2);
        assert_eq!(round.next(&pool, &[0]), Some(1));
        assert_eq!(round.next(&pool, &[0, 1]), None);
    }
}
