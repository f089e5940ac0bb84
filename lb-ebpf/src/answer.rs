//! What an amphora sends, at the edge end of its veth. Nothing from an amphora enters the edge's
//! stack: it leaves by the uplink of its network, or it is dropped.
//!
//! The source must be one of the amphora's own addresses on this veth or a VIP of its load balancer;
//! the destination must not be one that no amphora may reach. `bpf_redirect_neigh` finds the next hop
//! and keeps segmentation offload.

use aya_ebpf::{
    bindings::TC_ACT_REDIRECT, helpers::generated::bpf_redirect_neigh, programs::TcContext,
};
use lb_common::{
    maps::{Addr, AnswerRecord, address_kind},
    packet::{self, Bytes as _, Ends, Icmp, Link, Run as _, protocol},
    reason::Reason,
};

use crate::{
    address, cidr,
    frame::Frame,
    maps::{AMPHORAE, ANSWERS, CONFIG},
};

/// What must be in linear memory: link header, IPv6 header, first bytes of ICMPv6.
const HEADERS: u32 = 14 + 40 + 4;
/// Without IPv6.
const HEADERS_V4: u32 = 14 + 20;

/// Checks and sends.
#[inline(always)]
pub(crate) fn answer(ctx: &TcContext) -> Result<Reason, Reason> {
    // SAFETY: the verifier checks context accesses.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let record: &AnswerRecord = ANSWERS.get(ifindex).ok_or(Reason::AnswerUnknownDevice)?;
    if record.egress_ifindex == 0 {
        return Err(Reason::AnswerUnknownDevice);
    }
    let frame = linear(ctx);
    let link = Link::parse(frame).or(Err(Reason::AnswerNotIp))?;
    let l3 = frame.forget(link.l3, 0x1f);
    let ends = Ends::parse(frame, l3, link.is_v6).or(Err(Reason::AnswerNotIp))?;
    if link.is_v6 && is_discovery(frame, l3, &ends.dst) {
        return Err(Reason::AnswerDiscovery);
    }
    if packet::is_martian(&ends.src, link.is_v6) || !is_own(record, ifindex, &ends.src) {
        return Err(Reason::AnswerSpoofed);
    }
    if packet::is_unroutable(&ends.dst, link.is_v6) || cidr::is_denied(&ends.dst) {
        return Err(Reason::AnswerDenied);
    }
    // SAFETY: no parameters: the kernel looks the next hop up.
    let action = unsafe { bpf_redirect_neigh(record.egress_ifindex, core::ptr::null_mut(), 0, 0) };
    if action == TC_ACT_REDIRECT as i64 {
        Ok(Reason::Answered)
    } else {
        Err(Reason::HelperFailed)
    }
}

/// The packet with its headers in linear memory, where they nearly always are.
#[inline(always)]
fn linear(ctx: &TcContext) -> Frame {
    let frame = Frame::of_tc(ctx);
    let wanted = if ctx.len() < HEADERS {
        HEADERS_V4
    } else {
        HEADERS
    };
    if frame.len() >= wanted as usize {
        return frame;
    }
    // Failing leaves a frame that is too short, which the parser refuses.
    let _too_short = ctx.pull_data(wanted);
    Frame::of_tc(ctx)
}

/// Discovery and group membership: what a stack sends by itself and nobody here wants.
#[inline(always)]
fn is_discovery(frame: Frame, l3: usize, dst: &Addr) -> bool {
    if dst.words().0.to_ne_bytes()[0] == 0xff {
        return true;
    }
    let Some(run) = frame.run::<41>(l3) else {
        return false;
    };
    run.u8(6) == protocol::ICMPV6 && Icmp::of(run.u8(40), true) == Icmp::Discovery
}

#[inline(always)]
fn is_own(record: &AnswerRecord, ifindex: u32, src: &Addr) -> bool {
    let Some(config) = CONFIG.get(0) else {
        return false;
    };
    let Some(source) = address::find(config.hash_seed, record.segment, src) else {
        return false;
    };
    match source.kind {
        address_kind::VIP => source.owner == record.lb,
        address_kind::AMPHORA => AMPHORAE
            .get(source.owner)
            .is_some_and(|amphora| amphora.ifindex == ifindex),
        _ => false,
    }
}
