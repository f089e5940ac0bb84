//! What the kernel counts of things that exist now, exactly and over all CPUs, and the shares that
//! a load balancer may have of what all of them use.
//!
//! Counts change where flows change state (`flow`), so they are as right with the agent dead.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Added to a flow count when an entry is made: it is an entry, and active.
pub const OPENED: u64 = 1 << 32 | 1;
/// Added when a connection is over but its entry stays for a while.
pub const ENDED: u64 = u64::MAX;
/// Added when the entry of a connection that was over is freed.
pub const FREED: u64 = (1_u64 << 32).wrapping_neg();
/// Added when the entry of an active connection is freed.
pub const DROPPED: u64 = OPENED.wrapping_neg();

/// Entries of the flow table that name the owner of this count. Its index may go to another only
/// at 0.
#[must_use]
#[inline(always)]
pub const fn entries(count: u64) -> u32 {
    (count >> 32) as u32
}

/// Its active connections: not yet closed, and not timed out. Exact in NAT; in DSR, where only the
/// client's direction is seen, an estimate.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub const fn active(count: u64) -> u32 {
    count as u32
}

/// `LISTENER_LIVE`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ListenerLive {
    /// [`entries`] and [`active`].
    pub flows: u64,
    /// SYN of the current second: [`rate_word`].
    pub syn: u64,
}

/// `LB_LIVE`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbLive {
    /// [`entries`] and [`active`].
    pub flows: u64,
    /// Source ports in use.
    pub ports: u64,
    /// New flows of the current second: [`rate_word`].
    pub new: u64,
    /// Of index 0: not 0 once a flow of whichever load balancer had to go into its third block. Until then nobody
    /// looks there.
    pub has_thirds: u64,
}

/// `LB_SHARES`: what one load balancer may have; 0: no limit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbShare {
    /// Entries of the flow table.
    pub flows: u32,
    /// Source ports of NAT.
    pub ports: u32,
    /// New flows a second.
    pub new_per_second: u32,
    /// Zero.
    pub _pad: u32,
}

/// A count within one tick of the flow clock ([`super::flow::tick`]): tick above, count below.
#[must_use]
#[inline(always)]
pub const fn rate_word(tick: u32, count: u32) -> u64 {
    (tick as u64) << 32 | count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_down_in_both_halves() {
        let mut count = 0_u64;
        for change in [OPENED, OPENED, OPENED, ENDED] {
            count = count.wrapping_add(change);
        }
        assert_eq!((entries(count), active(count)), (3, 2));
        for change in [FREED, DROPPED, DROPPED] {
            count = count.wrapping_add(change);
        }
        assert_eq!(count, 0);
    }
}
