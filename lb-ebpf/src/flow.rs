//! Making NAT flows and following their TCP state.
//!
//! A flow is two entries: the reverse one (what the member answers to) claims the source port, the
//! forward one follows. Either both exist or neither: what was inserted is undone on failure.
//! Expiry is user space's sweep for now; a full table refuses new flows and harms none.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup},
    helpers::generated::bpf_fib_lookup as helper_fib_lookup,
    programs::XdpContext,
};
use lb_common::{
    hash,
    maps::{
        Addr, Be16, Event, FlowEntry, FlowKey, MAGLEV_SLOTS, MemberRecord, event_kind, flow_state,
        listener_flags, maglev_slot_of,
    },
    packet::{Bytes as _, ETHERNET_LEN, protocol, tcp_flags},
    reason::Reason,
};

use crate::{
    frame::{Frame, Mac, opaque},
    maps::{CONFIG, FLOWS, FlowScratch, LISTENERS, MAGLEV, MEMBERS, SCRATCH},
    nat, stats,
    walk::Packet,
};

/// Source ports tried before a flow is refused.
const PORT_PROBES: u32 = 16;
const BPF_NOEXIST: u64 = 1;
const EEXIST: i32 = -17;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Forgets a flow that is over, and says whether it did: a SYN begins another.
#[inline(always)]
pub(crate) fn forgotten_if_over(entry: *mut FlowEntry) -> bool {
    // SAFETY: a live map value.
    let state = unsafe { core::ptr::read_volatile(&raw const (*entry).state) };
    if !nat::is_over(state) {
        return false;
    }
    forget(entry);
    true
}

/// Removes both entries of a flow. The keys are in the scratch value: the stack is full here.
#[inline(never)]
fn forget(entry: *mut FlowEntry) {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return;
    };
    if entry.is_null() {
        return;
    }
    // SAFETY: this CPU's value of a live map.
    let scratch = unsafe { &mut *scratch };
    // SAFETY: a live entry; copied before anything is removed.
    write_peer_key(&mut scratch.reverse_key, unsafe { &*entry });
    let Some(peer) = FLOWS.get_ptr_mut(&scratch.reverse_key) else {
        return;
    };
    // SAFETY: as above.
    write_peer_key(&mut scratch.forward_key, unsafe { &*peer });
    let _gone = FLOWS.remove(&scratch.forward_key);
    let _gone = FLOWS.remove(&scratch.reverse_key);
}

/// Key of the other direction: what comes back to what this entry sends.
#[inline(always)]
fn write_peer_key(key: &mut FlowKey, entry: &FlowEntry) {
    key.segment = entry.peer_segment;
    key.protocol = entry.protocol;
    key.src = copy(&entry.dst);
    key.dst = copy(&entry.src);
    key.src_port = entry.dst_port;
    key.dst_port = entry.src_port;
}

/// Chooses a member and makes the two entries of a new flow; [`Reason::NatForward`] when it could.
#[inline(never)]
pub(crate) fn open(ctx: &XdpContext, packet: &Packet, key: &FlowKey, listener: u32) -> Reason {
    match try_open(ctx, packet, key, listener) {
        Ok(()) => Reason::NatForward,
        Err(reason) => reason,
    }
}

#[inline(always)]
fn try_open(
    ctx: &XdpContext,
    packet: &Packet,
    key: &FlowKey,
    listener_index: u32,
) -> Result<(), Reason> {
    let now = stats::now_ns();
    let seed = CONFIG.get(0).ok_or(Reason::BadRecord)?.hash_seed;
    let listener = LISTENERS.get(listener_index).ok_or(Reason::BadRecord)?;
    let port = (listener.flags & listener_flags::HASH_ADDR_ONLY == 0).then_some(key.src_port);
    let table = maglev_slot_of(listener.maglev, packet.is_v6);
    let index = choose(table, &key.src, port).ok_or(Reason::NoMember)?;
    let member = MEMBERS.get(index).ok_or(Reason::NoMember)?;
    let run = Frame::of_xdp(ctx)
        .run::<ETHERNET_LEN>(0)
        .ok_or(Reason::Truncated)?;
    let next_hop = match nat::neighbour(index) {
        Some(mac) => mac,
        None => resolve(ctx, member, packet.is_v6).ok_or_else(|| {
            tell_no_neighbour(member.lb, index, now);
            Reason::NoNeighbour
        })?,
    };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Err(Reason::BadRecord);
    };
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    let scratch = unsafe { &mut *scratch };
    // Field by field: whole values would be put together on the stack first. Padding in the scratch
    // value is zero from the start and never written.
    scratch.forward_key.segment = key.segment;
    scratch.forward_key.protocol = key.protocol;
    scratch.forward_key.src = copy(&key.src);
    scratch.forward_key.dst = copy(&key.dst);
    scratch.forward_key.src_port = key.src_port;
    scratch.forward_key.dst_port = key.dst_port;
    let reverse_key = &mut scratch.reverse_key;
    reverse_key.segment = member.segment;
    reverse_key.protocol = key.protocol;
    reverse_key.src = copy(&member.addr);
    reverse_key.dst = copy(&member.snat);
    reverse_key.src_port = member.port;
    let common = Common {
        now,
        member: index,
        listener: listener_index,
        protocol: key.protocol,
    };
    let forward = &mut scratch.forward;
    common.write(forward);
    forward.src = copy(&member.snat);
    forward.dst = copy(&member.addr);
    forward.dst_port = member.port;
    forward.ifindex = member.ifindex;
    forward.src_mac = member.src_mac;
    forward.dst_mac = next_hop.bytes();
    forward.reverse = 0;
    forward.peer_segment = member.segment;
    let reverse = &mut scratch.reverse;
    common.write(reverse);
    reverse.src = copy(&key.dst);
    reverse.dst = copy(&key.src);
    reverse.src_port = key.dst_port;
    reverse.dst_port = key.src_port;
    reverse.ifindex = packet.ifindex;
    reverse.src_mac = run.mac(0).bytes();
    reverse.dst_mac = run.mac(6).bytes();
    reverse.reverse = 1;
    reverse.peer_segment = packet.segment;
    let start = hash::port_start(seed, &key.src, key.src_port, &member.addr);
    match insert(scratch, start) {
        INSERTED => {
            stats::count_flow(listener_index);
            Ok(())
        }
        EXHAUSTED => Err(Reason::SnatExhausted),
        _ => Err(Reason::FlowsFull),
    }
}

/// Two loads, then two stores: a plain assignment becomes a call that copies byte by byte.
#[inline(always)]
fn copy(addr: &Addr) -> Addr {
    let (first, second) = addr.words();
    Addr::from_words(first, second)
}

/// What both entries of a flow say.
#[derive(Clone, Copy)]
struct Common {
    now: u64,
    member: u32,
    listener: u32,
    protocol: u8,
}

impl Common {
    #[inline(always)]
    fn write(self, entry: &mut FlowEntry) {
        entry.seen_ns = self.now;
        entry.member = self.member;
        entry.listener = self.listener;
        entry.state = flow_state::OPENING;
        entry.protocol = self.protocol;
    }
}

/// The member that Maglev names for a client.
#[inline(always)]
fn choose(table: u32, src: &Addr, port: Option<Be16>) -> Option<u32> {
    let table = MAGLEV.get_value(table, &0)?;
    // The compiler proves that the slot is in the table and drops the check that the verifier needs.
    let slot = opaque(hash::maglev_slot(src, port) as usize);
    if slot >= MAGLEV_SLOTS {
        return None;
    }
    // SAFETY: checked above.
    let index = unsafe { core::ptr::read_volatile(table.slots.as_ptr().add(slot)) };
    (index != 0).then_some(index as u32)
}

const INSERTED: u32 = 0;
const EXHAUSTED: u32 = 1;
const FULL: u32 = 2;

/// Claims a source port by inserting the reverse entry, then inserts the forward one.
#[inline(never)]
fn insert(scratch: &mut FlowScratch, start: u32) -> u32 {
    let Some(config) = CONFIG.get(0) else {
        return FULL;
    };
    let (min, max) = (config.snat_port_min as u32, config.snat_port_max as u32);
    if max < min {
        return EXHAUSTED;
    }
    let range = max - min + 1;
    for probe in 0..PORT_PROBES {
        let port = Be16::new((min + start.wrapping_add(probe) % range) as u16);
        scratch.reverse_key.dst_port = port;
        match FLOWS.insert(&scratch.reverse_key, &scratch.reverse, BPF_NOEXIST) {
            Ok(()) => {
                scratch.forward.src_port = port;
                return insert_forward(scratch);
            }
            Err(EEXIST) => (),
            Err(_) => return FULL,
        }
    }
    EXHAUSTED
}

#[inline(always)]
fn insert_forward(scratch: &FlowScratch) -> u32 {
    match FLOWS.insert(&scratch.forward_key, &scratch.forward, BPF_NOEXIST) {
        Ok(()) => INSERTED,
        Err(error) => {
            let _gone = FLOWS.remove(&scratch.reverse_key);
            // Another CPU opened the same flow meanwhile: that one serves.
            if error == EEXIST { INSERTED } else { FULL }
        }
    }
}

/// The kernel's own answer for a member whose neighbour the agent has not written yet.
#[inline(never)]
fn resolve(ctx: &XdpContext, member: &MemberRecord, is_v6: bool) -> Option<Mac> {
    let query = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another. Plain
    // numbers, for which zero is a value.
    let query = unsafe {
        let query = &raw mut (*query).query;
        *query = core::mem::zeroed();
        &mut *query
    };
    query.ifindex = member.ifindex;
    if is_v6 {
        query.family = AF_INET6;
        query.__bindgen_anon_3.ipv6_src = words(&member.snat);
        query.__bindgen_anon_4.ipv6_dst = words(&member.addr);
    } else {
        query.family = AF_INET;
        query.__bindgen_anon_3.ipv4_src = words(&member.snat)[3];
        query.__bindgen_anon_4.ipv4_dst = words(&member.addr)[3];
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
    (result == BPF_FIB_LKUP_RET_SUCCESS as i64 && query.ifindex == member.ifindex)
        .then(|| Mac::load(&query.dmac))
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

#[inline(never)]
fn tell_no_neighbour(lb: u32, member: u32, now: u64) {
    stats::tell(&Event {
        kind: event_kind::NO_NEIGHBOUR,
        lb,
        from: member,
        to: 0,
        epoch: 0,
        _pad: 0,
        at_ns: now,
    });
}

/// Follows the state of a flow. Changes are rare, so both entries are written only then.
///
/// ```text
/// OPENING -- answer --> ESTABLISHED -- FIN --> CLOSING -- RST --> CLOSED (from any)
/// ```
#[inline(always)]
pub(crate) fn track(entry: *mut FlowEntry, ip_protocol: u8, flags: u8, state: u32) {
    // SAFETY: a live map value; this field does not change while it lives.
    let is_answer = unsafe { (*entry).reverse } != 0;
    let is_tcp = ip_protocol == protocol::TCP;
    let next = if is_tcp && flags & tcp_flags::RST != 0 {
        flow_state::CLOSED
    } else if is_tcp && flags & tcp_flags::FIN != 0 && state < flow_state::CLOSING {
        flow_state::CLOSING
    } else if is_answer && state == flow_state::OPENING {
        flow_state::ESTABLISHED
    } else {
        return;
    };
    if next != state {
        set_state(entry, next);
    }
}

#[inline(never)]
fn set_state(entry: *mut FlowEntry, state: u32) {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return;
    };
    if entry.is_null() {
        return;
    }
    // SAFETY: this CPU's value of a live map, and live entries, whose state is stored whole.
    unsafe {
        let key = &mut (*scratch).reverse_key;
        core::ptr::write_volatile(&raw mut (*entry).state, state);
        write_peer_key(key, &*entry);
        if let Some(peer) = FLOWS.get_ptr_mut(&*key) {
            core::ptr::write_volatile(&raw mut (*peer).state, state);
        }
    }
}
