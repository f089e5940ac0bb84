//! The members' side of NAT flows: a source port of ours towards a member is an entry of `REVERSE`,
//! and who claims the entry has the port.

use lb_common::{
    hash,
    maps::{
        Addr, AddressRecord, Be16, Config, MemberRecord,
        flow::{REVERSE_MIN, Reverse, Word, state},
    },
};

use crate::{
    frame::Mac,
    limit,
    maps::{CONFIG, MEMBERS, REVERSE},
    word::{exchange, load, store},
};

/// Ports tried before a flow is refused.
const PROBES: u32 = 16;

/// The entry for a port of a run.
#[inline(always)]
fn entry(config: &Config, run: u64, port: u16) -> Option<*mut Reverse> {
    let page = hash::reverse_page(run, port) & config.reverse_mask;
    REVERSE.get_ptr_mut(page * REVERSE_MIN + (port as u32 & (REVERSE_MIN - 1)))
}

#[inline(always)]
fn run_of(config: &Config, member: &MemberRecord) -> u64 {
    hash::reverse_run(
        config.hash_seed,
        member.segment,
        (&member.addr, member.port),
        &member.snat,
    )
}

/// A claimed entry and the port that it stands for.
#[derive(Clone, Copy)]
pub(crate) struct Port {
    pub(crate) entry: *mut Reverse,
    pub(crate) number: u16,
    generation: u8,
}

/// Claims a source port towards a member.
#[inline(always)]
pub(crate) fn claim(config: &Config, member: &MemberRecord, start: u32) -> Option<Port> {
    let (min, max) = (config.snat_port_min as u32, config.snat_port_max as u32);
    if max < min {
        return None;
    }
    let range = max - min + 1;
    let run = run_of(config, member);
    for probe in 0..PROBES {
        // Far from the crowded run, once that shows: pages of ports near each other are crowded alike.
        let step = if probe < 4 { probe } else { probe * 4_099 };
        let number = (min + start.wrapping_add(step) % range) as u16;
        let entry = entry(config, run, number)?;
        // SAFETY: a live map value.
        let cell = unsafe { &raw mut (*entry).word };
        let word = Word(load(cell));
        let generation = word.generation().wrapping_add(1) & 0xf;
        let busy = Word::new(0, 0, 0, state::BUSY, generation, 0);
        if word.state() == state::FREE && exchange(cell, word.0, busy.0) {
            return Some(Port {
                entry,
                number,
                generation,
            });
        }
    }
    None
}

/// Gives a claimed port back.
#[inline(always)]
pub(crate) fn abandon(port: &Port) {
    // SAFETY: a live map value, which is ours until its word is stored.
    let cell = unsafe { &raw mut (*port.entry).word };
    store(cell, Word::new(0, 0, 0, state::FREE, port.generation, 0).0);
}

/// Frees the entry of a flow whose slot `word` was taken by this CPU; DSR flows have none.
#[inline(always)]
pub(crate) fn release(word: Word) {
    if word.port() == 0 || word.state() == state::REFUSED {
        return;
    }
    lb_free_port(word.member() as u32, word.port() as u32);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_free_port(member_index: u32, port: u32) -> u32 {
    let Some(config) = CONFIG.get(0) else {
        return 0;
    };
    let Some(member) = MEMBERS.get(member_index) else {
        return 0;
    };
    let Some(entry) = find_own(config, member, member_index as u16, port as u16) else {
        return 0;
    };
    // SAFETY: a live map value.
    let cell = unsafe { &raw mut (*entry).word };
    // Its word changes under us only by what the member sends: state and tick.
    for _ in 0..2 {
        let word = Word(load(cell));
        let free = Word::new(0, 0, 0, state::FREE, word.generation(), 0);
        if exchange(cell, word.0, free.0) {
            limit::give_port_back(member.lb);
            return 1;
        }
    }
    0
}

/// The entry of a flow, by what its slot says.
#[inline(always)]
fn find_own(config: &Config, member: &MemberRecord, index: u16, port: u16) -> Option<*mut Reverse> {
    let entry = entry(config, run_of(config, member), port)?;
    // SAFETY: a live map value.
    let word = Word(load(unsafe { &raw const (*entry).word }));
    (word.is_live() && word.member() == index && word.port() == port).then_some(entry)
}

/// The entry that an answer from `member` to `snat` belongs to.
#[inline(always)]
pub(crate) fn find(
    config: &Config,
    segment: u32,
    protocol: u8,
    member: (&Addr, Be16),
    snat: (&Addr, Be16),
) -> Option<(*mut Reverse, Word)> {
    let run = hash::reverse_run(config.hash_seed, segment, member, snat.0);
    let entry = entry(config, run, snat.1.get())?;
    // SAFETY: a live map value.
    let (word, is) = unsafe { (Word(load(&raw const (*entry).word)), (*entry).protocol) };
    if !word.is_live() || word.port() != snat.1.get() || is != protocol {
        return None;
    }
    let record = MEMBERS.get(word.member() as u32)?;
    let is_members = record.addr.words() == member.0.words()
        && record.port == member.1
        && record.snat.words() == snat.0.words()
        && record.segment == segment;
    is_members.then_some((entry, word))
}

/// The VIP that a flow's client knows, if it is still one of the load balancer's.
#[inline(always)]
pub(crate) fn vip(entry: *const Reverse, lb: u32) -> Option<&'static AddressRecord> {
    // SAFETY: a live map value.
    let record = crate::maps::ADDRESS_RECORDS.get(unsafe { (*entry).vip })?;
    (record.kind == lb_common::maps::address_kind::VIP && record.owner == lb).then_some(record)
}

/// Where the client's packets of a new flow come from, and as whom it knows us.
pub(crate) struct Client<'a> {
    pub(crate) addr: &'a Addr,
    pub(crate) port: Be16,
    pub(crate) vip_port: Be16,
    pub(crate) vip: u32,
    pub(crate) listener: u32,
    pub(crate) ifindex: u32,
    pub(crate) mac: Mac,
    pub(crate) our_mac: Mac,
    pub(crate) protocol: u8,
    pub(crate) tries: u8,
}

/// Fills a claimed entry and makes it answer.
#[inline(always)]
pub(crate) fn publish(port: &Port, from: &Client<'_>, member: u32, tick: u32) {
    let entry = port.entry;
    let (first, second) = from.addr.words();
    // SAFETY: a live map value, which is ours until its word is stored.
    unsafe {
        let client = (&raw mut (*entry).client).cast::<u64>();
        store(client, first);
        store(client.add(1), second);
        (*entry).client_port = from.port;
        (*entry).vip_port = from.vip_port;
        (*entry).vip = from.vip;
        (*entry).listener = from.listener;
        (*entry).ifindex = from.ifindex;
        from.mac.store(&raw mut (*entry).client_mac);
        from.our_mac.store(&raw mut (*entry).our_mac);
        (*entry).protocol = from.protocol;
        (*entry).tries = from.tries;
        let word = Word::new(
            member as u16,
            port.number,
            tick,
            state::OPENING,
            port.generation,
            0,
        );
        store(&raw mut (*entry).word, word.0);
    }
}

/// Members that were tried before the one of this flow.
#[inline(always)]
pub(crate) fn tries(word: Word) -> Option<u8> {
    let config = CONFIG.get(0)?;
    let member = MEMBERS.get(word.member() as u32)?;
    let entry = find_own(config, member, word.member(), word.port())?;
    // SAFETY: a live map value.
    Some(unsafe { (*entry).tries })
}
