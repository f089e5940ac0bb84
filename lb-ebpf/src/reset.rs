//! RST for TCP packets of NAT flows that nobody knows: a client must not wait for what will not come.
//! (RFC 9293, 3.10.7.1.) Never in answer to RST, and only so many a second.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    checksum::fold,
    packet::{Bytes as _, ETHERNET_LEN, Run as _, Transport, protocol, tcp_flags},
    reason::Reason,
};

use crate::{
    frame::{Frame, Ptr},
    icmp, link,
    maps::CONFIG,
    verdict::Verdict,
    walk::Packet,
};

const TTL: u8 = 64;
const TCP_LEN: usize = 20;

/// Turns the packet into the answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_reset(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
) -> u32 {
    if packet.is_null() || transport.is_null() {
        return Verdict::of(Reason::BadRecord).0;
    }
    // SAFETY: not null; the caller's.
    let (packet, transport) = unsafe { (&*packet, &*transport) };
    let (Ok(verdict) | Err(verdict)) = try_answer(&XdpContext::new(ctx), packet, transport);
    verdict.0
}

#[inline(always)]
fn try_answer(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    if transport.flags & tcp_flags::RST != 0 || !icmp::may_reset(config.rst_per_second) {
        return Err(Reason::NoFlow.into());
    }
    let frame = Frame::of_xdp(ctx);
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::Truncated)?;
    let (ours, theirs) = (link.mac(0), link.mac(6));
    let old = frame.run::<TCP_LEN>(packet.l4()).ok_or(Reason::Truncated)?;
    let (seq, ack) = (old.u32(4), old.u32(8));
    let network = if packet.is_v6 { 40 } else { 20 };
    let tags = packet.l3() - ETHERNET_LEN;
    // A TCP packet has at least what is left of it.
    let cut = frame.len() - packet.l3() - network - TCP_LEN;
    // SAFETY: the helpers check what they are asked for.
    let failed = unsafe {
        bpf_xdp_adjust_tail(ctx.ctx, -(cut as i32)) != 0
            || (tags != 0 && bpf_xdp_adjust_head(ctx.ctx, tags as i32) != 0)
    };
    if failed {
        return Err(Reason::HelperFailed.into());
    }
    let answer = Answer::to(transport, seq, ack);
    let frame = Frame::of_xdp(ctx);
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::HelperFailed)?;
    link.set_mac(0, theirs);
    link.set_mac(6, ours);
    if packet.is_v6 {
        link.set_u16(12, 0x86dd_u16.to_be());
        let run = frame
            .run::<{ 40 + TCP_LEN }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        write_v6(run, packet, protocol::TCP, TCP_LEN as u16);
        answer.write(run, 40, transport, (8, 40));
    } else {
        link.set_u16(12, 0x0800_u16.to_be());
        let run = frame
            .run::<{ 20 + TCP_LEN }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        write_v4(run, packet, protocol::TCP, TCP_LEN as u16);
        answer.write(run, 20, transport, (12, 20));
    }
    Ok(link::leave(packet, packet.ifindex, Reason::ResetSent)
        .unwrap_or(Verdict::returned(Reason::ResetSent)))
}

/// Numbers of the answer, as stored.
struct Answer {
    seq: u32,
    ack: u32,
    flags: u8,
}

impl Answer {
    #[inline(always)]
    fn to(transport: &Transport, seq: u32, ack: u32) -> Self {
        if transport.flags & tcp_flags::ACK != 0 {
            return Self {
                seq: ack,
                ack: 0,
                flags: tcp_flags::RST,
            };
        }
        let mut length = transport.bytes as u32;
        if transport.flags & tcp_flags::SYN != 0 {
            length += 1;
        }
        if transport.flags & tcp_flags::FIN != 0 {
            length += 1;
        }
        Self {
            seq: 0,
            ack: u32::from_be(seq).wrapping_add(length).to_be(),
            flags: tcp_flags::RST | tcp_flags::ACK,
        }
    }

    /// Writes the TCP header at `at`; `ends` is where the addresses are.
    #[inline(always)]
    fn write(&self, run: Ptr, at: usize, transport: &Transport, ends: (usize, usize)) {
        run.set_port(at, transport.dst_port);
        run.set_port(at + 2, transport.src_port);
        run.set_u32(at + 4, self.seq);
        run.set_u32(at + 8, self.ack);
        run.set_u32(
            at + 12,
            u32::from_ne_bytes([(TCP_LEN as u8 / 4) << 4, self.flags, 0, 0]),
        );
        run.set_u32(at + 16, 0);
        let mut sum =
            (TCP_LEN as u16).to_be() as u64 + u16::from_be_bytes([0, protocol::TCP]).to_be() as u64;
        for word in 0..5 {
            sum += run.u32(at + 4 * word) as u64;
        }
        let (from, to) = ends;
        for word in 0..(to - from) / 4 {
            sum += run.u32(from + 4 * word) as u64;
        }
        run.set_u16(at + 16, !fold(sum));
    }
}

/// The IPv4 header of an answer with `len` bytes behind it.
#[inline(always)]
pub(crate) fn write_v4(run: Ptr, packet: &Packet, protocol: u8, len: u16) {
    let length = 20 + len;
    run.set_u16(0, u16::from_ne_bytes([0x45, 0]));
    run.set_u16(2, length.to_be());
    run.set_u32(4, u32::from_ne_bytes([0, 0, 0x40, 0]));
    run.set_u16(8, u16::from_ne_bytes([TTL, protocol]));
    run.set_u16(10, 0);
    run.set_addr_v4(12, &packet.dst);
    run.set_addr_v4(16, &packet.src);
    let words = [0, 4, 8, 12, 16].map(|at| run.u32(at) as u64);
    run.set_u16(10, !fold(words.iter().sum()));
}

/// The IPv6 header of an answer with `len` bytes behind it.
#[inline(always)]
pub(crate) fn write_v6(run: Ptr, packet: &Packet, protocol: u8, len: u16) {
    run.set_u32(0, (6_u32 << 28).to_be());
    run.set_u16(4, len.to_be());
    run.set_u16(6, u16::from_ne_bytes([protocol, TTL]));
    run.set_addr_v6(8, &packet.dst);
    run.set_addr_v6(24, &packet.src);
}
