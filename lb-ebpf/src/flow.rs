//! The flow table (`lb_common::maps::flow` says how it is laid out and by which rules it is changed):
//! finding a flow, following its state, making and freeing entries.
//!
//! Whoever changes a word's state by compare-and-swap counts that change, and only then.

use lb_common::{
    maps::{
        Addr, ListenerRecord,
        flow::{Block4, SLOTS, Slot, Word, key_listener, slack_of, state, ticks_of},
        limits, live,
    },
    packet::tcp_flags,
};

use crate::{
    frame::opaque,
    given::given,
    maps::{FLOWS4, FLOWS6, LB_LIVE, LISTENER_LIVE, LISTENERS, MEMBER_LIVE, MEMBERS},
    place::Place,
    reverse,
    rule::Rule,
    word::{add, exchange, load, store},
};

/// Ticks that a flow without an answer, or with one packet only, may last.
pub(crate) const OPENING_TICKS: u32 = 30;
/// Ticks that a flow may last when one side has closed.
const CLOSING_TICKS: u32 = 60;
/// Ticks that a closed flow is kept.
const CLOSED_TICKS: u32 = 10;
/// Tries of a swap that others are in the way of.
const SWAPS: u32 = 2;

/// The slots of a block.
#[inline(always)]
pub(crate) fn slots(is_v6: bool, block: u32) -> Option<*mut Slot> {
    if is_v6 {
        FLOWS6.get_ptr_mut(block).map(<*mut _>::cast)
    } else {
        FLOWS4.get_ptr_mut(block).map(<*mut _>::cast)
    }
}

/// The slot at `at`, which may be any number.
#[inline(always)]
pub(crate) fn slot(slots: *mut Slot, at: usize) -> *mut Slot {
    // SAFETY: within the block: the mask keeps it there.
    unsafe { slots.add(opaque(at) & (SLOTS - 1)) }
}

/// Where a slot of `FLOWS6` has its client.
#[inline(always)]
fn client_of(slots: *mut Slot, at: usize) -> *mut Addr {
    // SAFETY: behind its slots a block of `FLOWS6` has as many addresses.
    unsafe {
        slots
            .add(SLOTS)
            .cast::<Addr>()
            .add(opaque(at) & (SLOTS - 1))
    }
}

#[inline(always)]
fn has_client(slots: *mut Slot, at: usize, client: &Addr) -> bool {
    let at = client_of(slots, at).cast::<u64>();
    // SAFETY: the second half of an address.
    (load(at), load(unsafe { at.add(1) })) == client.words()
}

/// The flow's word in a slot that had its key; 0: it is not there.
#[inline(always)]
fn read<const V6: bool>(slots: *mut Slot, slot: *mut Slot, at: usize, place: &Place) -> u64 {
    // SAFETY: a live map value; words are stored whole.
    let key = unsafe { &raw mut (*slot).key };
    // SAFETY: as above.
    let word = unsafe { &raw mut (*slot).word };
    let before = Word(load(word));
    if !before.is_live() || before.vip() != place.vip {
        return 0;
    }
    if V6 && !has_client(slots, at, &place.client) {
        return 0;
    }
    // Between two loads that name one flow, the key was this flow's.
    let after = if load(key) == place.key {
        Word(load(word))
    } else {
        Word(0)
    };
    if after.is_live() && after.is_same_flow(before) {
        after.0
    } else {
        0
    }
}

/// A flow's slot and word; the word is 0 when there is no such flow.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) slot: *mut Slot,
    pub(crate) word: Word,
    block: u32,
    at: u32,
}

impl Found {
    /// Block and, above it, slot, with the highest bit set.
    #[inline(always)]
    fn number(self) -> u64 {
        1 << 63 | (self.at as u64) << 32 | self.block as u64
    }

    /// Where its word is.
    #[inline(always)]
    pub(crate) fn cell(&self) -> *mut u64 {
        // SAFETY: a live slot.
        unsafe { &raw mut (*self.slot).word }
    }
}

/// Looks a flow up in its first two blocks.
#[inline(always)]
pub(crate) fn find(place: &Place) -> Option<Found> {
    if place.is_v6 {
        find_as::<true>(place)
    } else {
        find_as::<false>(place)
    }
}

/// Likewise in the third block, as [`lb_find`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_find_third(place: *const Place) -> u64 {
    given!(0; place);
    let found = if place.is_v6 {
        find_third_as::<true>(place)
    } else {
        find_third_as::<false>(place)
    };
    match found {
        Some(found) => found.number(),
        None => 0,
    }
}

#[inline(always)]
fn find_third_as<const V6: bool>(place: &Place) -> Option<Found> {
    let third = slots(V6, place.third)?;
    find_in::<V6>(third, place.third, place)
}

/// Whether a flow was ever put into its third block.
#[inline(always)]
pub(crate) fn has_thirds() -> bool {
    match LB_LIVE.get_ptr_mut(0) {
        // SAFETY: a live map value.
        Some(live) => load(unsafe { &raw const (*live).has_thirds }) != 0,
        None => false,
    }
}

/// From now on they are looked at.
#[inline(always)]
fn note_thirds() {
    if let Some(live) = LB_LIVE.get_ptr_mut(0) {
        // SAFETY: a live map value.
        store(unsafe { &raw mut (*live).has_thirds }, 1);
    }
}

/// Looks a flow up in its first two blocks, where nearly all are.
#[inline(always)]
pub(crate) fn find_as<const V6: bool>(place: &Place) -> Option<Found> {
    let first = slots(V6, place.first)?;
    if let Some(found) = find_in::<V6>(first, place.first, place) {
        return Some(found);
    }
    let second = slots(V6, place.second)?;
    find_in::<V6>(second, place.second, place)
}

/// A flow's slot and word, where it does not matter what the search costs; null when there is none.
#[inline(always)]
pub(crate) fn find_slot(place: &Place) -> (*mut Slot, Word) {
    const NONE: (*mut Slot, Word) = (core::ptr::null_mut(), Word(0));
    let found = lb_find(place);
    if found == 0 {
        return NONE;
    }
    let Some(slots) = slots(place.is_v6, found as u32) else {
        return NONE;
    };
    let slot = slot(slots, (found >> 32) as usize);
    let word = word_of(slot);
    // Another flow may have it by now.
    // SAFETY: a live slot.
    if !word.is_live() || load(unsafe { &raw const (*slot).key }) != place.key {
        return NONE;
    }
    (slot, word)
}

/// Block and, above it, slot of a flow, with the highest bit set; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_find(place: *const Place) -> u64 {
    given!(0; place);
    match find(place) {
        Some(found) => found.number(),
        None if has_thirds() => lb_find_third(place),
        None => 0,
    }
}

/// The word of a slot.
#[inline(always)]
pub(crate) fn word_of(slot: *mut Slot) -> Word {
    // SAFETY: a live slot.
    Word(load(unsafe { &raw const (*slot).word }))
}

#[inline(always)]
fn find_in<const V6: bool>(slots: *mut Slot, block: u32, place: &Place) -> Option<Found> {
    // In bytes and bounded once: what is left for each slot is one load and one comparison.
    let home = (opaque(place.start) & (SLOTS - 1)) * size_of::<Slot>();
    for step in 0..SLOTS {
        let offset = home ^ (step * size_of::<Slot>());
        // SAFETY: within the block: both are below its slots' length, a power of two.
        let slot = unsafe { slots.byte_add(offset) };
        // SAFETY: a live map value; words are stored whole.
        if load(unsafe { &raw const (*slot).key }) != place.key {
            continue;
        }
        let at = offset / size_of::<Slot>();
        let word = read::<V6>(slots, slot, at, place);
        if word != 0 {
            return Some(Found {
                slot,
                word: Word(word),
                block,
                at: at as u32,
            });
        }
    }
    None
}

/// Whether nothing of a known flow changes by this packet: nearly always.
#[inline(always)]
pub(crate) fn is_quiet(word: Word, flags: u8, tick: u32) -> bool {
    word.state() == state::ESTABLISHED
        && word.seen() == tick as u16
        && flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) == 0
}

/// Ticks without a packet after which an entry counts for nothing.
#[inline(always)]
fn lifetime(word: Word, listener: u32) -> u32 {
    match word.state() {
        state::ESTABLISHED => idle(listener),
        state::OPENING | state::ANSWERED => OPENING_TICKS,
        state::CLIENT_CLOSED | state::MEMBER_CLOSED => CLOSING_TICKS,
        _ => CLOSED_TICKS,
    }
}

/// A listener that is gone keeps no flow.
#[inline(always)]
fn idle(listener: u32) -> u32 {
    let Some(listener) = LISTENERS.get(listener) else {
        return 0;
    };
    if listener.kind == 0 {
        return 0;
    }
    let idle = idle_of(listener);
    idle + slack_of(idle)
}

/// A listener's idle time in ticks.
#[inline(always)]
pub(crate) fn idle_of(listener: &ListenerRecord) -> u32 {
    ticks_of(match listener.idle_s {
        0 => limits::IDLE_DEFAULT_S,
        seconds if seconds > limits::IDLE_MAX_S => limits::IDLE_MAX_S,
        seconds => seconds,
    })
}

/// Whether an entry has had its time.
#[inline(always)]
pub(crate) fn is_over(word: Word, listener: u32, tick: u32) -> bool {
    lb_is_over(word.0, listener, tick) != 0
}

/// The same as a function that the verifier looks at once, not once a slot and state.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_is_over(word: u64, listener: u32, tick: u32) -> u32 {
    let word = Word(word);
    (word.age(tick) > lifetime(word, listener)) as u32
}

/// Who sent the packet, and where it is seen from.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Side {
    /// The client, of a flow whose answers we see.
    Client = 0,
    /// The member.
    Member = 1,
    /// The client, of a flow whose answers we never see.
    OnlyClient = 2,
}

/// The flow goes on.
pub(crate) const GOES_ON: u32 = 0;
/// It was over, and is forgotten.
pub(crate) const IS_OVER: u32 = 1;

/// Follows a flow: age, state and tick. [`IS_OVER`]: its slot is free, and a SYN may begin another.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_advance(slot: *mut Slot, flags: u32, side: u32, tick: u32) -> u32 {
    if slot.is_null() {
        return IS_OVER;
    }
    // SAFETY: a live slot.
    let (cell, key) = unsafe { (&raw mut (*slot).word, load(&raw mut (*slot).key)) };
    let rule = Rule::of(flags, side);
    let syn = (tcp_flags::SYN | tcp_flags::ACK) as u32;
    let begins = flags & syn == tcp_flags::SYN as u32 && side != Side::Member as u32;
    for _ in 0..SWAPS {
        let word = Word(load(cell));
        if !word.is_live() {
            return IS_OVER;
        }
        let is_closed = 1 << word.state() & IS_CLOSED != 0;
        if is_over(word, key_listener(key), tick) || (begins && is_closed) {
            lb_release(slot, word.0);
            return IS_OVER;
        }
        if word.state() == state::REFUSED {
            return IS_OVER;
        }
        let after = word.with_state(rule.next(word.state()));
        let is_same = after.state() == word.state();
        let after = if is_same && rule.is_kept(word.state()) {
            after
        } else {
            after.with_seen(tick)
        };
        if after.0 == word.0 || exchange(cell, word.0, after.0) {
            if word.is_active() && !after.is_active() {
                count(key, word, live::ENDED);
            }
            return GOES_ON;
        }
    }
    GOES_ON
}

/// A NAT flow that its member refused waits for another try; whether it does (else somebody else has
/// changed it).
#[inline(always)]
pub(crate) fn refuse(slot: *mut Slot, word: Word, tick: u32, tries: u8) -> bool {
    // SAFETY: a live slot.
    let (cell, key) = unsafe { (&raw mut (*slot).word, load(&raw mut (*slot).key)) };
    let after = Word::new(
        word.member(),
        tries as u16,
        tick,
        state::REFUSED,
        word.generation(),
        word.vip(),
    );
    if word.state() != state::OPENING || !exchange(cell, word.0, after.0) {
        return false;
    }
    count(key, word, live::ENDED);
    reverse::release(word);
    true
}

/// Frees an entry if it still is what `word` says; whether it was this call that did.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_release(slot: *mut Slot, word: u64) -> u32 {
    if slot.is_null() {
        return 0;
    }
    let word = Word(word);
    // SAFETY: a live slot.
    let (cell, key) = unsafe { (&raw mut (*slot).word, load(&raw mut (*slot).key)) };
    let free = Word::new(0, 0, 0, state::FREE, word.generation(), 0);
    if !word.is_live() || !exchange(cell, word.0, free.0) {
        return 0;
    }
    let change = if word.is_active() {
        live::DROPPED
    } else {
        live::FREED
    };
    count(key, word, change);
    reverse::release(word);
    1
}

/// Counts a change of a flow for all that it names.
#[inline(always)]
fn count(key: u64, word: Word, change: u64) {
    let member = word.member() as u32;
    count_owners(key_listener(key), lb_of(member), change);
    count_member(member, change);
}

/// Whose a member is. Its record stays as long as a flow names it; the listener's may be gone.
#[inline(always)]
fn lb_of(member: u32) -> u32 {
    MEMBERS.get(member).map_or(0, |member| member.lb)
}

#[inline(always)]
fn count_owners(listener: u32, lb: u32, change: u64) {
    if let Some(live) = LISTENER_LIVE.get_ptr_mut(listener) {
        // SAFETY: a live map value.
        add(unsafe { &raw mut (*live).flows }, change);
    }
    if let Some(live) = LB_LIVE.get_ptr_mut(lb) {
        // SAFETY: a live map value.
        add(unsafe { &raw mut (*live).flows }, change);
    }
}

#[inline(always)]
pub(crate) fn count_member(member: u32, change: u64) {
    if let Some(live) = MEMBER_LIVE.get_ptr_mut(member) {
        add(live, change);
    }
}

/// A slot that is claimed, and what counts are owed for the flow that had it.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    block: u32,
    pub(crate) slot: *mut Slot,
    at: usize,
    pub(crate) generation: u8,
    /// Listener of an active flow that was pushed out; 0: none was.
    owed: u32,
    /// And its load balancer.
    owed_lb: u32,
}

/// No slot, in a half of what [`scan`] returns.
const NONE: u32 = 0xff;

/// Claims a slot for a new flow: a free one, else one whose flow is not established.
#[inline(always)]
pub(crate) fn claim(place: &Place, tick: u32) -> Option<Claim> {
    let first = slots(place.is_v6, place.first)?;
    // Nearly always there is room at home.
    let in_first = if word_of(slot(first, place.start)).state() == state::FREE {
        NONE << 8 | place.start as u32
    } else {
        lb_scan(first.cast(), place.start as u32, tick)
    };
    let (mut block, mut number, mut at) = (first, place.first, in_first & NONE);
    if at == NONE {
        let second = slots(place.is_v6, place.second)?;
        let in_second = lb_scan(second.cast(), place.start as u32, tick);
        (block, number, at) = (second, place.second, in_second & NONE);
        if at == NONE && in_first >> 8 == NONE && in_second >> 8 == NONE {
            // Established all of them.
            at = lb_scan_third(place, tick);
            (block, number) = (slots(place.is_v6, place.third)?, place.third);
        } else if at == NONE {
            (block, number, at) = (first, place.first, in_first >> 8);
        }
        if at == NONE {
            (block, number, at) = (second, place.second, in_second >> 8);
        }
        if at == NONE {
            return None;
        }
    }
    take(block, number, at as usize)
}

/// A slot for a flow in its third block, or [`NONE`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_scan_third(place: *const Place, tick: u32) -> u32 {
    given!(NONE; place);
    let Some(third) = slots(place.is_v6, place.third) else {
        return NONE;
    };
    // Before anybody can miss it there.
    note_thirds();
    let found = lb_scan(third.cast(), place.start as u32, tick);
    if found & NONE == NONE {
        found >> 8
    } else {
        found & NONE
    }
}

/// The first free slot from `start`, and above it the first whose flow is not established.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_scan(slots: *mut Block4, start: u32, tick: u32) -> u32 {
    let (mut free, mut opening) = (NONE, NONE);
    if slots.is_null() {
        return opening << 8 | free;
    }
    let slots = slots.cast::<Slot>();
    // From the last to the first: what is found last is what is wanted.
    for step in (0..SLOTS as u32).rev() {
        let at = (start & 7) ^ step;
        // SAFETY: a live slot.
        let word = Word(load(unsafe { &raw const (*slot(slots, at as usize)).word }));
        let state = word.state();
        // As a set of states, since each comparison is a path of its own for the verifier.
        if 1 << state & IS_FREE != 0 {
            free = at;
        } else if 1 << state & MAY_GO != 0 {
            opening = at;
            if word.age(tick) > OPENING_TICKS {
                free = at;
            }
        }
    }
    opening << 8 | free
}

const IS_FREE: u32 = 1 << state::FREE;
const IS_CLOSED: u32 = 1 << state::CLOSED | 1 << state::REFUSED;
const MAY_GO: u32 =
    1 << state::OPENING | 1 << state::ANSWERED | 1 << state::CLOSED | 1 << state::REFUSED;

/// Claims a slot, whatever flow is in it.
#[inline(always)]
fn take(slots: *mut Slot, block: u32, at: usize) -> Option<Claim> {
    let slot = slot(slots, at);
    // SAFETY: a live slot.
    let (cell, key) = unsafe { (&raw mut (*slot).word, load(&raw mut (*slot).key)) };
    let word = Word(load(cell));
    let generation = word.generation().wrapping_add(1) & 0xf;
    let busy = Word::new(0, 0, 0, state::BUSY, generation, 0);
    if word.state() == state::BUSY || !exchange(cell, word.0, busy.0) {
        return None;
    }
    let (mut owed, mut owed_lb) = (0, 0);
    if word.is_live() {
        let change = if word.is_active() {
            live::DROPPED
        } else {
            live::FREED
        };
        count_member(word.member() as u32, change);
        reverse::release(word);
        if word.is_active() {
            (owed, owed_lb) = (key_listener(key), lb_of(word.member() as u32));
        } else {
            count_owners(key_listener(key), lb_of(word.member() as u32), live::FREED);
        }
    }
    Some(Claim {
        block,
        slot,
        at,
        generation,
        owed,
        owed_lb,
    })
}

/// Makes the claimed slot a flow.
#[inline(always)]
pub(crate) fn publish(claim: &Claim, place: &Place, word: Word, lb: u32) {
    let slot = claim.slot;
    if place.is_v6
        && let Some(slots) = slots(true, claim.block)
    {
        let client = client_of(slots, claim.at).cast::<u64>();
        let (first, second) = place.client.words();
        store(client, first);
        // SAFETY: the second half of an address.
        store(unsafe { client.add(1) }, second);
    }
    // SAFETY: a live slot, which is ours until its word is stored.
    unsafe {
        store(&raw mut (*slot).key, place.key);
        store(&raw mut (*slot).word, word.0);
    }
    let listener = key_listener(place.key);
    if claim.owed != listener {
        count_owners(listener, lb, live::OPENED);
        if claim.owed != 0 {
            count_owners(claim.owed, claim.owed_lb, live::DROPPED);
        }
    }
    count_member(word.member() as u32, live::OPENED);
}
