#![no_std]
#![no_main]
//! The kernel programs: entry points. One file a concern.

mod maps;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// Uplinks: clients' packets in, members' answers in.
#[xdp]
pub fn lb_xdp(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Passes everything; see `lb_common::maps::names::PROGRAM_PASS`.
#[xdp]
pub fn lb_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Ingress of the edge end of an amphora's veth.
#[classifier]
pub fn lb_answer(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT
}

#[cfg(all(not(test), target_arch = "bpf"))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
