//! What becomes of a packet that comes in by an uplink: parse, whose address, what of it.
//!
//! What is not ours is passed byte for byte, however broken. What is ours is never passed, discovery
//! aside: it is parsed or dropped with its reason.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    maps::{Addr, AddressRecord, FlowKey, address_kind, listener_flags, listener_kind, vip_flags},
    packet::{self, Bytes as _, Ends, Icmp, Link, Network, Run as _, Transport, protocol},
    reason::Reason,
};

use crate::{
    address, cidr, flow,
    frame::Frame,
    icmp, icmp_error,
    maps::{CONFIG, LISTENERS, SEGMENTS},
    nat, stats,
    steer::{self, Part},
};

/// Offsets of network and transport headers stay below this (`Frame::forget`'s masks).
const L3_MASK: usize = 0x1f;
const L4_MASK: usize = 0x3fff;

/// What is known of a packet to an address of ours.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) ifindex: u32,
    pub(crate) segment: u32,
    pub(crate) l3: usize,
    pub(crate) is_v6: bool,
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) network: Network,
}

impl Packet {
    /// The flow it belongs to, as seen on the wire.
    #[inline(always)]
    pub(crate) fn key(&self, transport: &Transport) -> FlowKey {
        FlowKey::new(
            self.segment,
            self.network.protocol,
            (self.src, transport.src_port),
            (self.dst, transport.dst_port),
        )
    }
}

/// The whole walk. `Ok` and `Err` are told apart for `?` alone.
#[inline(always)]
pub(crate) fn walk(ctx: &XdpContext) -> Result<Reason, Reason> {
    let ifindex = ctx.ingress_ifindex() as u32;
    let segment = match SEGMENTS.get(ifindex) {
        // SAFETY: a live map value; the agent stores whole words.
        Some(word) => unsafe { core::ptr::read_volatile(word) },
        None => 0,
    };
    if segment == 0 {
        return Err(Reason::NoSegment);
    }
    let segment = segment as u32;
    let frame = Frame::of_xdp(ctx);
    let link = Link::parse(frame)?;
    let l3 = frame.forget(link.l3, L3_MASK);
    let ends = Ends::parse(frame, l3, link.is_v6)?;
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let record = address::find(config.hash_seed, segment, &ends.dst).ok_or(Reason::NotOurs)?;
    if link.is_v6 && is_discovery(frame, l3) {
        return Err(Reason::NeighbourDiscovery);
    }
    let network = network(frame, &link, l3)?;
    check_ends(&ends, link.is_v6)?;
    let packet = Packet {
        ifindex,
        segment,
        l3,
        is_v6: link.is_v6,
        src: ends.src,
        dst: ends.dst,
        network,
    };
    match record.kind {
        address_kind::VIP => to_vip(ctx, frame, &packet, record),
        address_kind::AMPHORA => steer::deliver(ctx, &packet, record.owner),
        address_kind::SNAT => to_snat(ctx, frame, &packet),
        _ => Err(Reason::BadRecord),
    }
}

/// The network header of a packet that is ours.
#[inline(always)]
fn network(frame: Frame, link: &Link, l3: usize) -> Result<Network, Reason> {
    if link.has_vlan {
        return Err(Reason::Vlan);
    }
    if link.is_group {
        return Err(Reason::LinkGroup);
    }
    let mut network = Network::parse(frame, l3, link.is_v6)?;
    network.l4 = frame.forget(network.l4, L4_MASK);
    Ok(network)
}

#[inline(always)]
fn check_ends(ends: &Ends, is_v6: bool) -> Result<(), Reason> {
    if packet::is_martian(&ends.src, is_v6) {
        return Err(Reason::MartianSource);
    }
    if ends.src.words() == ends.dst.words() {
        return Err(Reason::Land);
    }
    Ok(())
}

/// Neighbour and router discovery never has extension headers in front (RFC 6980 forbids pieces).
#[inline(always)]
fn is_discovery(frame: Frame, l3: usize) -> bool {
    let Some(run) = frame.run::<41>(l3) else {
        return false;
    };
    run.u8(6) == protocol::ICMPV6 && Icmp::of(run.u8(40), true) == Icmp::Discovery
}

#[inline(always)]
fn is_icmp(packet: &Packet) -> bool {
    let icmp = if packet.is_v6 {
        protocol::ICMPV6
    } else {
        protocol::ICMP
    };
    packet.network.protocol == icmp
}

#[inline(always)]
fn to_vip(
    ctx: &XdpContext,
    frame: Frame,
    packet: &Packet,
    vip: &AddressRecord,
) -> Result<Reason, Reason> {
    if vip.flags & vip_flags::ENABLED == 0 {
        return Err(Reason::VipDisabled);
    }
    if is_icmp(packet) {
        return icmp_to_vip(ctx, packet, vip);
    }
    let transport = Transport::parse(frame, &packet.network)?;
    let index = address::find_listener(vip, packet.network.protocol, transport.dst_port)
        .ok_or(Reason::NoListener)?;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    if listener.flags & listener_flags::CIDRS != 0 && !cidr::is_allowed(index, &packet.src) {
        return Err(Reason::CidrDenied);
    }
    stats::count_in(index, packet.network.ip_len);
    let key = packet.key(&transport);
    match listener.kind {
        listener_kind::STEER => {
            let part = Part::of(&transport);
            Ok(steer::steer(ctx, packet, listener.lb, &key, part))
        }
        listener_kind::NAT => to_member(ctx, packet, &key, index, &transport),
        _ => Err(Reason::BadRecord),
    }
}

/// By its flow, or by a new one. One call after the other: nested, they would need too much stack.
#[inline(always)]
fn to_member(
    ctx: &XdpContext,
    packet: &Packet,
    key: &FlowKey,
    listener: u32,
    transport: &Transport,
) -> Result<Reason, Reason> {
    check_hops(packet)?;
    let reason = nat::forward(ctx, packet, key, transport.flags);
    let may_open = packet.network.protocol != protocol::TCP || transport.is_syn();
    if reason != Reason::NoFlow || !may_open {
        return Err(reason);
    }
    let opened = flow::open(ctx, packet, key, listener);
    if opened != Reason::NatForward {
        return Err(opened);
    }
    Err(nat::forward(ctx, packet, key, transport.flags))
}

/// NAT is a router: it takes one from TTL or hop limit.
#[inline(always)]
fn check_hops(packet: &Packet) -> Result<(), Reason> {
    if packet.network.ttl <= 1 {
        return Err(Reason::Ttl);
    }
    Ok(())
}

/// Echo and errors. An error's source is some router: `allowed_cidrs` are not asked.
#[inline(always)]
fn icmp_to_vip(ctx: &XdpContext, packet: &Packet, vip: &AddressRecord) -> Result<Reason, Reason> {
    let mut key = packet.key(&Transport::default());
    let reason = icmp::handle(ctx, packet, true, &mut key);
    if reason != Reason::SteeredIcmpError {
        return Err(reason);
    }
    let index =
        address::find_listener(vip, key.protocol, key.dst_port).ok_or(Reason::IcmpErrorUnknown)?;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    match listener.kind {
        listener_kind::STEER => Ok(steer::steer(ctx, packet, listener.lb, &key, Part::Tells)),
        listener_kind::NAT => icmp_to_other_side(ctx, packet, &key),
        _ => Err(Reason::BadRecord),
    }
}

/// Errors about what we sent to members.
#[inline(always)]
fn icmp_to_snat(ctx: &XdpContext, packet: &Packet) -> Result<Reason, Reason> {
    let mut key = packet.key(&Transport::default());
    let reason = icmp::handle(ctx, packet, false, &mut key);
    if reason != Reason::SteeredIcmpError {
        return Err(reason);
    }
    icmp_to_other_side(ctx, packet, &key)
}

#[inline(always)]
fn icmp_to_other_side(ctx: &XdpContext, packet: &Packet, key: &FlowKey) -> Result<Reason, Reason> {
    check_hops(packet)?;
    Ok(icmp_error::translate(ctx, packet, key))
}

#[inline(always)]
fn to_snat(ctx: &XdpContext, frame: Frame, packet: &Packet) -> Result<Reason, Reason> {
    if is_icmp(packet) {
        return icmp_to_snat(ctx, packet);
    }
    let transport = Transport::parse(frame, &packet.network)?;
    check_hops(packet)?;
    let key = packet.key(&transport);
    Ok(nat::reverse(ctx, packet, &key, transport.flags))
}
