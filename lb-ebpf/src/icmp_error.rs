//! ICMP errors about NAT flows, handed through to the other side: inside, the packet looks as that
//! side sent it; outside, the error comes from our address when it came from the flow's other end,
//! else from the router that made it.
//!
//! The same for both directions: the entry that a packet of the flow would hit says what the other
//! side knows the flow by.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    checksum::Delta,
    maps::{FlowEntry, FlowKey},
    packet::{Bytes as _, Inner, Run as _, protocol},
    reason::Reason,
};

use crate::{
    frame::{Frame, Mac},
    icmp, link,
    maps::{CONFIG, FLOWS},
    nat::{self, Rewrite},
    walk::Packet,
};

/// Sends the error about the flow of `key` on.
#[inline(never)]
pub(crate) fn translate(ctx: &XdpContext, packet: &Packet, key: &FlowKey) -> Reason {
    let (Ok(reason) | Err(reason)) = try_translate(ctx, packet, key);
    reason
}

#[inline(always)]
fn try_translate(ctx: &XdpContext, packet: &Packet, key: &FlowKey) -> Result<Reason, Reason> {
    let entry = FLOWS.get_ptr_mut(key).ok_or(Reason::IcmpErrorUnknown)?;
    // SAFETY: a live map value; what is read here does not change while it lives.
    let to: &FlowEntry = unsafe { &*entry };
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    if !icmp::within_budget(config.icmp_per_second) {
        return Err(Reason::IcmpRate);
    }
    let next_hop = if to.reverse == 0 {
        nat::next_hop(entry)?
    } else {
        Mac::load(&to.dst_mac)
    };
    let src_mac = Mac::load(&to.src_mac);
    if !link::leave_by(to.ifindex) {
        return Err(Reason::NoDevice);
    }
    let frame = Frame::of_xdp(ctx);
    let inner = Inner::parse(frame, packet.network.l4, packet.is_v6)?;
    let inside = rewrite_inside(frame, packet, key, &inner, to)?;
    let is_from_end = packet.src.words() == key.src.words();
    let outside = Rewrite {
        src: if is_from_end { to.src } else { packet.src },
        dst: to.dst,
    };
    let addresses = Delta::none()
        .addr(&packet.src, &outside.src)
        .addr(&packet.dst, &outside.dst);
    let icmp = frame.run::<8>(packet.network.l4).ok_or(Reason::Truncated)?;
    // ICMPv6 sums the outer addresses, too.
    let delta = if packet.is_v6 {
        inside.and(addresses)
    } else {
        inside
    };
    icmp.set_u16(2, delta.apply(icmp.u16(2)));
    nat::rewrite_network(frame, packet.l3, packet.is_v6, &outside, addresses)?;
    link::write_header(ctx, packet.l3, packet.is_v6, next_hop, src_mac)?;
    Ok(Reason::NatIcmpError)
}

/// Rewrites the packet inside; returns what that changes of the ICMP message.
#[inline(always)]
fn rewrite_inside(
    frame: Frame,
    packet: &Packet,
    key: &FlowKey,
    inner: &Inner,
    to: &FlowEntry,
) -> Result<Delta, Reason> {
    let l3 = frame.forget(inner.l3, L3_MASK);
    let l4 = frame.forget(inner.l4, L3_MASK);
    // Only what the message really carries, not padding of the frame.
    if l4 + 8 > packet.l3 + packet.network.ip_len {
        return Err(Reason::Truncated);
    }
    // Inside goes what the other side sent, so towards us: both are turned round.
    let addresses = Delta::none()
        .addr(&key.dst, &to.dst)
        .addr(&key.src, &to.src);
    let ports = Delta::none()
        .port(key.dst_port, to.dst_port)
        .port(key.src_port, to.src_port);
    let transport = frame.run::<8>(l4).ok_or(Reason::Truncated)?;
    let mut delta = addresses.and(ports);
    if packet.is_v6 {
        let run = frame.run::<40>(l3).ok_or(Reason::Truncated)?;
        run.set_addr_v6(8, &to.dst);
        run.set_addr_v6(24, &to.src);
    } else {
        let run = frame.run::<20>(l3).ok_or(Reason::Truncated)?;
        let old = run.u16(10);
        let new = addresses.apply(old);
        run.set_u16(10, new);
        run.set_addr_v4(12, &to.dst);
        run.set_addr_v4(16, &to.src);
        delta = delta.word(old, new);
    }
    transport.set_port(0, to.dst_port);
    transport.set_port(2, to.src_port);
    if key.protocol == protocol::UDP {
        let old = transport.u16(6);
        let new = addresses.and(ports).apply_udp(old);
        transport.set_u16(6, new);
        delta = delta.word(old, new);
    } else if l4 + 20 <= packet.l3 + packet.network.ip_len {
        // An error need not carry TCP's checksum.
        let run = frame.run::<20>(l4).ok_or(Reason::Truncated)?;
        let old = run.u16(16);
        let new = addresses.and(ports).apply(old);
        run.set_u16(16, new);
        delta = delta.word(old, new);
    }
    Ok(delta)
}

/// Offsets inside stay below this.
const L3_MASK: usize = 0x3fff;
