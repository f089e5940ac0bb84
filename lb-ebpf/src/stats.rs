//! Counters and events. All counters are per CPU, so plain additions do.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use lb_common::{maps::Event, reason::Reason};

use crate::maps::{EVENTS, LISTENER_STATS, REASONS};

/// Coarse CLOCK_MONOTONIC: lags by up to a tick, costs 3 ns.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Counts a return path.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's value of a live map; nobody else writes it.
        unsafe { *counter += 1 };
    }
}

/// Counts a packet from a client.
#[inline(always)]
pub(crate) fn count_in(listener: u32, ip_len: usize) {
    if let Some(counters) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: this CPU's value of a live map; nobody else writes it.
        unsafe {
            (*counters).packets_in += 1;
            (*counters).bytes_in += ip_len as u64;
        }
    }
}

/// Counts a packet to a client.
#[inline(always)]
pub(crate) fn count_out(listener: u32, ip_len: usize) {
    if let Some(counters) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: this CPU's value of a live map; nobody else writes it.
        unsafe {
            (*counters).packets_out += 1;
            (*counters).bytes_out += ip_len as u64;
        }
    }
}

/// Counts a flow opened.
#[inline(always)]
pub(crate) fn count_flow(listener: u32) {
    if let Some(counters) = LISTENER_STATS.get_ptr_mut(listener) {
        // SAFETY: this CPU's value of a live map; nobody else writes it.
        unsafe { (*counters).flows += 1 };
    }
}

/// Tells the agent. A full ring loses the event: the agent also looks at the maps.
#[inline(always)]
pub(crate) fn tell(event: &Event) {
    let _full_is_fine = EVENTS.output(event, 0);
}
