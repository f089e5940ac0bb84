//! Maglev tables as the members they were filled from.
//!
//! A table has 131 kB, so what is kept and compared is its members; the slots are computed when they
//! are written. The three spare slots behind them hold a fingerprint of the members: what is in a
//! map that was adopted is told from it.

use lb_common::maps::{Addr, Be16, MAGLEV_SLOTS};

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
