//! Limits of listeners and shares of load balancers: what a new flow must get past. Each refusal has
//! its reason. Counts of other CPUs may come a moment late, so a limit may be passed by as many flows
//! as there are CPUs.

use lb_common::{
    maps::{ListenerRecord, listener_kind, live, live::rate_word},
    reason::Reason,
};

use crate::{
    maps::{LB_LIVE, LB_SHARES, LISTENER_LIVE},
    word::{add, exchange, load},
};

/// One more in this tick, of `per_second`. A tick is a fourteenth longer than a second.
#[inline(always)]
fn takes(word: *mut u64, per_second: u32, tick: u32) -> bool {
    let seen = load(word);
    if (seen >> 32) as u32 != tick {
        // Who loses has been counted by nobody: one a tick and CPU.
        let _other_was_first = exchange(word, seen, rate_word(tick, 1));
        return true;
    }
    if seen as u32 >= per_second.saturating_add(per_second / 14) {
        return false;
    }
    add(word, 1);
    true
}

/// A SYN of a listener with `syn_per_second`.
#[inline(always)]
pub(crate) fn syn(index: u32, listener: &ListenerRecord, tick: u32) -> Result<(), Reason> {
    if listener.syn_per_second == 0 {
        return Ok(());
    }
    let live = LISTENER_LIVE.get_ptr_mut(index).ok_or(Reason::BadRecord)?;
    // SAFETY: a live map value.
    let bucket = unsafe { &raw mut (*live).syn };
    if takes(bucket, listener.syn_per_second, tick) {
        Ok(())
    } else {
        Err(Reason::SynRate)
    }
}

/// All that a new flow counts against, but for [`syn`].
#[inline(always)]
pub(crate) fn flow(index: u32, listener: &ListenerRecord, tick: u32) -> Result<(), Reason> {
    if listener.connection_limit != 0 {
        let own = LISTENER_LIVE.get_ptr_mut(index).ok_or(Reason::BadRecord)?;
        // SAFETY: a live map value.
        let active = live::active(load(unsafe { &raw const (*own).flows }));
        if active >= listener.connection_limit {
            return Err(Reason::ConnectionLimit);
        }
    }
    let share = LB_SHARES.get(listener.lb).ok_or(Reason::BadRecord)?;
    if share.flows | share.ports | share.new_per_second == 0 {
        return Ok(());
    }
    let lb = LB_LIVE.get_ptr_mut(listener.lb).ok_or(Reason::BadRecord)?;
    // SAFETY: a live map value.
    let (flows, ports) = unsafe { (load(&raw const (*lb).flows), load(&raw const (*lb).ports)) };
    if share.flows != 0 && live::entries(flows) >= share.flows {
        return Err(Reason::ShareFlows);
    }
    if share.ports != 0 && listener.kind == listener_kind::NAT && ports >= share.ports as u64 {
        return Err(Reason::SharePorts);
    }
    // SAFETY: a live map value.
    let new = unsafe { &raw mut (*lb).new };
    if share.new_per_second != 0 && !takes(new, share.new_per_second, tick) {
        return Err(Reason::ShareRate);
    }
    Ok(())
}

/// Counts a source port in use.
#[inline(always)]
pub(crate) fn take_port(lb: u32) {
    if let Some(live) = LB_LIVE.get_ptr_mut(lb) {
        // SAFETY: a live map value.
        add(unsafe { &raw mut (*live).ports }, 1);
    }
}

/// And one free.
#[inline(always)]
pub(crate) fn give_port_back(lb: u32) {
    if let Some(live) = LB_LIVE.get_ptr_mut(lb) {
        // SAFETY: a live map value.
        add(unsafe { &raw mut (*live).ports }, u64::MAX);
    }
}
