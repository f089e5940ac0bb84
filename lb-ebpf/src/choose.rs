//! Which member gets a new flow. All algorithms read one table of the pool, each by an index of its
//! own; `lb_common::maps::MAGLEV_TURNS_AT` says what is in it.

use lb_common::{
    hash,
    maps::{
        Addr, Be16, ListenerRecord, MAGLEV_SLOTS, algorithm, limits, listener_flags, live,
        maglev_slot_of,
    },
};

use crate::{
    frame::opaque,
    maps::{MAGLEV, MEMBER_LIVE, MEMBERS, MaglevTable, TURNS},
    word::load,
};

/// Slots looked at for a member other than the one to be avoided.
const STEPS: u32 = 8;
/// Between them: prime to the number of slots.
const STRIDE: u32 = 7_919;

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) client: &'a Addr,
    pub(crate) port: Be16,
    pub(crate) is_v6: bool,
    /// A member that has just failed; 0: none has.
    pub(crate) avoid: u32,
}

/// The member whose turn it is; 0: there is none.
#[inline(always)]
pub(crate) fn choose(index: u32, listener: &ListenerRecord, asker: &Asker<'_>) -> u32 {
    let number = maglev_slot_of(listener.maglev, asker.is_v6);
    let Some(table) = MAGLEV.get_value(number, &0) else {
        return 0;
    };
    match listener.algorithm {
        algorithm::ROUND_ROBIN => round_robin(index, table, asker.avoid),
        algorithm::LEAST_CONNECTIONS => lb_least(index, number, asker.avoid),
        _ => by_hash(listener, table, asker),
    }
}

/// The member for what nobody remembers: the same for all packets of a flow as long as the table
/// stays.
#[inline(always)]
pub(crate) fn choose_by_hash(listener: &ListenerRecord, asker: &Asker<'_>) -> u32 {
    let table = maglev_slot_of(listener.maglev, asker.is_v6);
    let Some(table) = MAGLEV.get_value(table, &0) else {
        return 0;
    };
    by_hash(listener, table, asker)
}

/// The member in a slot of the table.
#[inline(always)]
fn member(table: &MaglevTable, slot: u32) -> u32 {
    // The compiler may prove that the slot is in the table and drop the check that the verifier needs.
    let slot = opaque(slot as usize);
    if slot >= MAGLEV_SLOTS {
        return 0;
    }
    // SAFETY: checked above.
    unsafe { core::ptr::read_volatile(table.slots.as_ptr().add(slot)) as u32 }
}

#[inline(always)]
fn by_hash(listener: &ListenerRecord, table: &MaglevTable, asker: &Asker<'_>) -> u32 {
    let port = (listener.flags & listener_flags::HASH_ADDR_ONLY == 0).then_some(asker.port);
    let mut slot = hash::maglev_slot(asker.client, port);
    let mut found = member(table, slot);
    if asker.avoid == 0 {
        return found;
    }
    for _ in 0..STEPS {
        if found != asker.avoid {
            break;
        }
        slot = (slot + STRIDE) % MAGLEV_SLOTS as u32;
        found = member(table, slot);
    }
    found
}

/// This CPU's next turn of a listener.
#[inline(always)]
fn turn(index: u32, turns: u32) -> u32 {
    let Some(turn) = TURNS.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: this CPU's value of a live map; nobody else writes it.
    unsafe {
        let now = *turn as u32;
        let now = if now >= turns { 0 } else { now };
        *turn = now as u64 + 1;
        now
    }
}

#[inline(always)]
fn turns(table: &MaglevTable) -> u32 {
    match table.turns {
        0 => MAGLEV_SLOTS as u32,
        turns => turns,
    }
}

#[inline(always)]
fn round_robin(index: u32, table: &MaglevTable, avoid: u32) -> u32 {
    let turns = turns(table);
    let mut found = member(table, turn(index, turns));
    for _ in 0..STEPS {
        if avoid == 0 || found != avoid {
            break;
        }
        found = member(table, turn(index, turns));
    }
    found
}

/// The member with the least load, of those that come next.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_least(index: u32, table: u32, avoid: u32) -> u32 {
    let Some(table) = MAGLEV.get_value(table, &0) else {
        return 0;
    };
    let turns = turns(table);
    // Where to begin moves on, so that equals take turns.
    let mut slot = opaque(turn(index, turns) as usize) as u32;
    let mut best = opaque(NOBODY as usize) as u64;
    for step in 0..limits::LEAST_OF {
        if step >= turns {
            break;
        }
        let load = lb_load(member(table, slot), avoid);
        best = least_of(load, best);
        // Back to 0 at the end of the round.
        slot = (slot + 1) & is_below(slot as u64 + 1, turns as u64) as u32;
    }
    if best >= NOBODY {
        avoid
    } else {
        best as u32 & 0xffff
    }
}

/// All ones if `a` is below `b`. Neither it nor [`least_of`] branches: each branch in the loop would be
/// two paths for the verifier, and those of all turns multiply.
#[inline(always)]
fn is_below(a: u64, b: u64) -> u64 {
    (opaque(a.wrapping_sub(b) as usize) as i64 >> 63).cast_unsigned()
}

#[inline(always)]
fn least_of(a: u64, b: u64) -> u64 {
    b.wrapping_add(a.wrapping_sub(b) & is_below(a, b))
}

/// Load of no member.
const NOBODY: u64 = 1 << 62;

/// Active connections for its weight (in units of 1/256) of a member, and below it the member. (A
/// function that the verifier looks at once, not once a turn of the loop.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_load(member: u32, avoid: u32) -> u64 {
    let (Some(record), Some(count)) = (MEMBERS.get(member), MEMBER_LIVE.get_ptr_mut(member)) else {
        return NOBODY;
    };
    if member == 0 || member == avoid {
        return NOBODY;
    }
    let weight = if record.weight == 0 {
        1
    } else {
        record.weight as u64
    };
    let active = live::active(load(count)) as u64;
    ((active << 8) / weight) << 16 | (member as u64 & 0xffff)
}
