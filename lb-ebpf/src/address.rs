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
    let mut found = 0u64;
    for word in &bucket.words {
        // SAFETY: a live map value; the agent stores whole words.
        let word = unsafe { core::ptr::read_volatile(word) };
        if (word >> 32) as u32 == tag {
            found = word;
            break;
        }
    }
    if found == 0 {
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
