//! A packet of a listener that XDP balances itself: its flow, or a new one, then on its way.
//!
//! Nearly every packet belongs to a known flow whose state it does not change: those are `fast`'s. Here are
//! all others, also those of known flows that are not plain.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    maps::{
        Config, ListenerRecord, MemberRecord,
        flow::{Slot, Word, state, tick, ticks_of},
        listener_kind,
    },
    packet::{Transport, has_connections, is_syn, protocol, tcp_flags},
    reason::Reason,
};

use crate::{
    dsr, flow,
    flow::Side,
    given::given,
    link,
    maps::{CONFIG, LISTENERS, MEMBERS, SCRATCH},
    nat, open,
    place::Place,
    reset, reverse, sctp, stats, too_big,
    verdict::Verdict,
    walk::Packet,
};

/// Bytes of the outer headers.
pub(crate) const OUTER_V4: usize = 20;
pub(crate) const OUTER_V6: usize = 40;
/// Members that are tried before the client is told.
pub(crate) const TRIES: u8 = 3;

/// Seconds that a member has for its answer to a SYN when the listener names none.
const CONNECT_S: u32 = 5;

/// What a new flow's member must be.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Wish {
    /// A member that has failed; 0: none has.
    pub(crate) avoid: u32,
    /// How many have.
    pub(crate) tries: u8,
    pub(crate) is_syn: bool,
    /// Or, of other protocols, that nothing is known of.
    pub(crate) is_new: bool,
}

/// What is sought, and what was found of it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Seek {
    pub(crate) place: Place,
    pub(crate) word: Word,
    pub(crate) listener: u32,
    pub(crate) tick: u32,
}

/// Of the index given to [`lb_balance`]: the flow was sought in vain, as the scratch value says.
pub(crate) const UNKNOWN: u32 = 1 << 31;

/// Sends a client's packet to its member.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_balance(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
    index: u32,
) -> u32 {
    given!(Verdict::of(Reason::BadRecord).0; packet, transport);
    let ctx = &XdpContext::new(ctx);
    let is_unknown = index & UNKNOWN != 0;
    let index = index & !UNKNOWN;
    let (Ok(verdict) | Err(verdict)) = try_balance(ctx, packet, transport, index, is_unknown);
    if !verdict.is_forwarded() {
        stats::count_error(index);
    }
    verdict.0
}

#[inline(always)]
fn try_balance(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    index: u32,
    is_unknown: bool,
) -> Result<Verdict, Verdict> {
    let config = CONFIG.get(0).ok_or(Reason::BadRecord)?;
    let listener = LISTENERS.get(index).ok_or(Reason::BadRecord)?;
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Reason::BadRecord)?;
    // Not on the stack, which is too short for it.
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    let seek = unsafe { &raw mut (*scratch).seek };
    // It was sought in two blocks.
    let slot = if is_unknown && !flow::has_thirds() {
        core::ptr::null_mut()
    } else {
        look_up(config, packet, transport, index, seek)
    };
    // SAFETY: as above.
    let seek = unsafe { &*seek };
    let place = &seek.place;
    let word = if slot.is_null() || !flow::is_quiet(seek.word, transport.flags, seek.tick) {
        settled(ctx, packet, transport, seek, slot)?
    } else {
        seek.word
    };
    let member = word.member() as u32;
    let record = MEMBERS.get(member).ok_or(Reason::BadRecord)?;
    if record.ifindex == 0 || record.lb != listener.lb {
        return Err(Reason::NoMember.into());
    }
    let reason = match listener.kind {
        listener_kind::NAT => Reason::NatForward,
        _ if word.state() == state::BUSY => Reason::DsrUnrecorded,
        _ => Reason::DsrForward,
    };
    let verdict = send(
        ctx, packet, transport, listener, record, word, place, config, reason,
    )?;
    stats::count_member_in(member, transport.bytes);
    Ok(verdict)
}

/// Writes down what is sought and what there is of it; returns the flow's slot, or null.
#[inline(always)]
fn look_up(
    config: &Config,
    packet: &Packet,
    transport: &Transport,
    index: u32,
    seek: *mut Seek,
) -> *mut Slot {
    let place = Place::new(
        config,
        &packet.src,
        transport.src_port,
        index,
        packet.address,
        packet.is_v6,
    );
    // SAFETY: the caller's, this CPU's scratch value.
    unsafe {
        (*seek).place = place;
        (*seek).listener = index;
        (*seek).tick = tick(stats::now_ns());
        let (slot, word) = flow::find_slot(&(*seek).place);
        (*seek).word = word;
        slot
    }
}

/// Rewrites the packet and sends it.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined; all of it is at hand")]
fn send(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    listener: &ListenerRecord,
    record: &'static MemberRecord,
    word: Word,
    place: &Place,
    config: &Config,
    reason: Reason,
) -> Result<Verdict, Verdict> {
    let member = word.member() as u32;
    let outer = match listener.kind {
        listener_kind::DSR_IPIP if record.addr.is_v4() => OUTER_V4,
        listener_kind::DSR_IPIP => OUTER_V6,
        _ => 0,
    };
    if record.mtu != 0 && packet.network.ip_len + outer > record.mtu as usize {
        return Ok(Verdict(too_big::lb_too_big(
            ctx.ctx,
            packet,
            record.mtu as u32 - outer as u32,
        )));
    }
    let next_hop = nat::next_hop(ctx, member, record, packet.is_v6)?;
    let verdict = link::leave(packet, record.ifindex, reason)?;
    match listener.kind {
        listener_kind::NAT => nat::forward(ctx, packet, transport, record, word, next_hop)?,
        listener_kind::DSR_IPIP => {
            dsr::encapsulate(ctx, packet, record, next_hop, place.hash, config)?;
        }
        _ => dsr::rewrite_link(ctx, packet, record, next_hop)?,
    }
    Ok(verdict)
}

/// The word of a flow whose state the packet changes, or that it opens.
#[inline(always)]
fn settled(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    seek: &Seek,
    slot: *mut Slot,
) -> Result<Word, Verdict> {
    let settled = lb_settle(ctx.ctx, packet, transport, seek, slot);
    if Word(settled).state() != state::FREE {
        return Ok(Word(settled));
    }
    let verdict = Verdict(settled as u32);
    if !verdict.is(Reason::NoFlow) {
        return Err(verdict);
    }
    if packet.network.protocol == protocol::TCP {
        return Err(Verdict(reset::lb_reset(ctx.ctx, packet, transport)));
    }
    Err(Verdict(sctp::lb_abort(ctx.ctx, packet, transport)))
}

/// A word, whose state is BUSY when there is no room to record the flow; with state FREE, a verdict.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_settle(
    ctx: *mut xdp_md,
    packet: *const Packet,
    transport: *const Transport,
    seek: *const Seek,
    slot: *mut Slot,
) -> u64 {
    given!(Verdict::of(Reason::BadRecord).0 as u64; packet, transport, seek);
    let ctx = &XdpContext::new(ctx);
    match try_settle(ctx, packet, transport, seek, slot) {
        Ok(word) => word.0,
        Err(verdict) => verdict.0 as u64,
    }
}

#[inline(always)]
fn try_settle(
    ctx: &XdpContext,
    packet: &Packet,
    transport: &Transport,
    seek: &Seek,
    slot: *mut Slot,
) -> Result<Word, Verdict> {
    let listener = LISTENERS.get(seek.listener).ok_or(Reason::BadRecord)?;
    let is_nat = listener.kind == listener_kind::NAT;
    let has_connections = has_connections(packet.network.protocol);
    let is_syn = has_connections && is_syn(transport.flags);
    let (mut avoid, mut tries) = (0, 0);
    if !slot.is_null() {
        let failed = if is_syn && is_nat {
            failed(seek, listener)
        } else {
            None
        };
        match failed {
            Some(before) => {
                (avoid, tries) = (seek.word.member() as u32, before.saturating_add(1));
                flow::lb_release(slot, seek.word.0);
            }
            None => {
                let side = if is_nat {
                    Side::Client
                } else {
                    Side::OnlyClient
                };
                let went = flow::lb_advance(slot, transport.flags as u32, side as u32, seek.tick);
                if went == flow::GOES_ON {
                    return Ok(seek.word);
                }
            }
        }
    }
    if has_connections {
        let may_open = if is_nat {
            is_syn
        } else {
            transport.flags & tcp_flags::RST == 0
        };
        if !may_open {
            return Err(Reason::NoFlow.into());
        }
    }
    let wish = Wish {
        avoid,
        tries,
        is_syn,
        is_new: true,
    };
    open::open(ctx, packet, transport, listener, seek, wish)
}

/// Members that were tried in vain before the one of this flow, which has failed, too: it refused, or
/// it has not answered for too long.
#[inline(always)]
fn failed(seek: &Seek, listener: &ListenerRecord) -> Option<u8> {
    match seek.word.state() {
        state::REFUSED => Some(seek.word.port() as u8),
        state::OPENING => {
            let connect = if listener.connect_s == 0 {
                CONNECT_S
            } else {
                listener.connect_s
            };
            if seek.word.age(seek.tick) <= ticks_of(connect) {
                return None;
            }
            let tries = reverse::tries(seek.word)?;
            (tries + 1 < TRIES).then_some(tries)
        }
        _ => None,
    }
}
