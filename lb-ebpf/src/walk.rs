//! What becomes of a packet that comes in by an uplink: parse, whose address, what of it.
//!
//! What is not ours is passed byte for byte, however broken. What is ours is never passed, discovery
//! aside: it is parsed or dropped with its reason.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    maps::{
        Addr, AddressRecord, FlowKey, SEGMENT_TX, address_kind, flow::tick, listener_flags,
        listener_kind, vip_flags,
    },
    packet::{self, Bytes as _, Ends, Icmp, Link, Network, Run as _, Transport, protocol},
    reason::Reason,
};

use crate::{
    address, cidr,
    frame::{Frame, opaque},
    icmp, limit,
    maps::{CONFIG, LISTENERS, SCRATCH, SEGMENTS},
    sctp, stats,
    steer::{self, Part},
    verdict::{Todo, Verdict},
};

/// Offsets of network and transport headers stay below this (`Frame::forget`'s masks).
const L3_MASK: usize = 0x1f;
const L4_MASK: usize = 0x3fff;

/// What is known of a packet to an address of ours.
///
/// Kept in this CPU's scratch value: the stack is short, and shared by all functions that are open.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Packet {
    pub(crate) ifindex: u32,
    pub(crate) segment: u32,
    l3: usize,
    pub(crate) is_v6: bool,
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) network: Network,
    /// Index of the destination's record in `ADDRESS_RECORDS`.
    pub(crate) address: u32,
    /// XDP_TX sends it back the way it came.
    pub(crate) may_return: bool,
}

impl Packet {
    /// Where its network header begins. (Bounded anew: read from memory the verifier knows nothing of
    /// it.)
    #[inline(always)]
    pub(crate) fn l3(&self) -> usize {
        opaque(self.l3) & L3_MASK
    }

    /// Where its transport header begins.
    #[inline(always)]
    pub(crate) fn l4(&self) -> usize {
        opaque(self.network.l4) & L4_MASK
    }

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

/// The walk up to where a packet is balanced.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_walk(ctx: *mut xdp_md) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk(&XdpContext::new(ctx));
    verdict.0
}

/// `Ok` and `Err` are told apart for `?` alone.
#[inline(always)]
fn walk(ctx: &XdpContext) -> Result<Verdict, Verdict> {
    let ifindex = ctx.ingress_ifindex() as u32;
    let word = match SEGMENTS.get(ifindex) {
        // SAFETY: a live map value; the agent stores whole words.
        Some(word) => unsafe { core::ptr::read_volatile(word) },
        None => 0,
    };
    if word == 0 {
        return Err(Reason::NoSegment.into());
    }
    let segment = word as u32;
    let frame = Frame::of_xdp(ctx);
    let link = Link::parse(frame)?;
    let l3 = frame.forget(link.l3, L3_MASK);
    let ends = Ends::parse(frame, l3, link.is_v6)?;
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let (record, address) =
        address::find(config.hash_seed, segment, &ends.dst).ok_or(Reason::NotOurs)?;
    if link.is_v6 && is_discovery(frame, l3) {
        return Err(Reason::NeighbourDiscovery.into());
    }
    let network = network(frame, &link, l3)?;
    check_ends(&ends, link.is_v6)?;
    let packet = SCRATCH.get_ptr_mut(0).ok_or(Reason::BadRecord)?;
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    let packet = unsafe { &raw mut (*packet).packet };
    let way = Way {
        ifindex,
        segment,
        address,
        may_return: word & SEGMENT_TX != 0,
    };
    describe(packet, &way, link.is_v6, &ends, network, l3);
    // SAFETY: as above.
    let packet = unsafe { &*packet };
    match record.kind {
        address_kind::VIP => to_vip(ctx, frame, packet, record),
        address_kind::AMPHORA => Ok(steer::deliver(ctx, packet, record.owner)?.into()),
        address_kind::SNAT => to_snat(ctx, frame, packet),
        _ => Err(Reason::BadRecord.into()),
    }
}

/// How a packet came in.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) ifindex: u32,
    pub(crate) segment: u32,
    /// Index of the destination's record in `ADDRESS_RECORDS`.
    pub(crate) address: u32,
    /// XDP_TX sends it back the way it came.
    pub(crate) may_return: bool,
}

/// Writes down what is known of a packet.
#[inline(always)]
pub(crate) fn describe(
    packet: *mut Packet,
    way: &Way,
    is_v6: bool,
    ends: &Ends,
    network: Network,
    l3: usize,
) {
    // SAFETY: the caller's, this CPU's scratch value.
    unsafe {
        (*packet).ifindex = way.ifindex;
        (*packet).segment = way.segment;
        (*packet).l3 = l3;
        (*packet).is_v6 = is_v6;
        (*packet).src = ends.src;
        (*packet).dst = ends.dst;
        (*packet).network = network;
        (*packet).address = way.address;
        (*packet).may_return = way.may_return;
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
) -> Result<Verdict, Verdict> {
    if vip.flags & vip_flags::ENABLED == 0 {
        return Err(Reason::VipDisabled.into());
    }
    if is_icmp(packet) {
        return icmp_to_vip(ctx, packet, vip);
    }
    let transport = transport(ctx, frame, packet)?;
    let index = address::find_listener(vip, packet.network.protocol, transport.dst_port)
        .ok_or(Reason::NoListener)?;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    if listener.flags & listener_flags::CIDRS != 0 && !cidr::is_allowed(index, &packet.src) {
        return Err(Reason::CidrDenied.into());
    }
    stats::count_in(index, transport.bytes);
    match listener.kind {
        listener_kind::STEER => {
            if listener.syn_per_second != 0 && transport.is_syn() {
                limit::syn(index, listener, tick(stats::now_ns()))?;
            }
            let part = Part::of(transport);
            scratch_key(packet, transport)?;
            Ok(Verdict::postponed(Todo::Steer(listener.lb, part)))
        }
        listener_kind::NAT => {
            check_hops(packet)?;
            Ok(Verdict::postponed(Todo::Balance(index)))
        }
        listener_kind::DSR_L2 | listener_kind::DSR_IPIP => {
            Ok(Verdict::postponed(Todo::Balance(index)))
        }
        _ => Err(Reason::BadRecord.into()),
    }
}

/// The transport header, which is in this CPU's scratch value afterwards.
#[inline(always)]
fn transport(
    ctx: &XdpContext,
    frame: Frame,
    packet: &Packet,
) -> Result<&'static Transport, Reason> {
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Reason::BadRecord)?;
    if packet.network.protocol == protocol::SCTP {
        let bad = sctp::lb_sctp(ctx.ctx);
        if bad != 0 {
            return Err(sctp::reason(bad));
        }
    } else {
        let transport = Transport::parse(frame, &packet.network)?;
        // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
        unsafe { (*scratch).transport = transport };
    }
    // SAFETY: as above.
    Ok(unsafe { &(*scratch).transport })
}

/// The flow that a packet belongs to, in this CPU's scratch value.
#[inline(always)]
fn scratch_key(packet: &Packet, transport: &Transport) -> Result<&'static mut FlowKey, Reason> {
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Reason::BadRecord)?;
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    unsafe {
        (*scratch).key = packet.key(transport);
        Ok(&mut (*scratch).key)
    }
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
fn icmp_to_vip(ctx: &XdpContext, packet: &Packet, vip: &AddressRecord) -> Result<Verdict, Verdict> {
    let key = scratch_key(packet, &Transport::default())?;
    let reason = icmp::handle(ctx, packet, true, key);
    if reason != Reason::SteeredIcmpError {
        return Err(reason.into());
    }
    let index =
        address::find_listener(vip, key.protocol, key.dst_port).ok_or(Reason::IcmpErrorUnknown)?;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    match listener.kind {
        listener_kind::STEER => Ok(Verdict::postponed(Todo::Steer(listener.lb, Part::Tells))),
        listener_kind::NAT | listener_kind::DSR_L2 | listener_kind::DSR_IPIP => {
            check_hops(packet)?;
            Ok(Verdict::postponed(Todo::ErrorToMember(index)))
        }
        _ => Err(Reason::BadRecord.into()),
    }
}

/// What members send to our addresses: answers, and errors about what we sent.
#[inline(always)]
fn to_snat(ctx: &XdpContext, frame: Frame, packet: &Packet) -> Result<Verdict, Verdict> {
    if is_icmp(packet) {
        let key = scratch_key(packet, &Transport::default())?;
        let reason = icmp::handle(ctx, packet, false, key);
        if reason != Reason::SteeredIcmpError {
            return Err(reason.into());
        }
        check_hops(packet)?;
        return Ok(Verdict::postponed(Todo::ErrorToClient));
    }
    transport(ctx, frame, packet)?;
    check_hops(packet)?;
    Ok(Verdict::postponed(Todo::Reverse))
}
