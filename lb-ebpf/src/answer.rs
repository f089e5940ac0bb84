//! What an amphora sends, at the edge end of its veth. Nothing from an amphora enters the edge's
//! stack: it leaves by the uplink of its network, or it is dropped.
//!
//! The source must be one of the amphora's own addresses on this veth or a VIP of its load balancer;
//! the destination must not be one that no amphora may reach (a host that is a VIP's client is
//! answered all the same). `bpf_redirect_neigh` finds the next hop
//! and keeps segmentation offload.

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

/// Bytes of a TCP header up to its flags.
const TO_TCP_FLAGS: usize = 14;
/// What must be in linear memory of a long packet: link, IPv6 and TCP headers up to the flags.
const HEADERS_V6: u32 = 14 + 40 + TO_TCP_FLAGS as u32;
/// Of one that is too short for that: the same of IPv4.
const HEADERS_V4: u32 = 14 + 20 + TO_TCP_FLAGS as u32;
/// Of one that is shorter still.
const HEADERS_MIN: u32 = 14 + 20;

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
    let source = match source(record, ifindex, &ends.src) {
        Some(source) if !packet::is_martian(&ends.src, link.is_v6) => source,
        _ => return Err(Reason::AnswerSpoofed),
    };
    if packet::is_unroutable(&ends.dst, link.is_v6) {
        return Err(Reason::AnswerDenied);
    }
    if cidr::is_denied(&ends.dst)
        && !(source == Source::Vip && continues_tcp(frame, l3, link.is_v6))
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
    let wanted = match ctx.len() {
        len if len < HEADERS_V4 => HEADERS_MIN,
        len if len < HEADERS_V6 => HEADERS_V4,
        _ => HEADERS_V6,
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

/// Whose address a packet comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The amphora's own: it asks members.
    Amphora,
    /// A VIP's: it answers clients.
    Vip,
}

/// `None`: somebody else's.
#[inline(always)]
fn source(record: &AnswerRecord, ifindex: u32, src: &Addr) -> Option<Source> {
    let config = CONFIG.get(0)?;
    let (owned, _) = address::find(config.hash_seed, record.segment, src)?;
    match owned.kind {
        address_kind::VIP if owned.owner == record.lb => Some(Source::Vip),
        address_kind::AMPHORA if AMPHORAE.get(owned.owner)?.ifindex == ifindex => {
            Some(Source::Amphora)
        }
        _ => None,
    }
}

/// A TCP segment that opens nothing. The host itself may be a client of a VIP, so it may be answered,
/// but never asked.
#[inline(always)]
fn continues_tcp(frame: Frame, l3: usize, is_v6: bool) -> bool {
    const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
    // Our own stack sends neither options nor extension headers in front of TCP.
    let flags = if is_v6 {
        match frame.run::<{ 40 + TO_TCP_FLAGS }>(l3) {
            Some(run) if run.u8(6) == protocol::TCP => run.u8(40 + 13),
            _ => return false,
        }
    } else {
        match frame.run::<{ 20 + TO_TCP_FLAGS }>(l3) {
            // A later piece of a datagram has no header where it is looked for.
            Some(run)
                if run.u8(0) & 0x0f == 5
                    && run.u8(9) == protocol::TCP
                    && run.be16(6) & 0x1fff == 0 =>
            {
                run.u8(20 + 13)
            }
            _ => return false,
        }
    };
    flags & SYN_ACK != tcp_flags::SYN
}
