//! Maglev consistent hashing (Eisenbud and others, NSDI 2016) with weights.
//!
//! Every member has a permutation of the slots that depends on its id alone; members take turns in
//! claiming the next free slot of theirs. The table depends on the set of (id, weight), not on their
//! order, and losing one member of N moves little more than 1/N of the slots. A member of weight w
//! claims in w of every `w_max` turns.
//!
//! Pure and without allocation: the caller brings the entries, which double as scratch space.

use crate::maps::MAGLEV_SLOTS;

const SLOTS: u64 = MAGLEV_SLOTS as u64;

/// One member on its way into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    id: u64,
    weight: u32,
    index: u16,
    next: u32,
    skip: u32,
    credit: u64,
}

impl Entry {
    /// A member: `id` is what its place depends on (the same on every host), `index` what goes into
    /// the table (0 is nobody), `weight` its share. Weight 0 takes no slots.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "below MAGLEV_SLOTS")]
    pub const fn new(id: &[u8; 16], weight: u32, index: u16) -> Self {
        let high = u64::from_le_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]]);
        let low =
            u64::from_le_bytes([id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]]);
        let first = mix(high ^ mix(low));
        let second = mix(first ^ 0x5851_f42d_4c95_7f2d);
        Self {
            id: first,
            weight,
            index,
            next: (first % SLOTS) as u32,
            skip: (second % (SLOTS - 1) + 1) as u32,
            credit: 0,
        }
    }
}

const fn mix(h: u64) -> u64 {
    let h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// Fills the first [`MAGLEV_SLOTS`] of `table` with member indices (host order); 0 everywhere when
/// no entry has a weight. The entries are left sorted and spent.
pub fn fill(entries: &mut [Entry], table: &mut [u16]) {
    let table = table.get_mut(..MAGLEV_SLOTS).unwrap_or_default();
    table.fill(0);
    let heaviest = entries.iter().map(|entry| entry.weight).max().unwrap_or(0);
    if heaviest == 0 || table.is_empty() {
        return;
    }
    entries.sort_unstable_by_key(|entry| (entry.id, entry.index));
    let mut left = table.len();
    while left > 0 {
        for entry in entries.iter_mut() {
            entry.credit += u64::from(entry.weight);
            if entry.credit < u64::from(heaviest) {
                continue;
            }
            entry.credit -= u64::from(heaviest);
            claim(entry, table);
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
}

/// Gives the entry the next slot of its permutation that is free. There is one: the skip is prime
/// to the number of slots, and the caller counts.
#[expect(clippy::cast_possible_truncation, reason = "below MAGLEV_SLOTS")]
fn claim(entry: &mut Entry, table: &mut [u16]) {
    for _ in 0..MAGLEV_SLOTS {
        let slot = entry.next;
        let next = u64::from(slot) + u64::from(entry.skip);
        entry.next = (if next < SLOTS { next } else { next - SLOTS }) as u32;
        if let Some(free) = table.get_mut(slot as usize).filter(|index| **index == 0) {
            *free = entry.index;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        id[8..].copy_from_slice(&mix(n).to_le_bytes());
        id
    }

    fn table(members: &[(u64, u32, u16)]) -> Vec<u16> {
        let mut entries: Vec<_> = members
            .iter()
            .map(|&(n, weight, index)| Entry::new(&id(n), weight, index))
            .collect();
        let mut table = vec![7; MAGLEV_SLOTS + 3];
        fill(&mut entries, &mut table);
        table.truncate(MAGLEV_SLOTS);
        table
    }

    fn share(table: &[u16], index: u16) -> f64 {
        let count = table.iter().filter(|slot| **slot == index).count();
        f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(table.len()).unwrap())
    }

    #[test]
    fn no_weight_no_member() {
        assert!(table(&[]).iter().all(|slot| *slot == 0));
        assert!(table(&[(1, 0, 5)]).iter().all(|slot| *slot == 0));
    }

    #[test]
    fn shares_follow_weights() {
        let table = table(&[(1, 1, 1), (2, 2, 2), (3, 0, 3), (4, 5, 4)]);
        for (index, weight) in [(1, 1.0), (2, 2.0), (3, 0.0), (4, 5.0)] {
            assert!(
                (share(&table, index) - weight / 8.0).abs() < 0.002,
                "{index}"
            );
        }
    }

    #[test]
    fn order_of_members_does_not_matter() {
        assert_eq!(
            table(&[(1, 3, 1), (2, 2, 2), (9, 1, 3)]),
            table(&[(9, 1, 3), (1, 3, 1), (2, 2, 2)])
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn balanced_and_full(seed in any::<u64>(), count in 1u16..200) {
            let members: Vec<_> = (1..=count).map(|i| (seed ^ u64::from(i), 1, i)).collect();
            let table = table(&members);
            let even = 1.0 / f64::from(count);
            for index in 1..=count {
                let share = share(&table, index);
                prop_assert!((share - even).abs() <= 2.0 / 65537.0, "{share} of {even}");
            }
        }

        #[test]
        fn losing_one_moves_little_else(seed in any::<u64>(), count in 2u16..64, lost in any::<u16>()) {
            let members: Vec<_> = (1..=count).map(|i| (seed ^ u64::from(i), 1, i)).collect();
            let lost = lost % count + 1;
            let fewer: Vec<_> = members.iter().copied().filter(|m| m.2 != lost).collect();
            let (before, after) = (table(&members), table(&fewer));
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(old, new)| old != new && **old != lost)
                .count();
            // The paper: a few per cent beyond the lost member's own share.
            prop_assert!(moved < MAGLEV_SLOTS / 20, "{moved}");
        }
    }
}
