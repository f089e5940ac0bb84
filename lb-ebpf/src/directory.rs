//! Where packets from one interface to one address and port lead, as this CPU last found it: one line
//! instead of the way through `SEGMENTS`, `ADDRESSES`, `ADDRESS_RECORDS` and `PORTS`.
//!
//! What was found is good as long as `Config::generation` is what it was before the search: whoever writes
//! to one of those maps raises it afterwards. What is in `LISTENERS` is not kept here. Only ports of
//! enabled VIPs are, addresses that NAT has towards members, and such as are nobody's; of two that want
//! one place the last has it.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use lb_common::{
    maps::{Addr, Be16, Config, SEGMENT_TX, address_kind, flow::tick, vip_flags},
    reason::Reason,
};

use crate::{
    address,
    fast::LONG_WAY,
    maps::{CONFIG, SEGMENTS, SERVICES},
    stats,
    verdict::Verdict,
};

/// Places for services of one CPU, a power of two.
pub(crate) const PLACES: usize = 256;
/// And for other addresses, a power of two.
const OTHERS: usize = 64;
/// Any odd number with bits everywhere.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A listener's port at one of its addresses. All but the first three fields are what was found.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Service {
    dst: [u64; 2],
    /// Interface (never 0), protocol, port.
    asked: u64,
    generation: u32,
    pub(crate) listener: u32,
    pub(crate) segment: u32,
    /// Index of the address in `ADDRESS_RECORDS`.
    pub(crate) address: u32,
    pub(crate) may_return: bool,
    _pad: [u8; 3],
    _pad2: [u32; 5],
}

const _: () = assert!(size_of::<Service>() == 64);

/// An address that is not ours, or ([`Other::is_source`]) one that NAT has towards members.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Other {
    dst: [u64; 2],
    ifindex: u32,
    generation: u32,
    pub(crate) segment: u32,
    /// Index of the address in `ADDRESS_RECORDS`.
    pub(crate) address: u32,
    pub(crate) may_return: bool,
    is_source: bool,
    _pad: [u8; 6],
}

const _: () = assert!(size_of::<Other>() == 40);

/// `SERVICES`.
#[repr(C)]
pub(crate) struct Services {
    services: [Service; PLACES],
    /// Of their own, so that what is not ours pushes out nothing that is.
    others: [Other; OTHERS],
    clock: Clock,
}

/// The tick, as it was in one of the kernel's jiffies: reading those is one load.
#[repr(C)]
pub(crate) struct Clock {
    jiffies: u64,
    tick: u64,
}

impl Clock {
    /// Of a live map value of this CPU.
    #[inline(always)]
    pub(crate) fn tick(this: *mut Self) -> u32 {
        // SAFETY: takes nothing and returns a number.
        let jiffies = unsafe { bpf_jiffies64() };
        // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
        let clock = unsafe { &mut *this };
        if clock.jiffies != jiffies {
            clock.jiffies = jiffies;
            clock.tick = tick(stats::now_ns()) as u64;
        }
        clock.tick as u32
    }
}

#[inline(always)]
fn place(all: *mut Services, (first, second): (u64, u64), asked: u64) -> *mut Service {
    // The highest eight bits.
    let at = (first ^ second ^ asked).wrapping_mul(SPREAD) >> 56;
    // SAFETY: below `PLACES`.
    unsafe {
        (&raw mut (*all).services)
            .cast::<Service>()
            .add(at as usize)
    }
}

#[inline(always)]
fn other(all: *mut Services, (first, second): (u64, u64)) -> *mut Other {
    // The highest six bits.
    let at = (first ^ second).wrapping_mul(SPREAD) >> 58;
    // SAFETY: below `OTHERS`.
    unsafe { (&raw mut (*all).others).cast::<Other>().add(at as usize) }
}

/// What a packet is for when it is no service.
pub(crate) enum Miss {
    /// A verdict, or [`LONG_WAY`].
    Verdict(u32),
    /// An address of NAT's: it is a member's.
    Source(&'static Other),
}

/// The service that a packet is for.
#[inline(always)]
pub(crate) fn find(
    config: &Config,
    ifindex: u32,
    dst: &Addr,
    protocol: u8,
    port: Be16,
) -> Result<(&'static Service, *mut Clock), Miss> {
    let (first, second) = dst.words();
    let port = u16::from_ne_bytes(port.0) as u64;
    let asked = (ifindex as u64) << 32 | (protocol as u64) << 16 | port;
    let services = SERVICES.get_ptr_mut(0).ok_or(Miss::Verdict(LONG_WAY))?;
    let service = place(services, (first, second), asked);
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    let service = unsafe { &*service };
    let is_known = service.dst[1] == second
        && service.asked == asked
        && service.dst[0] == first
        && service.generation == config.generation;
    if !is_known {
        // SAFETY: as above.
        let other = unsafe { &*other(services, (first, second)) };
        if other.dst[1] == second
            && other.ifindex == ifindex
            && other.dst[0] == first
            && other.generation == config.generation
        {
            return Err(if other.is_source {
                Miss::Source(other)
            } else {
                Miss::Verdict(Verdict::of(Reason::NotOurs).0)
            });
        }
        let learnt = lb_learn(first, second, asked);
        if learnt != LEARNT {
            return Err(Miss::Verdict(learnt));
        }
    }
    // SAFETY: a field of a live map value.
    Ok((service, unsafe { &raw mut (*services).clock }))
}

const LEARNT: u32 = 0;

/// Searches for a service and keeps it; not [`LEARNT`]: a verdict, or [`LONG_WAY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_learn(first: u64, second: u64, asked: u64) -> u32 {
    match learn(&Addr::from_words(first, second), asked) {
        Some(result) => result,
        None => LONG_WAY,
    }
}

#[inline(always)]
fn learn(dst: &Addr, asked: u64) -> Option<u32> {
    let config = CONFIG.get(0)?;
    // Before the search: what is changed meanwhile has another one.
    // SAFETY: a live map value; the agent stores whole words.
    let generation = unsafe { core::ptr::read_volatile(&raw const config.generation) };
    // SAFETY: as above.
    let word = unsafe { core::ptr::read_volatile(SEGMENTS.get((asked >> 32) as u32)?) };
    if word == 0 {
        return None;
    }
    let segment = word as u32;
    let all = SERVICES.get_ptr_mut(0)?;
    let found = address::find(config.hash_seed, segment, dst);
    let is_source = match found {
        Some((record, _)) => record.kind == address_kind::SNAT,
        None => false,
    };
    if found.is_none() || is_source {
        let other = other(all, dst.words());
        // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
        unsafe {
            (*other).dst = [dst.words().0, dst.words().1];
            (*other).ifindex = (asked >> 32) as u32;
            (*other).generation = generation;
            (*other).segment = segment;
            (*other).address = match found {
                Some((_, address)) => address,
                None => 0,
            };
            (*other).may_return = word & SEGMENT_TX != 0;
            (*other).is_source = is_source;
        }
    }
    let Some((record, address)) = found else {
        return Some(Verdict::of(Reason::NotOurs).0);
    };
    if record.kind != address_kind::VIP || record.flags & vip_flags::ENABLED == 0 {
        return None;
    }
    let port = Be16((asked as u16).to_ne_bytes());
    let listener = address::find_listener(record, (asked >> 16) as u8, port)?;
    let (first, second) = dst.words();
    let service = place(all, (first, second), asked);
    // SAFETY: this CPU's value of a live map; XDP programs do not interrupt one another.
    unsafe {
        (*service).dst = [first, second];
        (*service).asked = asked;
        (*service).generation = generation;
        (*service).listener = listener;
        (*service).segment = segment;
        (*service).address = address;
        (*service).may_return = word & SEGMENT_TX != 0;
    }
    Some(LEARNT)
}
