//! Answers of ours to a client, made out of its packet: link header turned round, priority tags off, an
//! IP header from the VIP, and room for what follows it.

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    checksum::fold,
    packet::{Bytes as _, ETHERNET_LEN},
    reason::Reason,
};

use crate::{
    frame::{Frame, Ptr},
    link,
    verdict::Verdict,
    walk::Packet,
};

const TTL: u8 = 64;

/// Makes the frame one whose link header is followed by `more` bytes and the first `keep` ones from the old
/// IP header on (it must have as many), and writes the link header. Invalidates frames.
#[inline(always)]
pub(crate) fn turn(
    ctx: &XdpContext,
    packet: &Packet,
    keep: usize,
    more: usize,
) -> Result<Frame, Reason> {
    let frame = Frame::of_xdp(ctx);
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::Truncated)?;
    let (ours, theirs) = (link.mac(0), link.mac(6));
    let tags = packet.l3() - ETHERNET_LEN;
    let cut = frame.len() - packet.l3() - keep;
    let head = tags as i32 - more as i32;
    // SAFETY: the helpers check what they are asked for.
    let failed = unsafe {
        bpf_xdp_adjust_tail(ctx.ctx, -(cut as i32)) != 0
            || (head != 0 && bpf_xdp_adjust_head(ctx.ctx, head) != 0)
    };
    if failed {
        return Err(Reason::HelperFailed);
    }
    let frame = Frame::of_xdp(ctx);
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::HelperFailed)?;
    link.set_mac(0, theirs);
    link.set_mac(6, ours);
    let ethertype: u16 = if packet.is_v6 { 0x86dd } else { 0x0800 };
    link.set_u16(12, ethertype.to_be());
    Ok(frame)
}

/// The IPv4 header of an answer with `length` bytes behind it.
#[inline(always)]
pub(crate) fn write_v4(run: Ptr, packet: &Packet, protocol: u8, length: usize) {
    run.set_u16(0, u16::from_ne_bytes([0x45, 0]));
    run.set_u16(2, (20 + length as u16).to_be());
    run.set_u32(4, u32::from_ne_bytes([0, 0, 0x40, 0]));
    run.set_u16(8, u16::from_ne_bytes([TTL, protocol]));
    run.set_u16(10, 0);
    run.set_addr_v4(12, &packet.dst);
    run.set_addr_v4(16, &packet.src);
    run.set_u16(10, !fold(run.sum::<5>(0)));
}

/// Likewise IPv6.
#[inline(always)]
pub(crate) fn write_v6(run: Ptr, packet: &Packet, protocol: u8, length: usize) {
    run.set_u32(0, (6_u32 << 28).to_be());
    run.set_u16(4, (length as u16).to_be());
    run.set_u16(6, u16::from_ne_bytes([protocol, TTL]));
    run.set_addr_v6(8, &packet.dst);
    run.set_addr_v6(24, &packet.src);
}

/// Sends it back where the packet came from: by redirect where that will do, since XDP_TX on veth is lost
/// unless the peer has a program.
#[inline(always)]
pub(crate) fn leave(packet: &Packet, reason: Reason) -> Verdict {
    link::leave(packet, packet.ifindex, reason).unwrap_or(Verdict::returned(reason))
}
