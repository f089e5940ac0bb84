//! ICMP errors about NAT flows, handed through to the other side: inside, the packet looks as that
//! side sent it; outside, the error comes from our address when it came from the flow's other end,
//! else from the router that made it.
//!
//! Under DSR they go to the flow's member as they are, the way its packets do.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    checksum::Delta,
    maps::{FlowKey, listener_kind},
    packet::{Bytes as _, Inner, Run as _, protocol, sctp::HEADER_LEN},
    reason::Reason,
};

use crate::{
    choose::{self, Asker},
    dsr, flow,
    frame::Frame,
    given::given,
    icmp, link,
    maps::{CONFIG, LISTENERS, MEMBERS},
    nat::{self, To},
    place::Place,
    reverse, sctp,
    verdict::Verdict,
    walk::Packet,
};

/// An error that came to a VIP, about a flow of `listener`: to the flow's member.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_error_to_member(
    ctx: *mut xdp_md,
    packet: *const Packet,
    key: *const FlowKey,
    listener: u32,
) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet, key);
    let ctx = &XdpContext::new(ctx);
    let (Ok(verdict) | Err(verdict)) = try_to_member(ctx, packet, key, listener);
    verdict.0
}

#[inline(always)]
fn try_to_member(
    ctx: &XdpContext,
    packet: &Packet,
    key: &FlowKey,
    index: u32,
) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    let place = Place::new(
        config,
        &key.src,
        key.src_port,
        index,
        packet.address,
        packet.is_v6,
    );
    let (slot, word) = flow::find_slot(&place);
    let is_nat = listener.kind == listener_kind::NAT;
    let (member, port) = if !slot.is_null() {
        (word.member() as u32, word.port())
    } else if is_nat {
        return Err(Reason::IcmpErrorUnknown.into());
    } else {
        let asker = Asker {
            client: &key.src,
            port: key.src_port,
            is_v6: packet.is_v6,
            avoid: 0,
        };
        (choose::choose_by_hash(listener, &asker), 0)
    };
    let record = MEMBERS.get(member).ok_or(Reason::IcmpErrorUnknown)?;
    if record.ifindex == 0 || record.lb != listener.lb {
        return Err(Reason::IcmpErrorUnknown.into());
    }
    if !icmp::within_budget(config.icmp_per_second) {
        return Err(Reason::IcmpRate.into());
    }
    let next_hop = nat::next_hop(ctx, member, record, packet.is_v6)?;
    if !is_nat {
        let verdict = link::leave(packet, record.ifindex, Reason::DsrIcmpError)?;
        if listener.kind == listener_kind::DSR_IPIP {
            dsr::encapsulate(ctx, packet, record, next_hop, place.hash, config)?;
        } else {
            dsr::rewrite_link(ctx, packet, record, next_hop)?;
        }
        return Ok(verdict);
    }
    if port == 0 {
        return Err(Reason::IcmpErrorUnknown.into());
    }
    let to = To::member(record, port, next_hop);
    let verdict = link::leave(packet, record.ifindex, Reason::NatIcmpError)?;
    translate(ctx, packet, key, &to)?;
    Ok(verdict)
}

/// An error that came to a SNAT address, about what we sent to a member: to the flow's client.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_error_to_client(
    ctx: *mut xdp_md,
    packet: *const Packet,
    key: *const FlowKey,
) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet, key);
    let ctx = &XdpContext::new(ctx);
    let (Ok(verdict) | Err(verdict)) = try_to_client(ctx, packet, key);
    verdict.0
}

#[inline(always)]
fn try_to_client(ctx: &XdpContext, packet: &Packet, key: &FlowKey) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let (entry, _) = reverse::find(
        config,
        packet.segment,
        key.protocol,
        (&key.src, key.src_port),
        (&key.dst, key.dst_port),
    )
    .ok_or(Reason::IcmpErrorUnknown)?;
    // SAFETY: a live map value.
    let from = unsafe { &*entry };
    let listener = LISTENERS.get(from.listener).ok_or(Reason::BadRecord)?;
    let vip = reverse::vip(entry, listener.lb).ok_or(Reason::IcmpErrorUnknown)?;
    if !icmp::within_budget(config.icmp_per_second) {
        return Err(Reason::IcmpRate.into());
    }
    let to = To::client(from, vip);
    let verdict = link::leave(packet, from.ifindex, Reason::NatIcmpError)?;
    translate(ctx, packet, key, &to)?;
    Ok(verdict)
}

/// Rewrites the error about the flow of `key`, whose packets become `to`.
#[inline(always)]
fn translate(ctx: &XdpContext, packet: &Packet, key: &FlowKey, to: &To<'_>) -> Result<(), Reason> {
    let frame = Frame::of_xdp(ctx);
    let inner = Inner::parse(frame, packet.l4(), packet.is_v6)?;
    let inside = rewrite_inside(frame, packet, key, &inner, to)?;
    let is_from_end = packet.src.words() == key.src.words();
    let src = if is_from_end { to.src } else { &packet.src };
    let addresses = Delta::none()
        .addr(&packet.src, src)
        .addr(&packet.dst, to.dst);
    let icmp = frame.run::<8>(packet.l4()).ok_or(Reason::Truncated)?;
    // ICMPv6 sums the outer addresses, too.
    let delta = if packet.is_v6 {
        inside.and(addresses)
    } else {
        inside
    };
    icmp.set_u16(2, delta.apply(icmp.u16(2)));
    nat::rewrite_network(frame, packet.l3(), packet.is_v6, src, to.dst, addresses)?;
    link::write_header(ctx, packet.l3(), packet.is_v6, to.dst_mac, to.src_mac)
}

/// Rewrites the packet inside; returns what that changes of the ICMP message.
#[inline(always)]
fn rewrite_inside(
    frame: Frame,
    packet: &Packet,
    key: &FlowKey,
    inner: &Inner,
    to: &To<'_>,
) -> Result<Delta, Reason> {
    let l3 = frame.forget(inner.l3, L3_MASK);
    let l4 = frame.forget(inner.l4, L3_MASK);
    // Only what the message really carries, not padding of the frame.
    if l4 + 8 > packet.l3() + packet.network.ip_len {
        return Err(Reason::Truncated);
    }
    // Inside goes what the other side sent, so towards us: both are turned round.
    let addresses = Delta::none().addr(&key.dst, to.dst).addr(&key.src, to.src);
    let ports = Delta::none()
        .port(key.dst_port, to.dst_port)
        .port(key.src_port, to.src_port);
    let transport = frame.run::<8>(l4).ok_or(Reason::Truncated)?;
    let mut delta = addresses.and(ports);
    if packet.is_v6 {
        let run = frame.run::<40>(l3).ok_or(Reason::Truncated)?;
        run.set_addr_v6(8, to.dst);
        run.set_addr_v6(24, to.src);
    } else {
        let run = frame.run::<20>(l3).ok_or(Reason::Truncated)?;
        let old = run.u16(10);
        let new = addresses.apply(old);
        run.set_u16(10, new);
        run.set_addr_v4(12, to.dst);
        run.set_addr_v4(16, to.src);
        delta = delta.word(old, new);
    }
    transport.set_port(0, to.dst_port);
    transport.set_port(2, to.src_port);
    if key.protocol == protocol::SCTP {
        // An error need not carry the checksum, and it is of the whole packet that was sent.
        if l4 + HEADER_LEN <= packet.l3() + packet.network.ip_len {
            let run = frame.run::<HEADER_LEN>(l4).ok_or(Reason::Truncated)?;
            let old = run.u32(8);
            let was = sctp::ports(key.dst_port, key.src_port);
            let is = sctp::ports(to.dst_port, to.src_port);
            let new = sctp::checksum(frame, old, was, is, sent_bytes(frame, packet, l3, l4)?);
            run.set_u32(8, new);
            delta = delta.and(Delta::none().tail(old, new));
        }
    } else if key.protocol == protocol::UDP {
        let old = transport.u16(6);
        let new = addresses.and(ports).apply_udp(old);
        transport.set_u16(6, new);
        delta = delta.word(old, new);
    } else if l4 + 18 <= packet.l3() + packet.network.ip_len {
        // An error need not carry TCP's checksum.
        let run = frame.run::<18>(l4).ok_or(Reason::Truncated)?;
        let old = run.u16(16);
        let new = addresses.and(ports).apply(old);
        run.set_u16(16, new);
        delta = delta.word(old, new);
    }
    Ok(delta)
}

/// Bytes behind the network header of the packet inside, as it was sent.
#[inline(always)]
fn sent_bytes(frame: Frame, packet: &Packet, l3: usize, l4: usize) -> Result<u16, Reason> {
    let run = frame.run::<20>(l3).ok_or(Reason::Truncated)?;
    Ok(if packet.is_v6 {
        run.be16(4)
    } else {
        run.be16(2).wrapping_sub((l4 - l3) as u16)
    })
}

/// Offsets inside stay below this.
const L3_MASK: usize = 0x3fff;
