//! Forgetting flows that have had their time, so that counts go down and room comes back with nobody
//! sending and no agent: a timer of the kernel goes through the flow table, a few blocks at a time.
//!
//! An entry is freed by the same swap as anywhere else. The timer lives as long as its map, which is
//! pinned; a new agent's program takes it over.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_timer,
    helpers::generated::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start},
};
use lb_common::maps::flow::{BLOCKS4_MIN, BLOCKS6_MIN, SLOTS, Word, key_listener, tick};

use crate::{
    flow,
    maps::{CONFIG, SWEEP},
    stats,
    word::load,
};

const CLOCK_MONOTONIC: u64 = 1;
/// Between two turns.
const PERIOD_NS: u64 = 10_000_000;
/// Blocks of each family that a turn looks at: 2^18 blocks in ten seconds.
const BLOCKS: u32 = 256;

/// `SWEEP`.
#[repr(C)]
pub(crate) struct Sweep {
    timer: bpf_timer,
    next4: u32,
    next6: u32,
}

/// Starts the timer, or takes it over; 0 when that went well.
#[inline(always)]
pub(crate) fn start() -> i64 {
    let Some(sweep) = SWEEP.get_ptr_mut(0) else {
        return -1;
    };
    // SAFETY: the timer of a live map value.
    unsafe {
        let timer = &raw mut (*sweep).timer;
        // That it is there already is no error.
        let _known = bpf_timer_init(timer, (&raw const SWEEP).cast_mut().cast(), CLOCK_MONOTONIC);
        let callback = turn as extern "C" fn(*mut c_void, *mut u32, *mut Sweep) -> i32;
        let failed = bpf_timer_set_callback(timer, callback as *mut c_void);
        if failed != 0 {
            return failed;
        }
        bpf_timer_start(timer, PERIOD_NS, 0)
    }
}

extern "C" fn turn(_map: *mut c_void, _key: *mut u32, sweep: *mut Sweep) -> i32 {
    let Some(config) = CONFIG.get(0) else {
        return 0;
    };
    // SAFETY: the value that the timer is in; nobody else touches the cursors.
    unsafe {
        let (mut next4, mut next6) = ((*sweep).next4, (*sweep).next6);
        let tick = tick(stats::now_ns());
        for _ in 0..BLOCKS {
            lb_sweep_block(next4, 0, tick);
            next4 = next4.wrapping_add(1) & ((config.flow4_mask * BLOCKS4_MIN) | (BLOCKS4_MIN - 1));
            lb_sweep_block(next6, 1, tick);
            next6 = next6.wrapping_add(1) & ((config.flow6_mask * BLOCKS6_MIN) | (BLOCKS6_MIN - 1));
        }
        ((*sweep).next4, (*sweep).next6) = (next4, next6);
        let _next = bpf_timer_start(&raw mut (*sweep).timer, PERIOD_NS, 0);
    }
    0
}

/// Frees what is over in a block.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_sweep_block(block: u32, is_v6: u32, tick: u32) -> u32 {
    let Some(slots) = flow::slots(is_v6 != 0, block) else {
        return 0;
    };
    let mut freed = 0;
    for at in 0..SLOTS {
        let slot = flow::slot(slots, at);
        // SAFETY: a live slot.
        let (word, key) = unsafe { (load(&raw const (*slot).word), load(&raw const (*slot).key)) };
        if Word(word).is_live() && flow::is_over(Word(word), key_listener(key), tick) {
            freed += flow::lb_release(slot, word);
        }
    }
    freed
}
