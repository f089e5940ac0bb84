#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    reason = "packet and map memory; every use says why it is sound"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature of an entry point is aya's"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of flows are cut into addresses and ports"
)]
//! What `cargo xtask bench l4` runs the data path with: the wrapper that makes each run of a test see a
//! fresh packet ([`replay`]), a program that does nothing, and the map primitives that a flow table is
//! compared to ([`floor`]). Never loaded by an agent.

#[path = "../binary.rs"]
mod binary;
mod floor;
mod replay;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Restores the packet and goes on to the program under test.
#[xdp]
pub fn replay(ctx: XdpContext) -> u32 {
    if replay::restore(&ctx).is_some() {
        replay::go_on(&ctx);
    }
    xdp_action::XDP_ABORTED
}

/// What measuring itself costs.
#[xdp]
pub fn nothing(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Where live frames end.
#[xdp]
pub fn sink(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// A flow table at its best: one line of an array.
#[xdp]
pub fn floor_array(ctx: XdpContext) -> u32 {
    floor::array(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// The kernel's hash map.
#[xdp]
pub fn floor_hash(ctx: XdpContext) -> u32 {
    floor::hash(&ctx)
}

/// The kernel's hash map that forgets.
#[xdp]
pub fn floor_lru(ctx: XdpContext) -> u32 {
    floor::lru(&ctx)
}

binary::binary!();
