//! ICMP to addresses of ours: echo to a VIP is answered, errors follow the conversation they are
//! about (see also `icmp_error`), the rest is dropped. (Discovery never comes here.)

use aya_ebpf::programs::XdpContext;
use lb_common::{
    checksum::Delta,
    maps::FlowKey,
    packet::{Bytes as _, ETHERNET_LEN, Icmp, Inner, Run as _},
    reason::Reason,
};

use crate::{
    frame::Frame,
    link,
    maps::{CONFIG, ICMP_BUDGET},
    stats,
    walk::Packet,
};

/// Bytes of an ICMP header.
const ICMP_LEN: usize = 8;
/// TTL and hop limit of an answer.
const TTL: u8 = 64;
const SECOND_NS: u64 = 1_000_000_000;

/// ICMP to a VIP, or (`is_vip` false) to a NAT source address. [`Reason::SteeredIcmpError`] means: an
/// error, and `key` is now the flow that it is about, as the other side sends.
#[inline(never)]
pub(crate) fn handle(ctx: &XdpContext, packet: &Packet, is_vip: bool, key: &mut FlowKey) -> Reason {
    let (Ok(reason) | Err(reason)) = try_handle(ctx, packet, is_vip, key);
    reason
}

#[inline(always)]
fn try_handle(
    ctx: &XdpContext,
    packet: &Packet,
    is_vip: bool,
    key: &mut FlowKey,
) -> Result<Reason, Reason> {
    let frame = Frame::of_xdp(ctx);
    match kind(frame, packet)? {
        Icmp::Echo if is_vip => echo(frame, packet),
        Icmp::Error => find_subject(frame, packet, key),
        Icmp::Echo | Icmp::Discovery | Icmp::Other => Err(Reason::IcmpIgnored),
    }
}

#[inline(always)]
fn kind(frame: Frame, packet: &Packet) -> Result<Icmp, Reason> {
    if packet.network.l4_len < ICMP_LEN {
        return Err(Reason::Truncated);
    }
    let run = frame
        .run::<ICMP_LEN>(packet.l4())
        .ok_or(Reason::Truncated)?;
    Ok(Icmp::of(run.u8(0), packet.is_v6))
}

/// Turns an echo request into its answer and sends it back where it came from.
#[inline(always)]
fn echo(frame: Frame, packet: &Packet) -> Result<Reason, Reason> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    if config.vip_icmp_echo == 0 {
        return Err(Reason::IcmpIgnored);
    }
    if !within_budget(config.icmp_per_second) {
        return Err(Reason::IcmpRate);
    }
    let link = frame.run::<ETHERNET_LEN>(0).ok_or(Reason::Truncated)?;
    let icmp = frame
        .run::<ICMP_LEN>(packet.l4())
        .ok_or(Reason::Truncated)?;
    let old_type = icmp.u16(0);
    if packet.is_v6 {
        let run = frame.run::<40>(packet.l3()).ok_or(Reason::Truncated)?;
        run.set_addr_v6(8, &packet.dst);
        run.set_addr_v6(24, &packet.src);
        run.set_u8(7, TTL);
        icmp.set_u8(0, 129);
    } else {
        let run = frame.run::<20>(packet.l3()).ok_or(Reason::Truncated)?;
        run.set_addr_v4(12, &packet.dst);
        run.set_addr_v4(16, &packet.src);
        let old = run.u16(8);
        run.set_u8(8, TTL);
        let delta = Delta::none().word(old, run.u16(8));
        run.set_u16(10, delta.apply(run.u16(10)));
        icmp.set_u8(0, 0);
    }
    // The addresses change places, so they leave every sum as it was.
    let delta = Delta::none().word(old_type, icmp.u16(0));
    icmp.set_u16(2, delta.apply(icmp.u16(2)));
    let (ours, theirs) = (link.mac(0), link.mac(6));
    link.set_mac(0, theirs);
    link.set_mac(6, ours);
    // XDP_TX on veth is lost unless the peer has a program; a redirect is not.
    if link::leave_by(packet.ifindex) {
        Ok(Reason::EchoAnswered)
    } else {
        Ok(Reason::EchoReturned)
    }
}

/// Takes one ICMP message from this CPU's budget for this second.
#[inline(always)]
pub(crate) fn within_budget(per_second: u32) -> bool {
    takes(0, per_second)
}

/// Takes one RST from this CPU's budget for this second.
#[inline(always)]
pub(crate) fn may_reset(per_second: u32) -> bool {
    takes(1, per_second)
}

#[inline(always)]
fn takes(budget: u32, per_second: u32) -> bool {
    let Some(budget) = ICMP_BUDGET.get_ptr_mut(budget) else {
        return false;
    };
    // SAFETY: this CPU's value of a live map; nobody else writes it.
    let budget = unsafe { &mut *budget };
    let now = stats::now_ns();
    if now.wrapping_sub(budget.since_ns) >= SECOND_NS {
        budget.since_ns = now;
        budget.used = 0;
    }
    budget.used += 1;
    budget.used <= per_second as u64
}

/// An error about a packet that we sent: whose conversation it is (path MTU discovery needs it to
/// arrive).
#[inline(always)]
fn find_subject(frame: Frame, packet: &Packet, key: &mut FlowKey) -> Result<Reason, Reason> {
    let inner = Inner::parse(frame, packet.l4(), packet.is_v6)?;
    if inner.ends.src.words() != packet.dst.words() {
        return Err(Reason::IcmpErrorUnknown);
    }
    *key = FlowKey::new(
        packet.segment,
        inner.protocol,
        (inner.ends.dst, inner.dst_port),
        (inner.ends.src, inner.src_port),
    );
    Ok(Reason::SteeredIcmpError)
}
