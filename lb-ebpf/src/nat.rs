//! NAT straight to members: client → VIP becomes SNAT address → member, and back.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup, xdp_md},
    helpers::generated::bpf_fib_lookup as helper_fib_lookup,
    programs::XdpContext,
};
use lb_common::{
    checksum::Delta,
    maps::{
        Addr, AddressRecord, Be16, Event, MemberRecord, event_kind,
        flow::{Reverse, Word, state, tick},
        listener_kind,
    },
    packet::{Bytes as _, Run as _, Transport, has_connections, protocol, tcp_flags},
    reason::Reason,
};

use crate::{
    balance::TRIES,
    flow::{self, Side},
    frame::{Frame, Mac},
    given::given,
    link,
    maps::{CONFIG, LISTENERS, MEMBERS, NEIGHBOURS, SCRATCH},
    place::Place,
    reverse, sctp, stats,
    verdict::Verdict,
    walk::Packet,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// What a packet is.
#[derive(Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) src: &'a Addr,
    pub(crate) dst: &'a Addr,
    pub(crate) src_port: Be16,
    pub(crate) dst_port: Be16,
    pub(crate) protocol: u8,
}

/// What a packet becomes.
#[derive(Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) src: &'a Addr,
    pub(crate) dst: &'a Addr,
    pub(crate) src_port: Be16,
    pub(crate) dst_port: Be16,
    pub(crate) dst_mac: Mac,
    pub(crate) src_mac: Mac,
}

impl<'a> To<'a> {
    /// A client's packet on its way to a member, from source port `port` of ours.
    #[inline(always)]
    pub(crate) fn member(record: &'a MemberRecord, port: u16, next_hop: Mac) -> Self {
        Self {
            src: &record.snat,
            dst: &record.addr,
            src_port: Be16::new(port),
            dst_port: record.port,
            dst_mac: next_hop,
            src_mac: Mac::load(&record.src_mac),
        }
    }

    /// A member's packet on its way to a client, who knows us as `vip`.
    #[inline(always)]
    pub(crate) fn client(from: &'a Reverse, vip: &'a AddressRecord) -> Self {
        Self {
            src: &vip.addr,
            dst: &from.client,
            src_port: from.vip_port,
            dst_port: from.client_port,
            dst_mac: Mac::load(&from.client_mac),
            src_mac: Mac::load(&from.our_mac),
        }
    }
}

/// A client's packet to its member. The device is chosen already.
#[inline(always)]
pub(crate) fn forward(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    record: &MemberRecord,
    word: Word,
    next_hop: Mac,
) -> Result<(), Reason> {
    let to = To::member(record, word.port(), next_hop);
    apply(ctx, packet, transport, &to)
}

/// Link address towards the member: what the agent keeps fresh, else the kernel's own answer.
#[inline(always)]
pub(crate) fn next_hop(
    ctx: &XdpContext,
    member: u32,
    record: &MemberRecord,
    is_v6: bool,
) -> Result<Mac, Reason> {
    if let Some(word) = NEIGHBOURS.get(member) {
        // SAFETY: a live map value; the agent stores whole words.
        let word = unsafe { core::ptr::read_volatile(word) };
        if word >> 63 != 0 {
            return Ok(Mac::from_le_word(word));
        }
    }
    match lb_resolve(ctx.ctx, member, is_v6 as u32) {
        0 => {
            lb_tell_no_neighbour(record.lb, member);
            Err(Reason::NoNeighbour)
        }
        word => Ok(Mac::from_le_word(word)),
    }
}

/// The kernel's answer, as a word of `NEIGHBOURS`; 0: it has none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_resolve(ctx: *mut xdp_md, member: u32, is_v6: u32) -> u64 {
    let (ctx, is_v6) = (&XdpContext::new(ctx), is_v6 != 0);
    let (Some(member), Some(query)) = (MEMBERS.get(member), SCRATCH.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another. Plain
    // numbers, for which zero is a value.
    let query = unsafe {
        let query = &raw mut (*query).query;
        *query = core::mem::zeroed();
        &mut *query
    };
    query.ifindex = member.ifindex;
    if is_v6 && !member.addr.is_v4() {
        query.family = AF_INET6;
        query.__bindgen_anon_3.ipv6_src = words(&member.snat);
        query.__bindgen_anon_4.ipv6_dst = words(&member.addr);
    } else if member.addr.is_v4() {
        query.family = AF_INET;
        query.__bindgen_anon_3.ipv4_src = words(&member.snat)[3];
        query.__bindgen_anon_4.ipv4_dst = words(&member.addr)[3];
    } else {
        query.family = AF_INET6;
        query.__bindgen_anon_4.ipv6_dst = words(&member.addr);
    }
    // SAFETY: the helper checks the context and writes within the query.
    let result = unsafe {
        helper_fib_lookup(
            ctx.as_ptr(),
            query,
            size_of::<bpf_fib_lookup>() as i32,
            BPF_FIB_LOOKUP_OUTPUT,
        )
    };
    if result != BPF_FIB_LKUP_RET_SUCCESS as i64 || query.ifindex != member.ifindex {
        return 0;
    }
    Mac::load(&query.dmac).to_le_word() | 1 << 63
}

#[inline(always)]
fn words(addr: &Addr) -> [u32; 4] {
    let (first, second) = addr.words();
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
        (first.to_ne_bytes(), second.to_ne_bytes());
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_tell_no_neighbour(lb: u32, member: u32) -> u32 {
    stats::tell(&Event {
        kind: event_kind::NO_NEIGHBOUR,
        lb,
        from: member,
        to: 0,
        epoch: 0,
        _pad: 0,
        at_ns: stats::now_ns(),
    });
    0
}

/// A member's packet to a SNAT address.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_reverse(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet, transport);
    let ctx = &XdpContext::new(ctx);
    let (Ok(verdict) | Err(verdict)) = try_reverse(ctx, packet, transport);
    verdict.0
}

#[inline(always)]
fn try_reverse(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let (entry, word) = reverse::find(
        config,
        packet.segment,
        packet.network.protocol,
        (&packet.src, transport.src_port),
        (&packet.dst, transport.dst_port),
    )
    .ok_or(Reason::NoReverseFlow)?;
    // SAFETY: a live map value.
    let from = unsafe { &*entry };
    let index = from.listener;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    if listener.kind != listener_kind::NAT {
        return Err(Reason::NoReverseFlow.into());
    }
    let vip = reverse::vip(entry, listener.lb).ok_or(Reason::NoReverseFlow)?;
    let tick = tick(stats::now_ns());
    if !flow::is_quiet(word, transport.flags, tick)
        && lb_follow(entry, word.0, transport.flags as u32, tick) != 0
    {
        stats::count_error(index);
        stats::count_member_error(word.member() as u32);
        return Err(Reason::MemberRefused.into());
    }
    let to = To::client(from, vip);
    let verdict = link::leave(packet, from.ifindex, Reason::NatReverse)?;
    apply(ctx, packet, transport, &to)?;
    stats::count_out(index, transport.bytes);
    stats::count_member_out(word.member() as u32, transport.bytes);
    Ok(verdict)
}

/// Lets a flow follow what its member sends. Not 0: it refused the connection, and the client shall not
/// know yet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_follow(entry: *mut Reverse, word: u64, flags: u32, tick: u32) -> u32 {
    let (word, flags) = (Word(word), flags as u8);
    if entry.is_null() {
        return 0;
    }
    let Some(config) = CONFIG.get(0) else {
        return 0;
    };
    // SAFETY: a live map value.
    let (from, cell) = unsafe { (&*entry, &raw mut (*entry).word) };
    let is_v6 = !from.client.is_v4();
    let place = Place::new(
        config,
        &from.client,
        from.client_port,
        from.listener,
        from.vip,
        is_v6,
    );
    let (slot, own) = flow::find_slot(&place);
    if slot.is_null() {
        return 0;
    }
    if own.port() != word.port() || own.member() != word.member() {
        return 0;
    }
    let is_refusal = has_connections(from.protocol)
        && flags & tcp_flags::RST != 0
        && own.state() == state::OPENING;
    if is_refusal && from.tries + 1 < TRIES && flow::refuse(slot, own, tick, from.tries) {
        return 1;
    }
    flow::lb_advance(slot, flags as u32, Side::Member as u32, tick);
    let after = word.with_state(state::ESTABLISHED).with_seen(tick);
    // Only to ask less often: who is first does not matter.
    let _other_was_first = crate::word::exchange(cell, word.0, after.0);
    0
}

/// Rewrites the packet. Everything that can fail comes before the first byte is changed.
#[inline(always)]
fn apply(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    to: &To<'_>,
) -> Result<(), Reason> {
    let from = From {
        src: &packet.src,
        dst: &packet.dst,
        src_port: transport.src_port,
        dst_port: transport.dst_port,
        protocol: packet.network.protocol,
    };
    let (l3, is_v6) = (packet.l3(), packet.is_v6);
    if from.protocol == protocol::SCTP {
        if sctp::lb_sctp_ports(ctx.ctx, packet, sctp::ports(to.src_port, to.dst_port)) != 0 {
            return Err(Reason::Truncated);
        }
        let addresses = changed_addresses(is_v6, &from, to);
        rewrite_network(Frame::of_xdp(ctx), l3, is_v6, to.src, to.dst, addresses)?;
        return link::write_header(ctx, l3, is_v6, to.dst_mac, to.src_mac);
    }
    rewrite(Frame::of_xdp(ctx), l3, packet.l4(), is_v6, &from, to)?;
    link::write_header(ctx, l3, is_v6, to.dst_mac, to.src_mac)
}

#[inline(always)]
fn changed_addresses(is_v6: bool, from: &From<'_>, to: &To<'_>) -> Delta {
    if is_v6 {
        Delta::none().addr(from.src, to.src).addr(from.dst, to.dst)
    } else {
        Delta::none()
            .tail(from.src.tail(), to.src.tail())
            .tail(from.dst.tail(), to.dst.tail())
    }
}

/// Rewrites network and transport header, not the link header; of TCP or UDP. An error comes before the first byte is
/// changed.
#[inline(always)]
pub(crate) fn rewrite(
    frame: Frame,
    l3: usize,
    l4: usize,
    is_v6: bool,
    from: &From<'_>,
    to: &To<'_>,
) -> Result<(), Reason> {
    let addresses = changed_addresses(is_v6, from, to);
    let ports = addresses
        .port(from.src_port, to.src_port)
        .port(from.dst_port, to.dst_port);
    match from.protocol {
        protocol::TCP => {
            let run = frame.run::<20>(l4).ok_or(Reason::Truncated)?;
            run.set_u16(16, ports.apply(run.u16(16)));
            run.set_port(0, to.src_port);
            run.set_port(2, to.dst_port);
        }
        _ => {
            let run = frame.run::<8>(l4).ok_or(Reason::Truncated)?;
            run.set_u16(6, ports.apply_udp(run.u16(6)));
            run.set_port(0, to.src_port);
            run.set_port(2, to.dst_port);
        }
    }
    rewrite_network(frame, l3, is_v6, to.src, to.dst, addresses)
}

/// Writes the addresses and takes one from TTL or hop limit.
#[inline(always)]
pub(crate) fn rewrite_network(
    frame: Frame,
    l3: usize,
    is_v6: bool,
    src: &Addr,
    dst: &Addr,
    addresses: Delta,
) -> Result<(), Reason> {
    if is_v6 {
        let run = frame.run::<40>(l3).ok_or(Reason::Truncated)?;
        run.set_u8(7, run.u8(7) - 1);
        run.set_addr_v6(8, src);
        run.set_addr_v6(24, dst);
        return Ok(());
    }
    let run = frame.run::<20>(l3).ok_or(Reason::Truncated)?;
    let old = run.u16(8);
    run.set_u8(8, run.u8(8) - 1);
    let delta = addresses.word(old, run.u16(8));
    run.set_u16(10, delta.apply(run.u16(10)));
    run.set_addr_v4(12, src);
    run.set_addr_v4(16, dst);
    Ok(())
}
