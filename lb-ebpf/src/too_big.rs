//! Telling a client that its packet does not fit on the way to the member: ICMP "fragmentation
//! needed" and ICMPv6 "packet too big" from the VIP, within the budget for ICMP.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, generated::bpf_csum_diff},
    programs::XdpContext,
};
use lb_common::{
    checksum::fold,
    packet::{Bytes as _, ETHERNET_LEN, Run as _, protocol},
    reason::Reason,
};

use crate::{
    frame::{Frame, Ptr},
    icmp, link,
    maps::CONFIG,
    verdict::Verdict,
    walk::Packet,
};

/// Bytes of the packet that the message quotes: it has more, since it was too big.
const QUOTE: usize = 128;
const ICMP_LEN: usize = 8;
const TTL: u8 = 64;

/// Answers; `mtu` is what would have fitted.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_too_big(ctx: *mut xdp_md, packet: *const Packet, mtu: u32) -> u32 {
    if packet.is_null() {
        return Verdict::of(Reason::BadRecord).0;
    }
    // SAFETY: not null; the caller's.
    let packet = unsafe { &*packet };
    let (Ok(verdict) | Err(verdict)) = try_answer(&XdpContext::new(ctx), packet, mtu as usize);
    verdict.0
}

#[inline(always)]
fn try_answer(ctx: &XdpContext, packet: &Packet, mtu: usize) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    if packet.network.ip_len < QUOTE || !icmp::within_budget(config.icmp_per_second) {
        return Err(Reason::TooBig.into());
    }
    let header = if packet.is_v6 { 40 } else { 20 };
    let frame = Frame::of_xdp(ctx);
    let run = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::Truncated)?;
    let (ours, theirs) = (run.mac(0), run.mac(6));
    let tags = packet.l3() - ETHERNET_LEN;
    let cut = frame.len() - packet.l3() - QUOTE;
    // SAFETY: the helpers check what they are asked for.
    let failed = unsafe {
        bpf_xdp_adjust_tail(ctx.ctx, -(cut as i32)) != 0
            || bpf_xdp_adjust_head(ctx.ctx, tags as i32 - (header + ICMP_LEN) as i32) != 0
    };
    if failed {
        return Err(Reason::HelperFailed.into());
    }
    let frame = Frame::of_xdp(ctx);
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::HelperFailed)?;
    link.set_mac(0, theirs);
    link.set_mac(6, ours);
    if packet.is_v6 {
        link.set_u16(12, 0x86dd_u16.to_be());
        let run = frame
            .run::<{ 40 + ICMP_LEN + QUOTE }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        write_v6(run, packet, mtu);
    } else {
        link.set_u16(12, 0x0800_u16.to_be());
        let run = frame
            .run::<{ 20 + ICMP_LEN + QUOTE }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        write_v4(run, packet, mtu);
    }
    Ok(link::leave(packet, packet.ifindex, Reason::TooBigTold)
        .unwrap_or(Verdict::returned(Reason::TooBigTold)))
}

/// Sum of the ICMP message at `at`.
#[inline(always)]
fn sum(run: Ptr, at: usize) -> u64 {
    // SAFETY: the caller's run has these bytes; the verifier checks.
    let sum = unsafe {
        bpf_csum_diff(
            core::ptr::null_mut(),
            0,
            run.pointer(at),
            (ICMP_LEN + QUOTE) as u32,
            0,
        )
    };
    sum.cast_unsigned() & 0xffff_ffff
}

#[inline(always)]
fn write_v4(run: Ptr, packet: &Packet, mtu: usize) {
    let length = (20 + ICMP_LEN + QUOTE) as u16;
    run.set_u16(0, u16::from_ne_bytes([0x45, 0]));
    run.set_u16(2, length.to_be());
    run.set_u32(4, 0);
    run.set_u16(8, u16::from_ne_bytes([TTL, protocol::ICMP]));
    run.set_u16(10, 0);
    run.set_addr_v4(12, &packet.dst);
    run.set_addr_v4(16, &packet.src);
    let words = [0, 4, 8, 12, 16].map(|at| run.u32(at) as u64);
    run.set_u16(10, !fold(words.iter().sum()));
    // Destination unreachable, fragmentation needed.
    run.set_u32(20, u32::from_ne_bytes([3, 4, 0, 0]));
    run.set_u32(24, (mtu as u32 & 0xffff).to_be());
    run.set_u16(22, !fold(sum(run, 20)));
}

#[inline(always)]
fn write_v6(run: Ptr, packet: &Packet, mtu: usize) {
    let length = (ICMP_LEN + QUOTE) as u16;
    run.set_u32(0, (6_u32 << 28).to_be());
    run.set_u16(4, length.to_be());
    run.set_u16(6, u16::from_ne_bytes([protocol::ICMPV6, TTL]));
    run.set_addr_v6(8, &packet.dst);
    run.set_addr_v6(24, &packet.src);
    run.set_u32(40, u32::from_ne_bytes([2, 0, 0, 0]));
    run.set_u32(44, (mtu as u32).to_be());
    let ends = [8, 12, 16, 20, 24, 28, 32, 36].map(|at| run.u32(at) as u64);
    let pseudo = (length.to_be() as u64)
        + (u16::from_be_bytes([0, protocol::ICMPV6]).to_be() as u64)
        + ends.iter().sum::<u64>();
    run.set_u16(42, !fold(sum(run, 40) + pseudo));
}
