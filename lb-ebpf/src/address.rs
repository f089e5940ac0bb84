//! Whose an address is, and which listener a port has. Arrays only: a miss costs a cache line.

use lb_common::{
    hash::address_slot,
    maps::{Addr, AddressRecord, Be16, limits, port_home},
};

use crate::maps::{ADDRESS_RECORDS, ADDRESSES, PORTS};

/// The record of an address of ours, and its index.
#[inline(always)]
pub(crate) fn find(seed: u64, segment: u32, addr: &Addr) -> Option<(&'static AddressRecord, u32)> {
    let (bucket, tag) = address_slot(seed, segment, addr);
    let bucket = ADDRESSES.get(bucket)?;
    let words = bucket.words.as_ptr();
    let mut at = words;
    for index in 0..bucket.words.len() {
        // Only the tag, since most addresses are nobody's.
        // SAFETY: half of a word of a live map value.
        let here = unsafe {
            at = words.add(index);
            let half = if cfg!(target_endian = "little") { 1 } else { 0 };
            core::ptr::read_volatile(at.cast::<u32>().add(half))
        };
        if here == tag {
            break;
        }
    }
    // SAFETY: a live map value; the agent stores whole words.
    let found = unsafe { core::ptr::read_volatile(at) };
    if (found >> 32) as u32 != tag {
        return None;
    }
    let record = ADDRESS_RECORDS.get(found as u32)?;
    // The tag only hints.
    (record.segment == segment && record.addr.words() == addr.words())
        .then_some((record, found as u32))
}

/// The listener of a VIP's port.
#[inline(always)]
pub(crate) fn find_listener(vip: &AddressRecord, protocol: u8, port: Be16) -> Option<u32> {
    let home = port_home(protocol, port.get());
    let wanted = ((protocol as u32) << 16) | port.get() as u32;
    for probe in 0..limits::PORT_PROBES {
        let at = vip.ports_base + (home.wrapping_add(probe) & vip.ports_mask);
        let word = PORTS.get(at)?;
        // SAFETY: a live map value; the agent stores whole words.
        let word = unsafe { core::ptr::read_volatile(word) };
        if (word >> 32) as u32 == wanted {
            return Some(word as u32);
        }
    }
    None
}
