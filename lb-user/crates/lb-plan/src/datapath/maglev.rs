//! Tables of pools as the members they were filled from: for hashing a Maglev table, for the other
//! algorithms a round of turns, repeated to the end.
//!
//! A table has 131 kB, so what is kept and compared is its members; the slots are computed when they
//! are written. The three spare slots behind them hold a fingerprint of the members: what is in a
//! map that was adopted is told from it.

use lb_common::{
    maglev,
    maps::{Addr, Be16, MAGLEV_SLOTS, MAGLEV_TURNS_AT, MAGLEV_VALUE_BYTES, algorithm},
};

use super::fingerprint::Fingerprint;

/// A member as the table sees it. Which slots it gets depends on address, port and weight alone, so
/// that hosts with one configuration choose alike; `index` is only what is written into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaglevMember {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Be16,
    /// 1..=256.
    pub weight: u16,
    /// Index in `MEMBERS`.
    pub index: u16,
}

/// The content of one slot of `MAGLEV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaglevTable {
    /// Sorted; empty for a table read back from the kernel.
    members: Vec<MaglevMember>,
    /// One of [`algorithm`].
    algorithm: u32,
    fingerprint: u64,
}

/// Spare slots at the end of a value.
const SPARE: usize = 3;
/// Bits of the fingerprint that fit there.
const FINGERPRINT_MASK: u64 = (1 << 48) - 1;

impl MaglevTable {
    /// The table of `members`, in any order, for one of [`algorithm`].
    #[must_use]
    pub fn new(algorithm: u32, mut members: Vec<MaglevMember>) -> Self {
        members.sort_unstable();
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(&algorithm.to_le_bytes());
        for member in &members {
            fingerprint.add(&member.addr.0);
            fingerprint.add(&member.port.0);
            fingerprint.add(&member.weight.to_le_bytes());
            fingerprint.add(&member.index.to_le_bytes());
        }
        Self {
            members,
            algorithm,
            fingerprint: fingerprint.value() & FINGERPRINT_MASK,
        }
    }

    /// From a value in the kernel; `None` when it is too short.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let spare = value.get(MAGLEV_SLOTS * 2..)?.get(..SPARE * 2)?;
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(spare) {
            *to = *from;
        }
        Some(Self {
            members: Vec::new(),
            algorithm: algorithm::HASH,
            fingerprint: u64::from_le_bytes(bytes),
        })
    }

    /// The members, sorted.
    #[must_use]
    pub fn members(&self) -> &[MaglevMember] {
        &self.members
    }

    /// Whether the kernel's value behind `self` is the one of `other`.
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl MaglevTable {
    /// The value to be written: a slot's member index each, in the machine's order.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let (slots, turns) = match self.algorithm {
            algorithm::ROUND_ROBIN => repeated(&turns(&self.members)),
            algorithm::LEAST_CONNECTIONS => {
                repeated(&self.members.iter().map(|it| it.index).collect::<Vec<_>>())
            }
            // Whoever still takes turns finds as many as there are slots.
            _ => (self.hashed(), MAGLEV_SLOTS),
        };
        let mut value: Vec<u8> = slots.iter().flat_map(|slot| slot.to_ne_bytes()).collect();
        value.resize(MAGLEV_VALUE_BYTES, 0);
        let spare = self.fingerprint.to_le_bytes();
        let spare = spare.iter().take(SPARE * 2);
        for (to, from) in value.iter_mut().skip(MAGLEV_SLOTS * 2).zip(spare) {
            *to = *from;
        }
        let turns = u32::try_from(turns).unwrap_or(0).to_ne_bytes();
        for (to, from) in value.iter_mut().skip(MAGLEV_TURNS_AT).zip(turns) {
            *to = from;
        }
        value
    }

    fn hashed(&self) -> Vec<u16> {
        let entries = self.members.iter().map(|member| {
            let weight = u32::from(member.weight);
            maglev::Entry::new(&place(member), weight, member.index)
        });
        let mut entries: Vec<_> = entries.collect();
        let mut slots = vec![0; MAGLEV_SLOTS];
        maglev::fill(&mut entries, &mut slots);
        slots
    }
}

/// A round in every slot, over and over, and its length.
fn repeated(round: &[u16]) -> (Vec<u16>, usize) {
    let slots = round.iter().copied().cycle().take(MAGLEV_SLOTS).collect();
    (slots, round.len().min(MAGLEV_SLOTS))
}

/// One round of weighted turns: each member as often as its weight, as evenly spread as it goes.
fn turns(members: &[MaglevMember]) -> Vec<u16> {
    let divisor = members
        .iter()
        .fold(0, |divisor, it| gcd(divisor, u64::from(it.weight)))
        .max(1);
    let weights = members.iter().map(|it| u64::from(it.weight) / divisor);
    let mut weights: Vec<u64> = weights.collect();
    let sum: u64 = weights.iter().sum();
    let room = MAGLEV_SLOTS as u64;
    if sum > room {
        // Of a thousand members and more: shares are rounded, but nobody is left out.
        for weight in &mut weights {
            *weight = (*weight * room / sum).max(1);
        }
    }
    let mut order: Vec<(u64, u16)> = Vec::new();
    for (member, weight) in members.iter().zip(weights) {
        // The middles of as many equal parts of the round as it has turns.
        order.extend((0..weight).map(|turn| (((2 * turn + 1) << 32) / weight, member.index)));
    }
    // Stable: equal middles go by the members' order.
    order.sort_by_key(|(middle, _)| *middle);
    order.into_iter().map(|(_, index)| index).collect()
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What a member's slots depend on: its address, with the port worked in.
fn place(member: &MaglevMember) -> [u8; 16] {
    let mut id = member.addr.0;
    for (byte, port) in id.iter_mut().zip(member.port.0) {
        *byte ^= port;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(last: u8, weight: u16, index: u16) -> MaglevMember {
        MaglevMember {
            addr: Addr::v4([192, 0, 2, last]),
            port: Be16::new(80),
            weight,
            index,
        }
    }

    fn slots(table: &MaglevTable) -> Vec<u16> {
        let value = table.value();
        let slots = value[..MAGLEV_SLOTS * 2].chunks_exact(2);
        slots
            .map(|two| u16::from_ne_bytes([two[0], two[1]]))
            .collect()
    }

    #[test]
    fn a_table_read_back_is_the_one_that_was_written() {
        let table = MaglevTable::new(algorithm::HASH, vec![member(1, 1, 7), member(2, 3, 8)]);
        let value = table.value();
        assert_eq!(value.len(), MAGLEV_VALUE_BYTES);
        let back = MaglevTable::read(&value).expect("long enough");
        assert!(back.same(&table));
        let other = MaglevTable::new(algorithm::HASH, vec![member(1, 1, 7), member(2, 2, 8)]);
        assert!(!back.same(&other), "another weight");
    }

    #[test]
    fn indices_do_not_decide_which_member_a_client_gets() {
        let here = slots(&MaglevTable::new(
            algorithm::HASH,
            vec![member(1, 1, 7), member(2, 1, 8)],
        ));
        let there = slots(&MaglevTable::new(
            algorithm::HASH,
            vec![member(2, 1, 1), member(1, 1, 2)],
        ));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(*here == 7, *there == 2);
        }
    }

    #[test]
    fn ports_of_one_address_get_slots_of_their_own() {
        let mut second = member(1, 1, 8);
        second.port = Be16::new(81);
        let slots = slots(&MaglevTable::new(
            algorithm::HASH,
            vec![member(1, 1, 7), second],
        ));
        let first = slots.iter().filter(|slot| **slot == 7).count();
        assert!(first.abs_diff(MAGLEV_SLOTS / 2) < 2, "{first}");
    }

    fn round(members: Vec<MaglevMember>) -> (Vec<u16>, usize) {
        let value = MaglevTable::new(algorithm::ROUND_ROBIN, members).value();
        let bytes = &value[MAGLEV_TURNS_AT..MAGLEV_TURNS_AT + 4];
        let turns = u32::from_ne_bytes(bytes.try_into().expect("four")) as usize;
        let slots = value[..MAGLEV_SLOTS * 2].chunks_exact(2);
        let slots = slots.map(|two| u16::from_ne_bytes([two[0], two[1]]));
        (slots.collect(), turns)
    }

    #[test]
    fn a_round_has_each_member_as_often_as_its_weight_and_spread() {
        let (slots, turns) = round(vec![member(1, 50, 7), member(2, 20, 8), member(3, 10, 9)]);
        assert_eq!(turns, 8, "by the greatest common divisor");
        let count = |index| slots[..turns].iter().filter(|it| **it == index).count();
        assert_eq!((count(7), count(8), count(9)), (5, 2, 1));
        let longest = slots[..turns]
            .chunk_by(|a, b| a == b)
            .map(<[u16]>::len)
            .max();
        assert!(longest <= Some(2), "{:?}", &slots[..turns]);
        assert_eq!(slots[..turns], slots[turns..2 * turns], "repeated");
        assert!(slots.iter().all(|slot| *slot != 0), "to the end");
    }

    #[test]
    fn a_round_that_is_too_long_is_shortened_and_leaves_nobody_out() {
        let weight = |n: u16| if n.is_multiple_of(2) { 256 } else { 1 };
        let members = (1..=1000).map(|n| MaglevMember {
            index: n,
            ..member(1, weight(n), n)
        });
        let (slots, turns) = round(members.collect());
        assert!(turns <= MAGLEV_SLOTS, "{turns}");
        assert!((1..=1000).all(|index| slots[..turns].contains(&index)));
    }

    #[test]
    fn least_connections_has_each_member_once() {
        let members = vec![member(1, 5, 7), member(2, 1, 8)];
        let value = MaglevTable::new(algorithm::LEAST_CONNECTIONS, members).value();
        assert_eq!(
            value[MAGLEV_TURNS_AT..MAGLEV_TURNS_AT + 4],
            2_u32.to_ne_bytes()
        );
        assert_eq!(
            value[..4],
            [7_u16.to_ne_bytes(), 8_u16.to_ne_bytes()].concat()
        );
    }
}
