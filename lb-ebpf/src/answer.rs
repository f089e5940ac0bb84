//! What an amphora sends, at the edge end of its veth. Nothing from an amphora enters the edge's
//! stack: it leaves by the uplink of its network, or it is dropped.
//!
//! The source must be one of the amphora's own addresses on this veth or a VIP of its load balancer;
//! the destination must not be one that no amphora may reach. `bpf_redirect_neigh` finds the next hop
//! and keeps segmentation offload.
//!
//! A host may itself be a client of a VIP: what continues a TCP connection from a VIP goes to it all
//! the same, for nothing can be opened that way.

use aya_ebpf::{
    bindings::TC_ACT_REDIRECT, helpers::generated::bpf_redirect_neigh, programs::TcContext,
};
use lb_common::{
    maps::{Addr, AnswerRecord, address_kind},
    packet::{self, Bytes as _, Ends, Icmp, Link, Run as _, protocol, tcp_flags},
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
    if packet::is_martian(&ends.src, link.is_v6) {
        return Err(Reason::AnswerSpoofed);
    }
    let kind = own_kind(record, ifindex, &ends.src);
    if kind == 0 {
        return Err(Reason::AnswerSpoofed);
    }
    if packet::is_unroutable(&ends.dst, link.is_v6) {
        return Err(Reason::AnswerDenied);
    }
    if cidr::is_denied(&ends.dst) && !(kind == address_kind::VIP && is_reply(frame, l3, link.is_v6))
    {
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

/// Whether it is part of a TCP connection that the other side opened: anything but its first packet,
/// in the plain form that a stack sends.
#[inline(always)]
fn is_reply(frame: Frame, l3: usize, is_v6: bool) -> bool {
    let flags = if is_v6 {
        let Some(run) = frame.run::<54>(l3) else {
            return false;
        };
        if run.u8(6) != protocol::TCP {
            return false;
        }
        run.u8(40 + 13)
    } else {
        let Some(run) = frame.run::<34>(l3) else {
            return false;
        };
        let is_first = (run.u8(6) & 0x1f) == 0 && run.u8(7) == 0;
        if run.u8(0) != 0x45 || run.u8(9) != protocol::TCP || !is_first {
            return false;
        }
        run.u8(20 + 13)
    };
    flags & (tcp_flags::ACK | tcp_flags::RST) != 0
}

/// Kind of an address that the amphora may send from on this veth; 0: it may not.
#[inline(always)]
fn own_kind(record: &AnswerRecord, ifindex: u32, src: &Addr) -> u32 {
    let Some(config) = CONFIG.get(0) else {
        return 0;
    };
    let Some(source) = address::find(config.hash_seed, record.segment, src) else {
        return 0;
    };
    let is_own = match source.kind {
        address_kind::VIP => source.owner == record.lb,
        address_kind::AMPHORA => AMPHORAE
            .get(source.owner)
            .is_some_and(|amphora| amphora.ifindex == ifindex),
        _ => false,
    };
    if is_own { source.kind } else { 0 }
}
