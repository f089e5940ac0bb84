//! SOURCE_IP persistence: the member that a client had, for as long as the listener says after its
//! last new flow. Of four clients in a block the one that was seen longest ago goes first.

use lb_common::{
    hash,
    maps::{
        Addr, Config, ListenerRecord,
        flow::{Persist, Word, state, ticks_of},
        limits, maglev_slot_of, member_flags,
    },
};

use crate::{
    balance::Seek,
    choose::Asker,
    frame::opaque,
    maps::{MEMBERS, PERSIST},
    word::{exchange, load, store},
};

const SLOTS: usize = 4;

/// The bits of a client that count.
#[inline(always)]
fn masked(listener: &ListenerRecord, asker: &Asker<'_>) -> Addr {
    let bits = if asker.is_v6 {
        listener.persistence_bits_v6 as u32
    } else {
        96 + listener.persistence_bits_v4 as u32
    };
    let (first, second) = asker.client.words();
    Addr::from_words(
        keep_bits(first, bits),
        keep_bits(second, bits.saturating_sub(64)),
    )
}

/// The leading `bits` of eight bytes in network order.
#[inline(always)]
fn keep_bits(word: u64, bits: u32) -> u64 {
    let mask = match bits {
        0 => 0,
        1..=63 => u64::MAX << (64 - bits),
        _ => u64::MAX,
    };
    word & mask.to_be()
}

/// What the member was chosen for: listener and, above it, its pool's table. With another pool an entry
/// counts for nothing.
#[inline(always)]
fn owner(index: u32, listener: &ListenerRecord, asker: &Asker<'_>) -> u64 {
    index as u64 | (maglev_slot_of(listener.maglev, asker.is_v6) as u64) << 32
}

#[inline(always)]
fn slots(config: &Config, listener: u32, client: &Addr) -> Option<*mut Persist> {
    let block = hash::persist_block(config.hash_seed, listener, client) & config.persist_mask;
    PERSIST.get_ptr_mut(block).map(<*mut _>::cast)
}

#[inline(always)]
fn slot(slots: *mut Persist, at: usize) -> *mut Persist {
    // SAFETY: within the block: the mask keeps it there.
    unsafe { slots.add(opaque(at) & (SLOTS - 1)) }
}

#[inline(always)]
fn lifetime(listener: &ListenerRecord) -> u32 {
    ticks_of(if listener.persistence_s > limits::IDLE_MAX_S {
        limits::IDLE_MAX_S
    } else {
        listener.persistence_s
    })
}

/// The slot's word, if it is this client's.
#[inline(always)]
fn read(slot: *mut Persist, owner: u64, client: &Addr) -> Word {
    // SAFETY: a live map value; words are stored whole.
    unsafe {
        let before = Word(load(&raw const (*slot).word));
        let (first, second) = client.words();
        let at = (&raw const (*slot).client).cast::<u64>();
        let is_its = load(&raw const (*slot).owner) == owner
            && load(at) == first
            && load(at.add(1)) == second;
        let after = Word(load(&raw const (*slot).word));
        if is_its && after.state() == state::ESTABLISHED && after.is_same_flow(before) {
            after
        } else {
            Word(0)
        }
    }
}

/// The client's member, unless its time is over or the member gets no new flows; 0: none. One that is
/// found is kept for longer.
#[inline(always)]
pub(crate) fn find(
    config: &Config,
    listener: &ListenerRecord,
    seek: &Seek,
    asker: &Asker<'_>,
) -> u32 {
    let client = masked(listener, asker);
    let owner = owner(seek.listener, listener, asker);
    let Some(slots) = slots(config, seek.listener, &client) else {
        return 0;
    };
    for at in 0..SLOTS {
        let slot = slot(slots, at);
        let word = read(slot, owner, &client);
        if word.0 == 0 || word.age(seek.tick) > lifetime(listener) {
            continue;
        }
        let member = word.member() as u32;
        let is_usable = MEMBERS.get(member).is_some_and(|record| {
            record.lb == listener.lb
                && record.ifindex != 0
                && record.flags & member_flags::NO_NEW_FLOWS == 0
        });
        if !is_usable {
            continue;
        }
        // SAFETY: a live map value.
        let cell = unsafe { &raw mut (*slot).word };
        // Who changed it meanwhile kept it, too.
        let _kept = exchange(cell, word.0, word.with_seen(seek.tick).0);
        return member;
    }
    0
}

/// Notes the member of a client.
#[inline(always)]
pub(crate) fn keep(
    config: &Config,
    listener: &ListenerRecord,
    seek: &Seek,
    asker: &Asker<'_>,
    member: u32,
) {
    let client = masked(listener, asker);
    let owner = owner(seek.listener, listener, asker);
    let Some(slots) = slots(config, seek.listener, &client) else {
        return;
    };
    let (mut best, mut best_age) = (0, 0);
    for at in 0..SLOTS {
        let slot = slot(slots, at);
        // SAFETY: a live map value.
        let word = Word(load(unsafe { &raw const (*slot).word }));
        let age = if word.state() == state::FREE || read(slot, owner, &client).0 != 0 {
            u32::MAX
        } else {
            word.age(seek.tick) + 1
        };
        if age > best_age {
            (best, best_age) = (at, age);
        }
    }
    let slot = slot(slots, best);
    // SAFETY: a live map value; between the swap and the last store it is ours.
    unsafe {
        let cell = &raw mut (*slot).word;
        let old = Word(load(cell));
        let generation = old.generation().wrapping_add(1) & 0xf;
        let busy = Word::new(0, 0, seek.tick, state::BUSY, generation, 0);
        if old.state() == state::BUSY || !exchange(cell, old.0, busy.0) {
            return;
        }
        let (first, second) = client.words();
        let at = (&raw mut (*slot).client).cast::<u64>();
        store(at, first);
        store(at.add(1), second);
        store(&raw mut (*slot).owner, owner);
        let word = Word::new(
            member as u16,
            0,
            seek.tick,
            state::ESTABLISHED,
            generation,
            0,
        );
        store(cell, word.0);
    }
}
