//! The wrapper: see `lb_common::replay`.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    btf_maps::{Array, ProgramArray},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::replay::{FIRST_PORT, PORTS_OF_CLIENT, Plan, order};

#[btf_map]
static PLAN: Array<Plan, 1> = Array::new();
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

const ETHERNET: usize = 14;
/// Low half of an IPv4 source address, and its source port.
const CLIENT_V4: (usize, usize) = (ETHERNET + 14, ETHERNET + 20);
/// The same of IPv6 without extension headers.
const CLIENT_V6: (usize, usize) = (ETHERNET + 22, ETHERNET + 40);

/// Where the packet begins and ends.
#[inline(always)]
fn bounds(ctx: &XdpContext) -> (usize, usize) {
    // Volatile: after a helper that moves the packet these are other numbers.
    // SAFETY: the verifier checks context accesses.
    unsafe {
        (
            read_volatile(&raw const (*ctx.ctx).data) as usize,
            read_volatile(&raw const (*ctx.ctx).data_end) as usize,
        )
    }
}

/// Puts the packet back and makes it one of the flow whose turn it is.
#[inline(always)]
pub(crate) fn restore(ctx: &XdpContext) -> Option<()> {
    let plan = PLAN.get_ptr_mut(0)?;
    // SAFETY: a live value of an array; one test runs at a time.
    let plan = unsafe { &mut *plan };
    if plan.is_live == 0 {
        put_back(ctx, plan)?;
    }
    let (data, end) = bounds(ctx);
    for (index, word) in plan.template.iter().enumerate() {
        let at = data + index * 8;
        if at + 8 > end {
            break;
        }
        // SAFETY: in the packet, as was just checked; these machines store words at any address.
        unsafe { *(at as *mut u64) = *word };
    }
    let mut number = number(plan);
    if plan.order == order::SCATTERED {
        number = scattered(number);
    }
    plan.next += 1;
    if plan.order == order::ONE {
        return Some(());
    }
    // An odd factor: as many clients as there are numbers, but not beside each other.
    let client = ((number / PORTS_OF_CLIENT) as u16).wrapping_mul(0x9e37);
    let port = (FIRST_PORT + number % PORTS_OF_CLIENT) as u16;
    let (client_at, port_at) = if plan.is_v6 == 0 {
        CLIENT_V4
    } else {
        CLIENT_V6
    };
    store(data + client_at, end, client)?;
    store(data + port_at, end, port)
}

/// Head and tail where they were.
#[inline(always)]
fn put_back(ctx: &XdpContext, plan: &mut Plan) -> Option<()> {
    let (data, _) = bounds(ctx);
    // Through the map: what comes back is a number for the verifier, not a pointer.
    // SAFETY: a field of a live value.
    let here = unsafe {
        write_volatile(&raw mut plan.here, data as u64);
        read_volatile(&raw const plan.here)
    };
    if plan.is_first != 0 {
        plan.is_first = 0;
        plan.home = here;
    }
    let moved = plan.home.wrapping_sub(here) as i32;
    // SAFETY: the context is that of this run.
    if moved != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, moved) } != 0 {
        return None;
    }
    let (data, end) = bounds(ctx);
    let grown = (plan.length as i32).wrapping_sub(end.wrapping_sub(data) as i32);
    // SAFETY: as above.
    if grown != 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, grown) } != 0 {
        return None;
    }
    Some(())
}

/// Number of the flow that the next packet is of.
#[inline(always)]
fn number(plan: &mut Plan) -> u32 {
    if plan.order != order::RANDOM {
        return plan.next as u32 & plan.mask;
    }
    // Knuth's linear congruence; the high bits are the good ones.
    plan.random = plan
        .random
        .wrapping_mul(0x5851_f42d_4c95_7f2d)
        .wrapping_add(0x1405_7b7e_f767_814f);
    (plan.random >> 32) as u32 & plan.mask
}

/// Another number for each number of 30 bits, which is what clients and ports have.
#[inline(always)]
fn scattered(number: u32) -> u32 {
    const ALL: u32 = (1 << 30) - 1;
    let mixed = number.wrapping_mul(0x9e37_79b1) & ALL;
    (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) & ALL
}

#[inline(always)]
fn store(at: usize, end: usize, value: u16) -> Option<()> {
    if at + 2 > end {
        return None;
    }
    // SAFETY: as above.
    unsafe { *(at as *mut u16) = value.to_be() };
    Some(())
}

/// Runs the program under test; comes back only if there is none.
#[inline(always)]
pub(crate) fn go_on(ctx: &XdpContext) {
    // SAFETY: nothing is left to drop here.
    unsafe { TARGET.tail_call(ctx, 0) };
}
