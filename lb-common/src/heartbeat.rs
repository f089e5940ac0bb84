//! The heartbeat page of an amphora and the rule by which XDP judges it.
//!
//! Each amphora owns one page of shared memory ([`HeartbeatPage`], first bytes of a 4096-byte map
//! value that XDP reads). It stores a deadline; nobody sends or receives anything.
//!
//! The rule ([`is_dead`], [`may_take_over`]) must tell *the active died* from *everything was
//! paused* (a frozen machine, both processes stopped, a starved host):
//!
//! - The active is dead when its deadline has passed.
//! - The standby may take over only when it has stamped **after** that deadline (it proved itself
//!   alive in a moment at which the active was already late), its own deadline has not passed, and
//!   it has run without a gap for [`STANDBY_SETTLE_NS`]. Whoever wakes from a pause notices the gap
//!   and restarts `alive_since_ns`, which gives the other the same time to stamp first.
//!
//! A pair without traffic stamps seldom (1,000 idle processes with a 10 ms timer cost 1.4 cores).
//! XDP writes `traffic_ns` of both pages of a pair while it steers packets, at most every
//! [`TRAFFIC_STAMP_NS`]; an amphora that sees it younger than [`BUSY_FOR_NS`], or has client
//! connections open, stamps in busy pace.
//!
//! All times are CLOCK_MONOTONIC nanoseconds. XDP's coarse clock lags by up to a tick (4 ms at
//! HZ=250), so differences are signed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Between stamps while busy.
pub const BUSY_PERIOD_NS: u64 = 10_000_000;
/// A busy stamp is good for this long.
pub const BUSY_VALID_NS: u64 = 60_000_000;
/// In busy pace a stamp that comes this late starts a new run: shorter than [`BUSY_VALID_NS`] by more than
/// the pace, so that a pause of both amphorae of a pair that makes one late makes a gap in the other too.
pub const BUSY_GAP_NS: u64 = 30_000_000;
/// Between stamps while idle.
pub const IDLE_PERIOD_NS: u64 = 200_000_000;
/// An idle stamp is good for this long.
pub const IDLE_VALID_NS: u64 = 600_000_000;
/// How long after the last packet a pair counts as busy.
pub const BUSY_FOR_NS: u64 = 2_000_000_000;
/// XDP refreshes `traffic_ns` no more often than this.
pub const TRAFFIC_STAMP_NS: u64 = 100_000_000;
/// A standby must have run without a gap for this long before it may take over: both stamp on one
/// processor, which has then been there for the active too. Longer would leave a dead active where it is
/// for as long as pauses come that often.
pub const STANDBY_SETTLE_NS: u64 = 50_000_000;

/// Lowest bit of [`HeartbeatPage::deadline_ns`]: set while stamping in busy pace.
pub const BUSY_BIT: u64 = 1;

/// First cache lines of an amphora's page. The amphora writes the first line, XDP the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeartbeatPage {
    /// Deadline with [`BUSY_BIT`]; 0: never stamped.
    pub deadline_ns: u64,
    /// Since when it has stamped without missing one. Written before `deadline_ns`.
    pub alive_since_ns: u64,
    /// Keeps the two writers on lines of their own.
    pub _pad: [u64; 6],
    /// When XDP last steered a packet of this pair (coarse clock).
    pub traffic_ns: u64,
    /// Rest of the second line.
    pub _pad2: [u64; 7],
}

const _: () = assert!(size_of::<HeartbeatPage>() == 128);

/// The word to store for a stamp made at `now_ns`.
#[must_use]
pub const fn deadline_word(now_ns: u64, busy: bool) -> u64 {
    if busy {
        now_ns.wrapping_add(BUSY_VALID_NS) | BUSY_BIT
    } else {
        now_ns.wrapping_add(IDLE_VALID_NS) & !BUSY_BIT
    }
}

/// When the stamp behind `word` was made.
#[must_use]
pub const fn stamped_at(word: u64) -> u64 {
    if word & BUSY_BIT != 0 {
        word.wrapping_sub(BUSY_VALID_NS)
    } else {
        word.wrapping_sub(IDLE_VALID_NS)
    }
}

/// `true` when `a` is later than `b`; right across wrap-around and a lagging clock.
#[must_use]
#[inline(always)]
pub const fn is_after(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b)).cast_signed() > 0
}

/// Whether the owner of `word` has missed its deadline at `now_ns`. Never stamped counts as dead.
#[must_use]
#[inline(always)]
pub const fn is_dead(word: u64, now_ns: u64) -> bool {
    word == 0 || is_after(now_ns, word)
}

/// Whether a stamp at `now_ns` after the one behind `word` comes too late to continue its run.
#[must_use]
pub const fn is_gap(word: u64, now_ns: u64) -> bool {
    is_dead(word, now_ns)
        || word & BUSY_BIT != 0 && is_after(now_ns, stamped_at(word).wrapping_add(BUSY_GAP_NS))
}

/// Whether a standby may take over from an active whose word `active` is dead at `now_ns`.
#[must_use]
#[inline(always)]
pub const fn may_take_over(
    active: u64,
    standby: u64,
    standby_alive_since: u64,
    now_ns: u64,
) -> bool {
    !is_dead(standby, now_ns)
        && (active == 0 || is_after(stamped_at(standby), active))
        && is_after(now_ns, standby_alive_since.wrapping_add(STANDBY_SETTLE_NS))
}
