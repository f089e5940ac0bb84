//! New flows: limits, a member, a source port, an entry. What was claimed is given back when the rest
//! cannot be had.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    hash,
    maps::{
        ListenerRecord,
        flow::{Word, state},
        listener_kind,
    },
    packet::{Bytes as _, ETHERNET_LEN, Transport, has_connections},
    reason::Reason,
};

use crate::{
    balance::{Seek, Wish},
    choose::{self, Asker},
    flow::{self, Claim},
    frame::Frame,
    given::given,
    limit,
    maps::{CONFIG, LISTENERS, MEMBERS},
    nat, persist, reverse, stats,
    verdict::Verdict,
    walk::Packet,
};

/// The word of the new flow; its state is BUSY when a DSR flow goes unrecorded.
#[inline(always)]
pub(crate) fn open(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    listener: &ListenerRecord,
    seek: &Seek,
    wish: Wish,
) -> Result<Word, Verdict> {
    if wish.is_syn {
        limit::syn(seek.listener, listener, seek.tick)?;
    }
    limit::flow(seek.listener, listener, seek.tick)?;
    let member = lb_choose(packet, transport, seek, &wish);
    let record = MEMBERS.get(member).ok_or(Reason::NoMember)?;
    if member == 0 || record.ifindex == 0 {
        return Err(Reason::NoMember.into());
    }
    nat::next_hop(ctx, member, record, packet.is_v6)?;
    let opened = if listener.kind == listener_kind::NAT {
        let member_and_tries = member | (wish.tries as u32) << 16;
        lb_open_nat(ctx.ctx, packet, transport, seek, member_and_tries)
    } else {
        lb_open_dsr(seek, member, record.lb)
    };
    let mut word = Word(opened);
    if word.state() == state::FREE {
        if listener.kind == listener_kind::NAT {
            return Err(Verdict(opened as u32));
        }
        let unrecorded = Wish {
            is_syn: false,
            is_new: false,
            ..wish
        };
        let member = lb_choose(packet, transport, seek, &unrecorded);
        word = Word::new(member as u16, 0, seek.tick, state::BUSY, 0, 0);
    }
    stats::count_flow(seek.listener);
    stats::count_member_flow(word.member() as u32);
    Ok(word)
}

/// The member for a new flow; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_choose(
    packet: *const Packet,
    transport: *const Transport,
    seek: *const Seek,
    wish: *const Wish,
) -> u32 {
    given!(0; packet, transport, seek, wish);
    let (Some(config), Some(listener)) = (CONFIG.get(0), LISTENERS.get(seek.listener)) else {
        return 0;
    };
    let asker = Asker {
        client: &packet.src,
        port: transport.src_port,
        is_v6: packet.is_v6,
        avoid: wish.avoid,
    };
    let has_persistence = listener.persistence_s != 0;
    if has_persistence && wish.avoid == 0 {
        let member = persist::find(config, listener, seek, &asker);
        if member != 0 {
            return member;
        }
    }
    // What does not begin here may have begun elsewhere: there the same hash led somewhere.
    let begins = wish.is_syn || (!has_connections(packet.network.protocol) && wish.is_new);
    let member = if begins {
        choose::choose(seek.listener, listener, &asker)
    } else {
        choose::choose_by_hash(listener, &asker)
    };
    if has_persistence && member != 0 {
        persist::keep(config, listener, seek, &asker, member);
    }
    member
}

/// Records a DSR flow; 0: there is no room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_open_dsr(seek: *const Seek, member: u32, lb: u32) -> u64 {
    given!(0; seek);
    let Some(claim) = flow::claim(&seek.place, seek.tick) else {
        return 0;
    };
    let word = new_word(&claim, seek, member, 0);
    flow::publish(&claim, &seek.place, word, lb);
    settle_twins(&claim, seek, word).0
}

#[inline(always)]
fn new_word(claim: &Claim, seek: &Seek, member: u32, port: u16) -> Word {
    Word::new(
        member as u16,
        port,
        seek.tick,
        state::OPENING,
        claim.generation,
        seek.place.vip,
    )
}

/// Another CPU may have opened the same flow at the same time: the one that is found stays.
#[inline(always)]
fn settle_twins(claim: &Claim, seek: &Seek, word: Word) -> Word {
    let own = claim.slot;
    let (first, other) = flow::find_slot(&seek.place);
    if first.is_null() || first == own {
        return word;
    }
    flow::lb_release(own, word.0);
    other
}

/// Records a NAT flow: its word, or with state FREE a verdict.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_open_nat(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
    seek: *const Seek,
    member_and_tries: u32,
) -> u64 {
    given!(Verdict::of(Reason::BadRecord).0 as u64; packet, transport, seek);
    let (member, tries) = (member_and_tries & 0xffff, (member_and_tries >> 16) as u8);
    match open_nat(
        &XdpContext::new(ctx),
        packet,
        transport,
        seek,
        member,
        tries,
    ) {
        Ok(word) => word.0,
        Err(verdict) => verdict.0 as u64,
    }
}

#[inline(always)]
fn open_nat(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    seek: &Seek,
    member: u32,
    tries: u8,
) -> Result<Word, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let record = MEMBERS.get(member).ok_or(Reason::BadRecord)?;
    let start = hash::port_start(
        config.hash_seed,
        &packet.src,
        transport.src_port,
        &record.addr,
    );
    let run = Frame::of_xdp(ctx)
        .run::<ETHERNET_LEN>(0)
        .ok_or(Reason::Truncated)?;
    let port = reverse::claim(config, record, start).ok_or(Reason::SnatExhausted)?;
    let Some(claim) = flow::claim(&seek.place, seek.tick) else {
        reverse::abandon(&port);
        return Err(Reason::FlowsFull.into());
    };
    limit::take_port(record.lb);
    let from = reverse::Client {
        addr: &packet.src,
        port: transport.src_port,
        vip_port: transport.dst_port,
        vip: packet.address,
        listener: seek.listener,
        ifindex: packet.ifindex,
        mac: run.mac(6),
        our_mac: run.mac(0),
        protocol: packet.network.protocol,
        tries,
    };
    reverse::publish(&port, &from, member, seek.tick);
    let word = new_word(&claim, seek, member, port.number);
    flow::publish(&claim, &seek.place, word, record.lb);
    Ok(settle_twins(&claim, seek, word))
}
