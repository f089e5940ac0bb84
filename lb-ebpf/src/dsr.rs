//! Direct server return: the client's packet reaches its member as it is, by another link header, or
//! inside another IP packet. The answer never passes us.
//!
//! The outer source varies with the flow, so that members spread flows over their queues; nobody has
//! these addresses. The outer packet takes over the inner one's traffic class.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::{
    checksum::fold,
    maps::{Config, MemberRecord},
    packet::{Bytes as _, ETHERNET_LEN, Run as _},
    reason::Reason,
};

use crate::{
    balance::{OUTER_V4, OUTER_V6},
    frame::{Frame, Mac, Ptr},
    link,
    walk::Packet,
};

const TTL: u8 = 64;
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const DONT_FRAGMENT: u16 = 0x4000;

/// Another link header, nothing else.
#[inline(always)]
pub(crate) fn rewrite_link(
    ctx: &XdpContext,
    packet: &Packet,
    record: &MemberRecord,
    next_hop: Mac,
) -> Result<(), Reason> {
    link::write_header(
        ctx,
        packet.l3(),
        packet.is_v6,
        next_hop,
        Mac::load(&record.src_mac),
    )
}

/// Puts the packet into one to the member.
#[inline(always)]
pub(crate) fn encapsulate(
    ctx: &XdpContext,
    packet: &Packet,
    record: &MemberRecord,
    next_hop: Mac,
    hash: u64,
    config: &Config,
) -> Result<(), Reason> {
    let first = Frame::of_xdp(ctx)
        .run::<2>(packet.l3())
        .ok_or(Reason::Truncated)?
        .u16(0);
    let class = if packet.is_v6 {
        (u16::from_be(first) >> 4) as u8
    } else {
        u16::from_be(first) as u8
    };
    let inner = Inner {
        is_v6: packet.is_v6,
        class,
        len: packet.network.ip_len,
        tags: packet.l3() - ETHERNET_LEN,
    };
    wrap(ctx, &inner, record, next_hop, hash, config)
}

/// The packet that goes inside.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    pub(crate) is_v6: bool,
    /// Traffic class.
    pub(crate) class: u8,
    /// Bytes from its IP header on.
    pub(crate) len: usize,
    /// Bytes of tags before it, which are taken off.
    pub(crate) tags: usize,
}

/// Puts a packet into one to the member. Invalidates frames.
#[inline(always)]
pub(crate) fn wrap(
    ctx: &XdpContext,
    inner: &Inner,
    record: &MemberRecord,
    next_hop: Mac,
    hash: u64,
    config: &Config,
) -> Result<(), Reason> {
    let protocol = if inner.is_v6 { IPV6_IN_IP } else { IPV4_IN_IP };
    let src_mac = Mac::load(&record.src_mac);
    if record.addr.is_v4() {
        let run = make_room::<{ ETHERNET_LEN + OUTER_V4 }>(ctx, inner.tags, OUTER_V4)?;
        write_link(run, next_hop, src_mac, 0x0800);
        write_v4(run, record, config, hash, inner.class, protocol, inner.len);
    } else {
        let run = make_room::<{ ETHERNET_LEN + OUTER_V6 }>(ctx, inner.tags, OUTER_V6)?;
        write_link(run, next_hop, src_mac, 0x86dd);
        write_v6(run, record, config, hash, inner.class, protocol, inner.len);
    }
    Ok(())
}

/// Moves the packet's beginning so that link and outer header fit before the inner one. Invalidates
/// frames.
#[inline(always)]
fn make_room<const LEN: usize>(ctx: &XdpContext, tags: usize, outer: usize) -> Result<Ptr, Reason> {
    // Tags, if there are any, make room.
    let grow = if tags == 0 { outer } else { outer - tags };
    // SAFETY: the helper checks that there is headroom.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(grow as i32)) } != 0 {
        return Err(Reason::HelperFailed);
    }
    Frame::of_xdp(ctx).run::<LEN>(0).ok_or(Reason::HelperFailed)
}

#[inline(always)]
fn write_link(run: Ptr, dst: Mac, src: Mac, ethertype: u16) {
    run.set_mac(0, dst);
    run.set_mac(6, src);
    run.set_u16(12, ethertype.to_be());
}

#[inline(always)]
fn write_v4(
    run: Ptr,
    record: &MemberRecord,
    config: &Config,
    hash: u64,
    class: u8,
    protocol: u8,
    inner: usize,
) {
    let spread = (hash >> 20) as u32 & config.outer_spread;
    let src = u32::from_ne_bytes(config.outer_v4) | spread.to_be();
    let dst = record.addr.tail();
    let length = (inner + OUTER_V4) as u16;
    let first = u32::from_ne_bytes([0x45, class, (length >> 8) as u8, length as u8]);
    let second = u32::from_ne_bytes([0, 0, (DONT_FRAGMENT >> 8) as u8, 0]);
    let third = u32::from_ne_bytes([TTL, protocol, 0, 0]);
    let sum = first as u64 + second as u64 + third as u64 + src as u64 + dst as u64;
    run.set_u32(14, first);
    run.set_u32(18, second);
    run.set_u16(22, third as u16);
    run.set_u16(24, !fold(sum));
    run.set_u32(26, src);
    run.set_u32(30, dst);
}

#[inline(always)]
fn write_v6(
    run: Ptr,
    record: &MemberRecord,
    config: &Config,
    hash: u64,
    class: u8,
    protocol: u8,
    inner: usize,
) {
    let label = (hash >> 20) as u32 & 0xf_ffff;
    let first = 6 << 28 | (class as u32) << 20 | label;
    let spread = (hash >> 20) as u32 & config.outer_spread;
    let (prefix, rest) = config.outer_v6.words();
    let rest = rest | (spread as u64).to_be();
    let (dst_first, dst_second) = record.addr.words();
    run.set_u32(14, first.to_be());
    run.set_u16(18, (inner as u16).to_be());
    run.set_u8(20, protocol);
    run.set_u8(21, TTL);
    run.set_u64(22, prefix);
    run.set_u64(30, rest);
    run.set_u64(38, dst_first);
    run.set_u64(46, dst_second);
}
