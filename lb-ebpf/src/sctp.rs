//! What SCTP needs beyond ports: its chunks, its checksum, and ABORT for what nobody knows.
//!
//! The checksum is a CRC of the SCTP packet alone, without addresses. So NAT changes it by what the two
//! ports change (`lb_common::crc32c`), whatever the packet's length, and a wrong one stays wrong. A sender on
//! a veth that leaves the checksum to the device (CHECKSUM_PARTIAL) leaves it for good here as with TCP:
//! XDP is not told. Its offload must be off.
//!
//! These are functions of their own for the verifier, which looks at each once. Left out on purpose: a
//! straight line for known flows.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    crc32c,
    maps::Be16,
    packet::{
        Bytes as _, ETHERNET_LEN, Run as _, Transport, protocol,
        sctp::{self, HEADER_LEN, chunk},
        tcp_flags,
    },
    reason::Reason,
};

use crate::{
    frame::{Frame, opaque},
    given::given,
    icmp, link,
    maps::{CONFIG, SCRATCH},
    reset,
    verdict::Verdict,
    walk::Packet,
};

/// Bytes of what we answer: the common header and a chunk without a body.
const ANSWER_LEN: usize = HEADER_LEN + 4;
/// Flag of ABORT and SHUTDOWN COMPLETE: the tag is the one that the peer itself sent.
const TAG_REFLECTED: u8 = 1;

/// Reads the SCTP header of the packet in this CPU's scratch value into the scratch value's transport. Not
/// 0: why not, see [`reason`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_sctp(ctx: *mut xdp_md) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return BAD_RECORD;
    };
    let frame = Frame::of_xdp(&XdpContext::new(ctx));
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    let packet = unsafe { &(*scratch).packet };
    let mut network = packet.network;
    network.l4 = packet.l4();
    network.l4_len = opaque(network.l4_len) & 0xffff;
    match sctp::parse(frame, &network) {
        Ok(transport) => {
            // SAFETY: as above.
            unsafe { (*scratch).transport = transport };
            0
        }
        Err(Reason::Truncated) => TRUNCATED,
        Err(_) => MALFORMED,
    }
}

const BAD_RECORD: u32 = 1;
const TRUNCATED: u32 = 2;
const MALFORMED: u32 = 3;

/// Why [`lb_sctp`] failed.
#[inline(always)]
pub(crate) fn reason(bad: u32) -> Reason {
    match bad {
        BAD_RECORD => Reason::BadRecord,
        TRUNCATED => Reason::Truncated,
        _ => Reason::Malformed,
    }
}

/// Ports of a packet as one word, as stored.
#[inline(always)]
pub(crate) fn ports(src: Be16, dst: Be16) -> u32 {
    let ([a, b], [c, d]) = (src.0, dst.0);
    u32::from_ne_bytes([a, b, c, d])
}

/// The checksum (as stored) of a packet of `len` bytes after a change of its ports.
#[inline(always)]
pub(crate) fn checksum(frame: Frame, stored: u32, old: u32, new: u32, len: u16) -> u32 {
    u32::from_ne_bytes(crc32c::update(
        stored.to_ne_bytes(),
        old.to_ne_bytes(),
        new.to_ne_bytes(),
        len,
        polynomial(frame),
    ))
}

/// The polynomial, which the verifier shall not know.
#[inline(always)]
fn polynomial(frame: Frame) -> u32 {
    frame.forget(crc32c::POLYNOMIAL as usize, u32::MAX as usize) as u32
}

/// Rewrites the ports of a packet, and its checksum. Not 0: it is too short, and nothing was changed.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_sctp_ports(ctx: *mut xdp_md, packet: *const Packet, new: u32) -> u32 {
    given!(1; packet);
    let frame = Frame::of_xdp(&XdpContext::new(ctx));
    let Some(run) = frame.run::<HEADER_LEN>(packet.l4()) else {
        return 1;
    };
    let len = packet.network.l4_len as u16;
    let sum = checksum(frame, run.u32(8), run.u32(0), new, len);
    run.set_u32(0, new);
    run.set_u32(8, sum);
    0
}

/// Turns a packet of no known flow into ABORT, or SHUTDOWN COMPLETE for SHUTDOWN ACK (RFC 9260, 8.4).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_abort(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet, transport);
    let (Ok(verdict) | Err(verdict)) = try_abort(&XdpContext::new(ctx), packet, transport);
    verdict.0
}

#[inline(always)]
fn try_abort(ctx: &XdpContext, packet: &Packet, transport: &Transport) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let frame = Frame::of_xdp(ctx);
    // First, since the compiler would take this check to be in the next one, and the verifier would not.
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::Truncated)?;
    let (ours, theirs) = (link.mac(0), link.mac(6));
    let old = frame
        .run::<ANSWER_LEN>(packet.l4())
        .ok_or(Reason::Truncated)?;
    let (tag, kind) = (old.u32(4), old.u8(HEADER_LEN));
    // Never in answer to ABORT, nor to what only says that all is well.
    if transport.flags & tcp_flags::RST != 0
        || kind == chunk::COOKIE_ACK
        || !icmp::may_reset(config.rst_per_second)
    {
        return Err(Reason::NoFlow.into());
    }
    let answer = if kind == chunk::SHUTDOWN_ACK {
        chunk::SHUTDOWN_COMPLETE
    } else {
        chunk::ABORT
    };
    let network = if packet.is_v6 { 40 } else { 20 };
    let tags = packet.l3() - ETHERNET_LEN;
    // A packet with a chunk has at least what is left of it.
    let cut = frame.len() - packet.l3() - network - ANSWER_LEN;
    // SAFETY: the helpers check what they are asked for.
    let failed = unsafe {
        bpf_xdp_adjust_tail(ctx.ctx, -(cut as i32)) != 0
            || (tags != 0 && bpf_xdp_adjust_head(ctx.ctx, tags as i32) != 0)
    };
    if failed {
        return Err(Reason::HelperFailed.into());
    }
    let frame = Frame::of_xdp(ctx);
    let ports = ports(transport.dst_port, transport.src_port);
    let chunk = u32::from_ne_bytes([answer, TAG_REFLECTED, 0, 4]);
    let sum = u32::from_ne_bytes(crc32c::full_words(
        [ports, tag, 0, chunk],
        polynomial(frame),
    ));
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::HelperFailed)?;
    link.set_mac(0, theirs);
    link.set_mac(6, ours);
    let run = if packet.is_v6 {
        link.set_u16(12, 0x86dd_u16.to_be());
        let run = frame
            .run::<{ 40 + ANSWER_LEN }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        reset::write_v6(run, packet, protocol::SCTP, ANSWER_LEN as u16);
        run.after(40)
    } else {
        link.set_u16(12, 0x0800_u16.to_be());
        let run = frame
            .run::<{ 20 + ANSWER_LEN }>(ETHERNET_LEN)
            .ok_or(Reason::HelperFailed)?;
        reset::write_v4(run, packet, protocol::SCTP, ANSWER_LEN as u16);
        run.after(20)
    };
    run.set_u32(0, ports);
    run.set_u32(4, tag);
    run.set_u32(8, sum);
    run.set_u32(12, chunk);
    Ok(link::leave(packet, packet.ifindex, Reason::AbortSent)
        .unwrap_or(Verdict::returned(Reason::AbortSent)))
}
