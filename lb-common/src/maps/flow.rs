//! The flow table: our own, set-associative, in ARRAY maps that user space may map.
//!
//! ```text
//! FLOWS4[block]: 8 × {word, key}                 two cache lines, a flow has 16 B
//! FLOWS6[block]: 8 × {word, key}, 8 × address    four, a flow has 32 B
//! REVERSE[entry]: one NAT flow as its member answers to it; one cache line
//! ```
//!
//! A flow's key is client, client port and listener (which stands for segment, VIP, protocol and
//! port); all of it is in the entry and all of it is compared. The word is all that changes while a
//! flow lives. A known flow costs one cache line, in NAT too: member and source port are in the word.
//!
//! **Where a flow is.** Ports of one client that follow each other (as Linux hands them out) lie
//! beside each other: four share a line, 128 a page. That is worth more than anything else at many
//! flows: lines and pages are what a lookup waits for. A flow may be in either of two blocks, on pages
//! that a keyed hash of client, `port / 128` and listener names; each has eight slots. Both are
//! looked at before a flow is taken for unknown; and once both were full of established flows for anybody, so is
//! a third ([`super::live::LbLive::has_thirds`]), which keeps what is unrecorded below one in a hundred of as
//! many flows as half the slots, also where all clients use their ports in turn.
//!
//! **Concurrency.** All changes are by compare-and-swap of the word: a slot is claimed
//! ([`state::BUSY`]), its key written, then published with a generation that is one higher. Readers
//! load word, key, word again: what names another flow by then is no hit. Whoever changes a word's
//! state by swap does the counting for that change, so counts cannot drift. Entry alignment is that of
//! the map's pages, which only mmap-able arrays promise.
//!
//! **Ageing.** A word carries the tick of its last packet; who meets an entry that is past its time
//! takes it for free. Sweeping is the kernel's too.
//!
//! Left out on purpose: IPv4 fragments and anything not keyed by ports.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Addr, Be16};

/// Slots of a block.
pub const SLOTS: usize = 8;
/// Bytes of a page: what one address translation covers.
pub const PAGE_BYTES: u32 = 4_096;
/// Fewest blocks of `FLOWS4`: one page.
pub const BLOCKS4_MIN: u32 = 32;
/// Fewest blocks of `FLOWS6`: one page.
pub const BLOCKS6_MIN: u32 = 16;
/// Fewest entries of `REVERSE`: one page.
pub const REVERSE_MIN: u32 = 64;

/// Pages of a map with `entries` values of `bytes` each; `Config`'s masks are this minus one.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
pub const fn pages(entries: u32, bytes: usize) -> u32 {
    entries / (PAGE_BYTES / bytes as u32)
}

/// State of a flow, in its word.
pub mod state {
    /// No flow.
    pub const FREE: u8 = 0;
    /// Being written.
    pub const BUSY: u8 = 1;
    /// NAT: no answer yet. DSR: one packet seen. The first to go when a block is full.
    pub const OPENING: u8 = 2;
    /// NAT: both ends have spoken, the client last (UDP: the member answered). DSR: more than one packet seen.
    pub const ESTABLISHED: u8 = 3;
    /// The client has sent FIN.
    pub const CLIENT_CLOSED: u8 = 4;
    /// The member has sent FIN (NAT).
    pub const MEMBER_CLOSED: u8 = 5;
    /// Both have, or one has sent RST; in DSR when the client has sent FIN. Not active any more; kept for
    /// packets under way.
    pub const CLOSED: u8 = 6;
    /// NAT: the member refused. Kept so that the next SYN goes elsewhere; has no reverse entry.
    pub const REFUSED: u8 = 7;
    /// NAT: the member answered a SYN (INIT), and the client has said nothing since. A flood leaves no more
    /// than such behind, so they go as easily as those that opened.
    pub const ANSWERED: u8 = 8;
}

/// Ticks of 1.07 s (2^30 ns of CLOCK_MONOTONIC).
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "32 bits are 146 years")]
pub const fn tick(now_ns: u64) -> u32 {
    (now_ns >> 30) as u32
}

/// Ticks within which `seconds` are certainly over.
#[must_use]
#[inline(always)]
pub const fn ticks_of(seconds: u32) -> u32 {
    // 1000 / 1074, rounded up; one more since the first tick may be nearly over.
    seconds - seconds / 15 + 1
}

/// Ticks that the stamp of a flow with `idle` ticks of idle time may lag behind its last packet, so that
/// most packets of busy flows write nothing: at least one. It lives as many longer than its idle time.
#[must_use]
#[inline(always)]
pub const fn slack_of(idle: u32) -> u32 {
    let slack = idle >> 4;
    if slack == 0 { 1 } else { slack }
}

/// The word of a slot.
///
/// Bits: member 16, source port 16, seen 16, state 4, generation 4, vip 8 (highest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    /// Of a flow.
    #[must_use]
    #[inline(always)]
    pub const fn new(
        member: u16,
        port: u16,
        tick: u32,
        state: u8,
        generation: u8,
        vip: u8,
    ) -> Self {
        Self(
            member as u64
                | (port as u64) << 16
                | (tick as u64 & 0xffff) << 32
                | (state as u64) << 48
                | (generation as u64 & 0xf) << 52
                | (vip as u64) << 56,
        )
    }

    /// Index of its member.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "16 bits are meant")]
    pub const fn member(self) -> u16 {
        self.0 as u16
    }

    /// Source port towards the member (NAT), in host order; tries so far of [`state::REFUSED`].
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "16 bits are meant")]
    pub const fn port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Low bits of the [`tick`] of its last packet (of [`state::OPENING`]: of its first).
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "16 bits are meant")]
    pub const fn seen(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// See [`state`].
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> u8 {
        (self.0 >> 48 & 0xf) as u8
    }

    /// Goes up with every flow that gets the slot.
    #[must_use]
    #[inline(always)]
    pub const fn generation(self) -> u8 {
        (self.0 >> 52 & 0xf) as u8
    }

    /// Low bits of the VIP's index in `ADDRESS_RECORDS`: listeners of several VIPs tell them apart.
    #[must_use]
    #[inline(always)]
    pub const fn vip(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The same with another state.
    #[must_use]
    #[inline(always)]
    pub const fn with_state(self, state: u8) -> Self {
        Self(self.0 & !(0xf << 48) | (state as u64) << 48)
    }

    /// The same seen at another tick.
    #[must_use]
    #[inline(always)]
    pub const fn with_seen(self, tick: u32) -> Self {
        Self(self.0 & !(0xffff << 32) | (tick as u64 & 0xffff) << 32)
    }

    /// Ticks since its last packet. (Another CPU's tick may be one ahead: that is none.)
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the clock is cut alike")]
    pub const fn age(self, tick: u32) -> u32 {
        let age = (tick as u16).wrapping_sub(self.seen());
        if age == u16::MAX { 0 } else { age as u32 }
    }

    /// Whether both stand for the same flow: all but seen and state are equal.
    #[must_use]
    #[inline(always)]
    pub const fn is_same_flow(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(0xf_ffff << 32) == 0
    }

    /// Whether there is a flow.
    #[must_use]
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.state() > state::BUSY
    }

    /// Whether it counts as an active connection.
    #[must_use]
    #[inline(always)]
    pub const fn is_active(self) -> bool {
        matches!(
            self.state(),
            state::OPENING..=state::MEMBER_CLOSED | state::ANSWERED
        )
    }
}

/// Key of a slot: client (folded to 32 bits; of IPv4 that is all of it), client port, listener index.
#[must_use]
#[inline(always)]
pub const fn slot_key(client: &Addr, port: Be16, listener: u32) -> u64 {
    fold(client) as u64 | (u16::from_ne_bytes(port.0) as u64) << 32 | (listener as u64) << 48
}

/// Client port of a key.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "16 bits are meant")]
pub const fn key_port(key: u64) -> Be16 {
    Be16(((key >> 32) as u16).to_ne_bytes())
}

/// Listener of a key.
#[must_use]
#[inline(always)]
pub const fn key_listener(key: u64) -> u32 {
    (key >> 48) as u32
}

/// Client of a key in `FLOWS4`.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "32 bits are meant")]
pub const fn key_client_v4(key: u64) -> Addr {
    Addr::v4((key as u32).to_ne_bytes())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves are meant")]
const fn fold(addr: &Addr) -> u32 {
    let (first, second) = addr.words();
    if cfg!(target_endian = "little") {
        // Of a mapped IPv4 address: (0, 0xffff, a.b.c.d).
        (second >> 32) as u32 ^ (first as u32 ^ (first >> 32) as u32).rotate_left(13)
    } else {
        second as u32 ^ (first as u32 ^ (first >> 32) as u32).rotate_left(13)
    }
}

/// One flow: its word, then its key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Slot {
    /// [`Word`].
    pub word: u64,
    /// [`slot_key`].
    pub key: u64,
}

/// `FLOWS4`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Block4 {
    /// Flows.
    pub slots: [Slot; SLOTS],
}

const _: () = assert!(size_of::<Block4>() == 128);

/// `FLOWS6`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Block6 {
    /// Flows.
    pub slots: [Slot; SLOTS],
    /// Their clients.
    pub clients: [Addr; SLOTS],
}

const _: () = assert!(size_of::<Block6>() == 256);

/// `REVERSE`: a NAT flow as its member answers to it. Claimed and freed through `word`, by whoever
/// claims or frees the flow's slot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Reverse {
    /// As in the flow's slot, but only [`state::FREE`], [`state::BUSY`], [`state::OPENING`] (not
    /// answered) or [`state::ESTABLISHED`], and seen is the tick of the member's last packet.
    pub word: u64,
    /// The client.
    pub client: Addr,
    /// Its port.
    pub client_port: Be16,
    /// Port that the client knows.
    pub vip_port: Be16,
    /// Index of the VIP in `ADDRESS_RECORDS`.
    pub vip: u32,
    /// Listener index.
    pub listener: u32,
    /// Interface that the client's packets came in by.
    pub ifindex: u32,
    /// Where they came from on that link.
    pub client_mac: [u8; 6],
    /// And to.
    pub our_mac: [u8; 6],
    /// IP protocol.
    pub protocol: u8,
    /// Members that were tried before this one.
    pub tries: u8,
    /// Zero.
    pub _pad: [u8; 10],
}

const _: () = assert!(size_of::<Reverse>() == 64);

/// One client of SOURCE_IP persistence.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Persist {
    /// [`Word`] of member, seen and state ([`state::ESTABLISHED`] when there is one).
    pub word: u64,
    /// Listener index and, above it, the pool's slot in `MAGLEV`: what the member was chosen for.
    pub owner: u64,
    /// Client, the bits that do not count zero.
    pub client: Addr,
}

/// `PERSIST`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PersistBlock {
    /// Clients.
    pub slots: [Persist; 4],
}

const _: () = assert!(size_of::<PersistBlock>() == 128);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_are_what_they_were_made_of(
            (member, port, tick) in any::<(u16, u16, u32)>(),
            (state, generation, vip) in (0..8_u8, 0..16_u8, any::<u8>()),
        ) {
            let word = Word::new(member, port, tick, state, generation, vip);
            prop_assert_eq!((word.member(), word.port()), (member, port));
            prop_assert_eq!(u32::from(word.seen()), tick & 0xffff);
            prop_assert_eq!((word.state(), word.generation(), word.vip()), (state, generation, vip));
            let other = word.with_state(3).with_seen(tick.wrapping_add(5));
            prop_assert!(word.is_same_flow(other));
            prop_assert_eq!((other.state(), other.member(), other.vip()), (3, member, vip));
            prop_assert_eq!(word.age(tick.wrapping_add(9)), 9);
            prop_assert_eq!(word.age(tick.wrapping_sub(1)), 0);
            let next = Word::new(member, port, tick, state, generation.wrapping_add(1), vip);
            prop_assert!(!word.is_same_flow(next));
        }

        #[test]
        fn keys_of_ipv4_lose_nothing(addr in any::<[u8; 4]>(), port in any::<u16>(), listener in 0..65_536_u32) {
            let key = slot_key(&Addr::v4(addr), Be16::new(port), listener);
            prop_assert_eq!(key_client_v4(key), Addr::v4(addr));
            prop_assert_eq!(key_port(key).get(), port);
            prop_assert_eq!(key_listener(key), listener);
        }
    }
}
