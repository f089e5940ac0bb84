//! Telling a client that its packet does not fit on the way to the member: ICMP "fragmentation
//! needed" and ICMPv6 "packet too big" from the VIP, within the budget for ICMP.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_csum_diff, programs::XdpContext};
use lb_common::{
    checksum::fold,
    packet::{Bytes as _, ETHERNET_LEN, protocol},
    reason::Reason,
};

use crate::{frame::Ptr, given::given, icmp, maps::CONFIG, reply, verdict::Verdict, walk::Packet};

/// Bytes of the packet that the message quotes: it has more, since it was too big.
const QUOTE: usize = 128;
const ICMP_LEN: usize = 8;

/// Answers; `mtu` is what would have fitted.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_too_big(ctx: *mut xdp_md, packet: *const Packet, mtu: u32) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet);
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
    let frame = reply::turn(ctx, packet, QUOTE, header + ICMP_LEN)?;
    if packet.is_v6 {
        let run = frame
            .run::<{ 40 + ICMP_LEN + QUOTE }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        write_v6(run, packet, mtu);
    } else {
        let run = frame
            .run::<{ 20 + ICMP_LEN + QUOTE }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        write_v4(run, packet, mtu);
    }
    Ok(reply::leave(packet, Reason::TooBigTold))
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
    reply::write_v4(run, packet, protocol::ICMP, ICMP_LEN + QUOTE);
    // Destination unreachable, fragmentation needed.
    run.set_u32(20, u32::from_ne_bytes([3, 4, 0, 0]));
    run.set_u32(24, (mtu as u32 & 0xffff).to_be());
    run.set_u16(22, !fold(sum(run, 20)));
}

#[inline(always)]
fn write_v6(run: Ptr, packet: &Packet, mtu: usize) {
    let length = ICMP_LEN + QUOTE;
    reply::write_v6(run, packet, protocol::ICMPV6, length);
    run.set_u32(40, u32::from_ne_bytes([2, 0, 0, 0]));
    run.set_u32(44, (mtu as u32).to_be());
    let pseudo = (length as u16).to_be() as u64
        + u16::from_be_bytes([0, protocol::ICMPV6]).to_be() as u64
        + run.sum::<8>(8);
    run.set_u16(42, !fold(sum(run, 40) + pseudo));
}
