//! NAT straight to members: client → VIP becomes SNAT address → member, and back. One entry a
//! direction in `FLOWS`, each keyed by what is on the wire; this file applies them, `flow` makes them.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    checksum::Delta,
    maps::{Addr, FlowEntry, FlowKey, flow_state},
    packet::{Bytes as _, Run as _, is_syn, protocol},
    reason::Reason,
};

use crate::{
    flow,
    frame::{Frame, Mac},
    link,
    maps::{FLOWS, MEMBERS, NEIGHBOURS},
    stats,
    walk::Packet,
};

/// How old `seen_ns` may be before it is written again: a write a packet would keep the line busy.
const SEEN_EVERY_NS: u64 = 1_000_000_000;

/// A client's packet to a NAT listener. [`Reason::NoFlow`]: there is no flow (any more).
#[inline(never)]
pub(crate) fn forward(ctx: &XdpContext, packet: &Packet, key: &FlowKey, flags: u8) -> Reason {
    let (Ok(reason) | Err(reason)) = try_forward(ctx, packet, key, flags);
    reason
}

#[inline(always)]
fn try_forward(
    ctx: &XdpContext,
    packet: &Packet,
    key: &FlowKey,
    flags: u8,
) -> Result<Reason, Reason> {
    let entry = FLOWS.get_ptr_mut(key).ok_or(Reason::NoFlow)?;
    if is_syn(flags) && flow::forgotten_if_over(entry) {
        return Err(Reason::NoFlow);
    }
    let next_hop = next_hop(entry)?;
    apply(ctx, packet, key, flags, entry, next_hop, stats::now_ns())?;
    Ok(Reason::NatForward)
}

/// A member's packet to a SNAT address.
#[inline(never)]
pub(crate) fn reverse(ctx: &XdpContext, packet: &Packet, key: &FlowKey, flags: u8) -> Reason {
    let (Ok(reason) | Err(reason)) = try_reverse(ctx, packet, key, flags);
    reason
}

#[inline(always)]
fn try_reverse(
    ctx: &XdpContext,
    packet: &Packet,
    key: &FlowKey,
    flags: u8,
) -> Result<Reason, Reason> {
    let entry = FLOWS.get_ptr_mut(key).ok_or(Reason::NoReverseFlow)?;
    // SAFETY: a live map value; these fields do not change while it lives.
    let (listener, next_hop) = unsafe { ((*entry).listener, Mac::load(&(*entry).dst_mac)) };
    apply(ctx, packet, key, flags, entry, next_hop, stats::now_ns())?;
    stats::count_out(listener, packet.network.ip_len);
    Ok(Reason::NatReverse)
}

/// Link address towards the member: what the agent keeps fresh, as long as the index still stands
/// for this member; else what the flow began with.
#[inline(always)]
pub(crate) fn next_hop(entry: *const FlowEntry) -> Result<Mac, Reason> {
    // SAFETY: a live map value; these fields do not change while it lives.
    let (index, addr, opened_with) =
        unsafe { ((*entry).member, &(*entry).dst, Mac::load(&(*entry).dst_mac)) };
    if let Some(member) = MEMBERS.get(index)
        && member.addr.words() == addr.words()
        && let Some(mac) = neighbour(index)
    {
        return Ok(mac);
    }
    if opened_with.is_zero() {
        return Err(Reason::NoNeighbour);
    }
    Ok(opened_with)
}

/// What the agent says of a member's next hop.
#[inline(always)]
pub(crate) fn neighbour(member: u32) -> Option<Mac> {
    let word = NEIGHBOURS.get(member)?;
    // SAFETY: a live map value; the agent stores whole words.
    let word = unsafe { core::ptr::read_volatile(word) };
    if word >> 63 == 0 {
        return None;
    }
    Some(Mac::from_le_word(word))
}

/// Rewrites the packet as its entry says and sends it. Everything that can fail comes before the
/// first byte is changed.
#[inline(always)]
fn apply(
    ctx: &XdpContext,
    packet: &Packet,
    key: &FlowKey,
    flags: u8,
    entry: *mut FlowEntry,
    next_hop: Mac,
    now: u64,
) -> Result<(), Reason> {
    // SAFETY: a live map value; what is read here does not change while it lives.
    let to = unsafe { &*entry };
    if !link::leave_by(to.ifindex) {
        return Err(Reason::NoDevice);
    }
    let rewrite = Rewrite {
        src: to.src,
        dst: to.dst,
    };
    let addresses = Delta::none()
        .addr(&packet.src, &to.src)
        .addr(&packet.dst, &to.dst);
    let ports = addresses
        .port(key.src_port, to.src_port)
        .port(key.dst_port, to.dst_port);
    let frame = Frame::of_xdp(ctx);
    let is_tcp = packet.network.protocol == protocol::TCP;
    let l4 = packet.network.l4;
    if is_tcp {
        let run = frame.run::<20>(l4).ok_or(Reason::Truncated)?;
        run.set_u16(16, ports.apply(run.u16(16)));
        run.set_port(0, to.src_port);
        run.set_port(2, to.dst_port);
    } else {
        let run = frame.run::<8>(l4).ok_or(Reason::Truncated)?;
        run.set_u16(6, ports.apply_udp(run.u16(6)));
        run.set_port(0, to.src_port);
        run.set_port(2, to.dst_port);
    }
    rewrite_network(frame, packet.l3, packet.is_v6, &rewrite, addresses)?;
    let (src_mac, seen) = (Mac::load(&to.src_mac), to.seen_ns);
    if now.wrapping_sub(seen) > SEEN_EVERY_NS {
        // SAFETY: a live map value; any writer's time is right.
        unsafe { core::ptr::write_volatile(&raw mut (*entry).seen_ns, now) };
    }
    flow::track(entry, packet.network.protocol, flags, to.state);
    link::write_header(ctx, packet.l3, packet.is_v6, next_hop, src_mac)
}

/// New addresses of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Rewrite {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
}

/// Writes the addresses and takes one from TTL or hop limit.
#[inline(always)]
pub(crate) fn rewrite_network(
    frame: Frame,
    l3: usize,
    is_v6: bool,
    to: &Rewrite,
    addresses: Delta,
) -> Result<(), Reason> {
    if is_v6 {
        let run = frame.run::<40>(l3).ok_or(Reason::Truncated)?;
        run.set_u8(7, run.u8(7) - 1);
        run.set_addr_v6(8, &to.src);
        run.set_addr_v6(24, &to.dst);
        return Ok(());
    }
    let run = frame.run::<20>(l3).ok_or(Reason::Truncated)?;
    let old = run.u16(8);
    run.set_u8(8, run.u8(8) - 1);
    let delta = addresses.word(old, run.u16(8));
    run.set_u16(10, delta.apply(run.u16(10)));
    run.set_addr_v4(12, &to.src);
    run.set_addr_v4(16, &to.dst);
    Ok(())
}

/// Whether a flow of this state is over, so that a SYN may begin another.
#[inline(always)]
pub(crate) fn is_over(state: u32) -> bool {
    state >= flow_state::CLOSING
}
