//! Maglev tables as the members they were filled from.
//!
//! A table has 131 kB, so what is kept and compared is its members; the slots are computed when they
//! are written. The three spare slots behind them hold a fingerprint of the members: what is in a
//! map that was adopted is told from it.

use lb_common::{
    maglev,
    maps::{Addr, Be16, MAGLEV_SLOTS, MAGLEV_VALUE_BYTES},
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
    fingerprint: u64,
}

/// Spare slots at the end of a value.
const SPARE: usize = 3;
/// Bits of the fingerprint that fit there.
const FINGERPRINT_MASK: u64 = (1 << 48) - 1;

impl MaglevTable {
    /// The table of `members`, in any order.
    #[must_use]
    pub fn new(mut members: Vec<MaglevMember>) -> Self {
        members.sort_unstable();
        let mut fingerprint = Fingerprint::default();
        for member in &members {
            fingerprint.add(&member.addr.0);
            fingerprint.add(&member.port.0);
            fingerprint.add(&member.weight.to_le_bytes());
            fingerprint.add(&member.index.to_le_bytes());
        }
        Self {
            members,
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
        let mut entries: Vec<_> = self
            .members
            .iter()
            .map(|member| {
                let weight = u32::from(member.weight);
                maglev::Entry::new(&place(member), weight, member.index)
            })
            .collect();
        let mut slots = vec![0; MAGLEV_VALUE_BYTES / 2];
        maglev::fill(&mut entries, &mut slots);
        let mut value: Vec<u8> = slots.iter().flat_map(|slot| slot.to_ne_bytes()).collect();
        let spare = self.fingerprint.to_le_bytes();
        for (to, from) in value.iter_mut().skip(MAGLEV_SLOTS * 2).zip(spare) {
            *to = from;
        }
        value
    }
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
        let table = MaglevTable::new(vec![member(1, 1, 7), member(2, 3, 8)]);
        let value = table.value();
        assert_eq!(value.len(), MAGLEV_VALUE_BYTES);
        let back = MaglevTable::read(&value).expect("long enough");
        assert!(back.same(&table));
        let other = MaglevTable::new(vec![member(1, 1, 7), member(2, 2, 8)]);
        assert!(!back.same(&other), "another weight");
    }

    #[test]
    fn indices_do_not_decide_which_member_a_client_gets() {
        let here = slots(&MaglevTable::new(vec![member(1, 1, 7), member(2, 1, 8)]));
        let there = slots(&MaglevTable::new(vec![member(2, 1, 1), member(1, 1, 2)]));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(*here == 7, *there == 2);
        }
    }

    #[test]
    fn ports_of_one_address_get_slots_of_their_own() {
        let mut second = member(1, 1, 8);
        second.port = Be16::new(81);
        let slots = slots(&MaglevTable::new(vec![member(1, 1, 7), second]));
        let first = slots.iter().filter(|slot| **slot == 7).count();
        assert!(first.abs_diff(MAGLEV_SLOTS / 2) < 2, "{first}");
    }
}
