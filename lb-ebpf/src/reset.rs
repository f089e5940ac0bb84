//! RST for TCP packets of NAT flows that nobody knows: a client must not wait for what will not come.
//! (RFC 9293, 3.10.7.1.) Never in answer to RST, and only so many a second.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    checksum::fold,
    packet::{Bytes as _, ETHERNET_LEN, Run as _, Transport, protocol, tcp_flags},
    reason::Reason,
};

use crate::{
    frame::{Frame, Ptr},
    given::given,
    icmp,
    maps::CONFIG,
    reply,
    verdict::Verdict,
    walk::Packet,
};

const TCP_LEN: usize = 20;

/// Turns the packet into the answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_reset(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet, transport);
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
    let old = Frame::of_xdp(ctx)
        .run::<TCP_LEN>(packet.l4())
        .ok_or(Reason::Truncated)?;
    let answer = Answer::to(transport, old.u32(4), old.u32(8));
    // A TCP packet has at least what is left of it.
    let network = if packet.is_v6 { 40 } else { 20 };
    let frame = reply::turn(ctx, packet, network + TCP_LEN, 0)?;
    if packet.is_v6 {
        let run = frame
            .run::<{ 40 + TCP_LEN }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        reply::write_v6(run, packet, protocol::TCP, TCP_LEN);
        answer.write(run, 40, transport, run.sum::<8>(8));
    } else {
        let run = frame
            .run::<{ 20 + TCP_LEN }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        reply::write_v4(run, packet, protocol::TCP, TCP_LEN);
        answer.write(run, 20, transport, run.sum::<2>(12));
    }
    Ok(reply::leave(packet, Reason::ResetSent))
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

    /// Writes the TCP header at `at`, behind `addresses` of this sum.
    #[inline(always)]
    fn write(&self, run: Ptr, at: usize, transport: &Transport, addresses: u64) {
        run.set_port(at, transport.dst_port);
        run.set_port(at + 2, transport.src_port);
        run.set_u32(at + 4, self.seq);
        run.set_u32(at + 8, self.ack);
        run.set_u32(
            at + 12,
            u32::from_ne_bytes([(TCP_LEN as u8 / 4) << 4, self.flags, 0, 0]),
        );
        run.set_u32(at + 16, 0);
        let pseudo =
            (TCP_LEN as u16).to_be() as u64 + u16::from_be_bytes([0, protocol::TCP]).to_be() as u64;
        let sum = addresses + pseudo + run.sum::<{ TCP_LEN / 4 }>(at);
        run.set_u16(at + 16, !fold(sum));
    }
}
