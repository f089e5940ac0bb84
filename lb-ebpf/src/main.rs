#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics, asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "64-bit compare and exchange, see steer::exchange"
    )
)]
#![expect(
    unsafe_code,
    reason = "packet and map memory; every use says why it is sound"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "packed words are taken apart, and helpers want narrow numbers"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature of an entry point is aya's"
)]
//! The kernel programs: entry points. One file a concern:
//!
//! ```text
//! lb_xdp    ── fast ── directory           the straight line of known flows
//!           ── walk ─┬─ address, cidr      whose packet, which listener
//!                    ├─ steer ── drain     to an amphora
//!                    ├─ balance            straight to members
//!                    │   ├─ place, flow, rule                         known flows
//!                    │   ├─ open ── limit, choose, persist, reverse   new ones
//!                    │   ├─ nat, dsr                                  sending them on
//!                    │   └─ too_big, reset, sctp                      what clients are told instead
//!                    └─ icmp, icmp_error   echo and errors
//! lb_answer ── answer                      from an amphora
//! link (sending on), frame (packet memory), given (arguments), word (shared words), verdict, stats (counters, events), maps
//! ```
//!
//! Invariants: every return path has one `lb_common::reason::Reason`, counted; nothing is allocated;
//! loops have constant bounds; bytes of a packet that is not ours are never written.

mod address;
mod answer;
mod balance;
mod binary;
mod choose;
mod cidr;
mod directory;
mod drain;
mod dsr;
mod fast;
mod flow;
mod frame;
mod given;
mod icmp;
mod icmp_error;
mod limit;
mod link;
mod maps;
mod nat;
mod open;
mod persist;
mod place;
mod reset;
mod reverse;
mod rule;
mod sctp;
mod stats;
mod steer;
mod sweep;
mod too_big;
mod verdict;
mod walk;
mod word;

use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_common::reason::Fate;

use crate::verdict::{Todo, Verdict};

/// Uplinks: clients' packets in, members' answers in.
#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    let mut verdict = Verdict(fast::lb_fast(ctx.ctx));
    if verdict.0 == fast::LONG_WAY {
        verdict = Verdict(walk::lb_walk(ctx.ctx));
    }
    // Looked up only where it is needed: most packets have nothing left to do.
    if let Some(todo) = verdict.todo()
        && let Some(scratch) = maps::SCRATCH.get_ptr_mut(0)
    {
        // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
        let scratch = unsafe { &*scratch };
        let packet = &scratch.packet;
        verdict = match todo {
            Todo::Balance(listener) => Verdict(balance::lb_balance(
                ctx.ctx,
                packet,
                &scratch.transport,
                listener,
            )),
            Todo::Open(listener) => Verdict(balance::lb_balance(
                ctx.ctx,
                packet,
                &scratch.transport,
                listener | balance::UNKNOWN,
            )),
            Todo::ErrorToMember(listener) => Verdict(icmp_error::lb_error_to_member(
                ctx.ctx,
                packet,
                &scratch.key,
                listener,
            )),
            Todo::ErrorToClient => Verdict(icmp_error::lb_error_to_client(
                ctx.ctx,
                packet,
                &scratch.key,
            )),
            Todo::Reverse => Verdict(nat::lb_reverse(ctx.ctx, packet, &scratch.transport)),
            Todo::Steer(lb, part) => steer::steer(&ctx, packet, lb, &scratch.key, part).into(),
        };
    }
    stats::count(verdict);
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(&ctx, "lb_xdp: reason {}", verdict.reason());
    verdict.action()
}

/// Passes everything; see `lb_common::maps::names::PROGRAM_PASS`.
#[xdp]
pub fn lb_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Run once by the agent: starts the sweep of the flow table, which then goes on by itself.
#[xdp]
pub fn lb_sweep(_ctx: XdpContext) -> u32 {
    if sweep::start() == 0 {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// Ingress of the edge end of an amphora's veth.
#[classifier]
pub fn lb_answer(ctx: TcContext) -> i32 {
    let (Ok(reason) | Err(reason)) = answer::answer(&ctx);
    stats::count(reason.into());
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(&ctx, "lb_answer: reason {}", reason as u32);
    match reason.fate() {
        Fate::Forwarded => TC_ACT_REDIRECT,
        Fate::Passed | Fate::Dropped => TC_ACT_SHOT,
    }
}

binary::binary!();
