//! The straight line: a packet of a known flow, or one to be steered, without a scratch value, a second
//! function or a second parse. Whatever is not plain goes the long way (`walk`), which knows all of it,
//! as if this had not been.
//!
//! Plain is: Ethernet without tags; IPv4 without options that is no fragment, or IPv6 without extension
//! headers; TCP or UDP whose lengths are honest; more than one hop left; to a listener without
//! `allowed_cidrs`; and a flow (or a pair of amphorae) that the packet does not change. A plain packet of
//! a flow that is not known is described in the scratch value, so that nothing is asked twice.
//!
//! Known flows are not asked again for what was asked when they were opened (martian source, land), since
//! the flow's key holds the whole client.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    maps::{
        Addr, Config, ListenerRecord,
        flow::{Word, slack_of, state},
        listener_flags, listener_kind,
    },
    packet::{
        self, Bytes as _, ETHERNET_LEN, Ends, Network, Run as _, Transport, protocol, tcp_flags,
    },
    reason::Reason,
};

use crate::{
    balance::{OUTER_V4, OUTER_V6, Seek},
    directory::{self, Clock, Miss, Other, Service},
    dsr::{self, Inner},
    flow::{self, Found},
    frame::{Frame, Mac, Ptr},
    link,
    maps::{AMPHORAE, CONFIG, LISTENERS, MEMBERS, NEIGHBOURS, SCRATCH},
    nat::{self, From, To},
    place::Place,
    stats, steer,
    verdict::{Todo, Verdict},
    walk::{self, Packet, Way},
    word::exchange,
};

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// A verdict that is none: the packet goes the long way, and nothing was counted.
pub(crate) const LONG_WAY: u32 = u32::MAX;

/// A verdict, something to do with what is in the scratch value, or [`LONG_WAY`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lb_fast(ctx: *mut xdp_md) -> u32 {
    let ctx = &XdpContext::new(ctx);
    match fast(ctx) {
        Some(verdict) => verdict.0,
        None => LONG_WAY,
    }
}

#[inline(always)]
fn fast(ctx: &XdpContext) -> Option<Verdict> {
    let frame = Frame::of_xdp(ctx);
    let run = frame.run::<42>(0)?;
    match run.u16(12) {
        ETHERTYPE_IPV4 => {
            let plain = Plain::of_v4(frame, run)?;
            follow::<false>(ctx, frame, &plain)
        }
        ETHERTYPE_IPV6 => {
            let plain = Plain::of_v6(frame)?;
            follow::<true>(ctx, frame, &plain)
        }
        _ => None,
    }
}

/// A plain packet.
#[derive(Clone, Copy)]
struct Plain {
    src: Addr,
    dst: Addr,
    ttl: u8,
    protocol: u8,
    class: u8,
    ip_len: usize,
    transport: Transport,
}

impl Plain {
    #[inline(always)]
    fn of_v4(frame: Frame, run: Ptr) -> Option<Self> {
        let ip_len = run.be16(16) as usize;
        let (ttl, protocol) = (run.u8(22), run.u8(23));
        let is_plain = run.u8(0) & 1 == 0
            && run.u8(14) == 0x45
            && run.u16(20) & FRAGMENT == 0
            && ttl > 1
            && ETHERNET_LEN + ip_len <= frame.len();
        if !is_plain {
            return None;
        }
        Some(Self {
            src: run.addr_v4(26),
            dst: run.addr_v4(30),
            ttl,
            protocol,
            class: run.u8(15),
            ip_len,
            transport: transport::<34>(frame, protocol, ip_len, ip_len.checked_sub(20)?)?,
        })
    }

    #[inline(always)]
    fn of_v6(frame: Frame) -> Option<Self> {
        let run = frame.run::<62>(0)?;
        let payload = run.be16(18) as usize;
        let first = u16::from_be(run.u16(14));
        let (ttl, protocol) = (run.u8(21), run.u8(20));
        let is_plain = run.u8(0) & 1 == 0
            && first >> 12 == 6
            && ttl > 1
            && ETHERNET_LEN + 40 + payload <= frame.len();
        let dst = run.addr_v6(38);
        if !is_plain || dst.is_v4() {
            return None;
        }
        Some(Self {
            src: run.addr_v6(22),
            dst,
            ttl,
            protocol,
            class: (first >> 4) as u8,
            ip_len: 40 + payload,
            transport: transport::<54>(frame, protocol, 40 + payload, payload)?,
        })
    }

    /// As the long way has it.
    #[inline(always)]
    fn describe(&self, to: *mut Packet, way: &Way, is_v6: bool) {
        let l4 = if is_v6 { 54 } else { 34 };
        let network = Network {
            protocol: self.protocol,
            ttl: self.ttl,
            l4,
            l4_len: ETHERNET_LEN + self.ip_len - l4,
            ip_len: self.ip_len,
        };
        let ends = Ends {
            src: self.src,
            dst: self.dst,
        };
        walk::describe(to, way, is_v6, &ends, network, ETHERNET_LEN);
    }

    #[inline(always)]
    fn has_honest_ends(&self, is_v6: bool) -> bool {
        !packet::is_martian(&self.src, is_v6) && self.src.words() != self.dst.words()
    }

    /// As [`nat::rewrite`], where everything is in place.
    #[inline(always)]
    fn rewrite<const V6: bool>(&self, frame: Frame, to: &To<'_>) -> Option<()> {
        let from = From {
            src: &self.src,
            dst: &self.dst,
            src_port: self.transport.src_port,
            dst_port: self.transport.dst_port,
            protocol: self.protocol,
        };
        let l4 = if V6 { 54 } else { 34 };
        nat::rewrite(frame, ETHERNET_LEN, l4, V6, &from, to).ok()
    }
}

/// The transport header at `L4`, of a packet that has `l4_len` bytes from there on.
#[inline(always)]
fn transport<const L4: usize>(
    frame: Frame,
    protocol: u8,
    ip_len: usize,
    l4_len: usize,
) -> Option<Transport> {
    if protocol == protocol::TCP {
        // 54 for IPv4, 74 for IPv6: a constant expression of a parameter is not to be had.
        let run = if L4 == 34 {
            frame.run::<54>(0)?
        } else {
            frame.run::<74>(0)?
        };
        let header = (run.u8(L4 + 12) >> 4) as usize * 4;
        if header < 20 || header > l4_len {
            return None;
        }
        return Some(Transport {
            src_port: run.port(L4),
            dst_port: run.port(L4 + 2),
            flags: run.u8(L4 + 13),
            bytes: l4_len - header,
        });
    }
    if protocol != protocol::UDP {
        return None;
    }
    let run = if L4 == 34 {
        frame.run::<42>(0)?
    } else {
        frame.run::<62>(0)?
    };
    let length = run.be16(L4 + 4) as usize;
    if length < 8 || length > l4_len {
        return None;
    }
    Some(Transport {
        src_port: run.port(L4),
        dst_port: run.port(L4 + 2),
        flags: 0,
        bytes: ip_len,
    })
}

#[inline(always)]
fn follow<const V6: bool>(ctx: &XdpContext, frame: Frame, plain: &Plain) -> Option<Verdict> {
    let ifindex = ctx.ingress_ifindex() as u32;
    let config = CONFIG.get(0)?;
    let transport = &plain.transport;
    let found = directory::find(
        config,
        ifindex,
        &plain.dst,
        plain.protocol,
        transport.dst_port,
    );
    let (service, clock) = match found {
        Ok(found) => found,
        Err(Miss::Verdict(verdict)) => return Some(Verdict(verdict)),
        Err(Miss::Source(other)) => return from_member::<V6>(plain, ifindex, other),
    };
    let index = service.listener;
    let listener = LISTENERS.get(index)?;
    if listener.flags & listener_flags::CIDRS != 0 {
        return None;
    }
    let verdict = match listener.kind {
        listener_kind::STEER => to_amphora(frame, plain, listener, V6)?,
        listener_kind::NAT | listener_kind::DSR_L2 | listener_kind::DSR_IPIP => to_member::<V6>(
            ctx,
            frame,
            plain,
            ifindex,
            service,
            config,
            listener,
            Clock::tick(clock),
        )?,
        _ => return None,
    };
    stats::count_in(index, transport.bytes);
    Some(verdict)
}

/// What changes nothing but perhaps the tick.
#[inline(always)]
fn is_quiet(word: Word, flags: u8, age: u32, is_nat: bool) -> bool {
    if flags & (tcp_flags::FIN | tcp_flags::RST) != 0 {
        return false;
    }
    let is_syn = flags & tcp_flags::SYN != 0;
    match word.state() {
        state::ESTABLISHED => true,
        // NAT: more of what nobody answers renews the stamp; another SYN may go elsewhere.
        state::OPENING if is_nat => !is_syn && age <= 1,
        state::OPENING => is_syn && age <= flow::OPENING_TICKS,
        _ => false,
    }
}

/// Whether the packet leaves the flow as it is; then its stamp is renewed once it lags by too much.
#[inline(always)]
fn goes_on(found: &Found, listener: &ListenerRecord, flags: u8, tick: u32, is_nat: bool) -> bool {
    let word = found.word;
    let age = word.age(tick);
    if !is_quiet(word, flags, age, is_nat) {
        return false;
    }
    // A lag of one tick is within any listener's slack.
    if age > 1 && word.state() == state::ESTABLISHED {
        let idle = flow::idle_of(listener);
        if age > idle + slack_of(idle) {
            return false;
        }
        if age > slack_of(idle) {
            // Whoever was first has said the same.
            let _other_was_first = exchange(found.cell(), word.0, word.with_seen(tick).0);
        }
    }
    true
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined; all of it is at hand")]
fn to_member<const V6: bool>(
    ctx: &XdpContext,
    frame: Frame,
    plain: &Plain,
    ifindex: u32,
    service: &Service,
    config: &Config,
    listener: &ListenerRecord,
    tick: u32,
) -> Option<Verdict> {
    let transport = &plain.transport;
    let index = service.listener;
    let place = Place::new(
        config,
        &plain.src,
        transport.src_port,
        index,
        service.address,
        V6,
    );
    let Some(found) = flow::find_as::<V6>(&place) else {
        let way = Way {
            ifindex,
            segment: service.segment,
            address: service.address,
            may_return: service.may_return,
        };
        return not_known::<V6>(plain, &way, place, index, tick);
    };
    let word = found.word;
    let is_nat = listener.kind == listener_kind::NAT;
    if !goes_on(&found, listener, transport.flags, tick, is_nat) {
        return None;
    }
    let member = word.member() as u32;
    let record = MEMBERS.get(member)?;
    let is_v4 = record.addr.is_v4();
    let (outer, reason) = match listener.kind {
        listener_kind::NAT => (0, Reason::NatForward),
        listener_kind::DSR_IPIP if is_v4 => (OUTER_V4, Reason::DsrForward),
        listener_kind::DSR_IPIP => (OUTER_V6, Reason::DsrForward),
        _ => (0, Reason::DsrForward),
    };
    if record.ifindex == 0
        || record.lb != listener.lb
        || (record.mtu != 0 && plain.ip_len + outer > record.mtu as usize)
    {
        return None;
    }
    // SAFETY: a live map value; the agent stores whole words.
    let next_hop = unsafe { core::ptr::read_volatile(NEIGHBOURS.get(member)?) };
    if next_hop >> 63 == 0 {
        return None;
    }
    let next_hop = Mac::from_le_word(next_hop);
    let verdict = if service.may_return && record.ifindex == ifindex {
        Verdict::returned(reason)
    } else if link::leave_by(record.ifindex) {
        Verdict::of(reason)
    } else {
        return None;
    };
    let src_mac = Mac::load(&record.src_mac);
    if listener.kind == listener_kind::DSR_IPIP {
        let inner = Inner {
            is_v6: V6,
            class: plain.class,
            len: plain.ip_len,
            tags: 0,
        };
        if let Err(reason) = dsr::wrap(ctx, &inner, record, next_hop, place.hash, config) {
            stats::count_error(index);
            return Some(reason.into());
        }
    } else {
        let run = frame.run::<ETHERNET_LEN>(0)?;
        if is_nat {
            let to = To::member(record, word.port(), next_hop);
            plain.rewrite::<V6>(frame, &to)?;
        }
        run.set_mac(0, next_hop);
        run.set_mac(6, src_mac);
    }
    stats::count_member_in(member, transport.bytes);
    Some(verdict)
}

/// Leaves what a member answers where it is turned round.
#[inline(always)]
fn from_member<const V6: bool>(plain: &Plain, ifindex: u32, to: &Other) -> Option<Verdict> {
    if !plain.has_honest_ends(V6) {
        return None;
    }
    let way = Way {
        ifindex,
        segment: to.segment,
        address: to.address,
        may_return: to.may_return,
    };
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    unsafe {
        plain.describe(&raw mut (*scratch).packet, &way, V6);
        (*scratch).transport = plain.transport;
    }
    Some(Verdict::postponed(Todo::Reverse))
}

/// Leaves a packet of no known flow where a flow is opened.
#[inline(always)]
fn not_known<const V6: bool>(
    plain: &Plain,
    way: &Way,
    place: Place,
    listener: u32,
    tick: u32,
) -> Option<Verdict> {
    if !plain.has_honest_ends(V6) {
        return None;
    }
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    unsafe {
        plain.describe(&raw mut (*scratch).packet, way, V6);
        (*scratch).transport = plain.transport;
        (*scratch).seek = Seek {
            place,
            word: Word(0),
            listener,
            tick,
        };
    }
    Some(Verdict::postponed(Todo::Open(listener)))
}

/// To the active amphora, as long as it is alive, keeps all its conversations, and has been told lately
/// that there is traffic.
#[inline(always)]
fn to_amphora(
    frame: Frame,
    plain: &Plain,
    listener: &ListenerRecord,
    is_v6: bool,
) -> Option<Verdict> {
    if !plain.has_honest_ends(is_v6) || (listener.syn_per_second != 0 && plain.transport.is_syn()) {
        return None;
    }
    let index = steer::settled(listener.lb, stats::now_ns())?;
    let record = AMPHORAE.get(index)?;
    let run = frame.run::<ETHERNET_LEN>(0)?;
    if !link::leave_by(record.ifindex) {
        return None;
    }
    run.set_mac(0, Mac::load(&record.dst_mac));
    run.set_mac(6, Mac::load(&record.src_mac));
    Some(Reason::Steered.into())
}
