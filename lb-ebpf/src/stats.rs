//! Counters and events. All counters are per CPU, so plain additions do.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use lb_common::maps::{Event, ListenerCounters};

use crate::{
    maps::{EVENTS, LISTENER_STATS, MEMBER_STATS, REASONS},
    verdict::Verdict,
};

/// Coarse CLOCK_MONOTONIC: lags by up to a tick, costs 3 ns.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Counts a return path.
#[inline(always)]
pub(crate) fn count(verdict: Verdict) {
    if let Some(counter) = REASONS.get_ptr_mut(verdict.reason()) {
        // SAFETY: this CPU's value of a live map; nobody else writes it.
        unsafe { *counter += 1 };
    }
}

/// Changes one's counters.
#[inline(always)]
fn change(counters: Option<*mut ListenerCounters>, how: impl FnOnce(&mut ListenerCounters)) {
    if let Some(counters) = counters {
        // SAFETY: this CPU's value of a live map; nobody else writes it.
        how(unsafe { &mut *counters });
    }
}

/// Counts a packet from a client.
#[inline(always)]
pub(crate) fn count_in(listener: u32, bytes: usize) {
    change(LISTENER_STATS.get_ptr_mut(listener), |counters| {
        counters.packets_in += 1;
        counters.bytes_in += bytes as u64;
    });
}

/// Counts a packet to a client.
#[inline(always)]
pub(crate) fn count_out(listener: u32, bytes: usize) {
    change(LISTENER_STATS.get_ptr_mut(listener), |counters| {
        counters.packets_out += 1;
        counters.bytes_out += bytes as u64;
    });
}

/// Counts a flow opened.
#[inline(always)]
pub(crate) fn count_flow(listener: u32) {
    change(LISTENER_STATS.get_ptr_mut(listener), |counters| {
        counters.flows += 1;
    });
}

/// Counts a flow refused, or a packet that could not be sent on.
#[inline(always)]
pub(crate) fn count_error(listener: u32) {
    change(LISTENER_STATS.get_ptr_mut(listener), |counters| {
        counters.errors += 1;
    });
}

/// Counts a packet to a member.
#[inline(always)]
pub(crate) fn count_member_in(member: u32, bytes: usize) {
    change(MEMBER_STATS.get_ptr_mut(member), |counters| {
        counters.packets_in += 1;
        counters.bytes_in += bytes as u64;
    });
}

/// Counts a packet from a member.
#[inline(always)]
pub(crate) fn count_member_out(member: u32, bytes: usize) {
    change(MEMBER_STATS.get_ptr_mut(member), |counters| {
        counters.packets_out += 1;
        counters.bytes_out += bytes as u64;
    });
}

/// Counts a flow that a member got.
#[inline(always)]
pub(crate) fn count_member_flow(member: u32) {
    change(MEMBER_STATS.get_ptr_mut(member), |counters| {
        counters.flows += 1;
    });
}

/// Counts a connection that a member refused.
#[inline(always)]
pub(crate) fn count_member_error(member: u32) {
    change(MEMBER_STATS.get_ptr_mut(member), |counters| {
        counters.errors += 1;
    });
}

/// Tells the agent. A full ring loses the event: the agent also looks at the maps.
#[inline(always)]
pub(crate) fn tell(event: &Event) {
    let _full_is_fine = EVENTS.output(event, 0);
}
