//! What looking up a flow costs by the kernel's maps: addresses, ports and protocol of an IPv4 packet
//! at fixed places, one access, nothing else. An unknown flow is put in.

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, HashMap, LruHashMap},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::replay::{BUCKETS, ENTRIES};

#[derive(Clone, Copy)]
#[repr(C)]
struct Key {
    src: u32,
    dst: u32,
    ports: u32,
    protocol: u32,
}

#[repr(C)]
struct Value {
    member: u64,
    seen: u64,
}

/// One line: four tags, four members.
#[repr(C)]
struct Bucket {
    tags: [u64; 4],
    members: [u64; 4],
}

#[btf_map]
static FLOOR_ARRAY: Array<Bucket, { BUCKETS as usize }> = Array::new();
#[btf_map]
static FLOOR_HASH: HashMap<Key, Value, ENTRIES> = HashMap::new();
#[btf_map]
static FLOOR_LRU: LruHashMap<Key, Value, ENTRIES> = LruHashMap::new();

const FRESH: Value = Value { member: 1, seen: 0 };
/// No flow has it: to keep the compiler from leaving out the access.
const NOBODY: u64 = 7;

/// What the programs return for a member. (As a number: of an `Option` the compiler makes something
/// that the verifier takes for arithmetic with a pointer.)
#[inline(always)]
fn verdict(member: u64) -> u32 {
    if member == NOBODY {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_TX
    }
}

#[inline(always)]
fn key(ctx: &XdpContext) -> Option<Key> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 38 > end {
        return None;
    }
    // SAFETY: below 38 bytes, which are there; these machines load words from any address.
    unsafe {
        Some(Key {
            src: *((data + 26) as *const u32),
            dst: *((data + 30) as *const u32),
            ports: *((data + 34) as *const u32),
            protocol: u32::from(*((data + 23) as *const u8)),
        })
    }
}

#[inline(always)]
pub(crate) fn array(ctx: &XdpContext) -> Option<u32> {
    let key = key(ctx)?;
    let mut hash = (u64::from(key.src) << 32 | u64::from(key.ports))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(key.dst)
        ^ u64::from(key.protocol) << 32;
    hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    let bucket = FLOOR_ARRAY.get_ptr_mut(hash as u32 & (BUCKETS - 1))?;
    // SAFETY: a live value of an array; that two packets may write it at a time does no harm here.
    let bucket = unsafe { &mut *bucket };
    let tag = hash | 1;
    for (known, member) in bucket.tags.iter().zip(&bucket.members) {
        if *known == tag {
            return Some(verdict(*member));
        }
    }
    let way = (hash >> 40) as usize & 3;
    *bucket.tags.get_mut(way)? = tag;
    *bucket.members.get_mut(way)? = 1;
    Some(xdp_action::XDP_TX)
}

#[inline(always)]
pub(crate) fn hash(ctx: &XdpContext) -> u32 {
    let Some(key) = key(ctx) else {
        return xdp_action::XDP_DROP;
    };
    // SAFETY: read once; values are never changed.
    if let Some(value) = unsafe { FLOOR_HASH.get(key) } {
        return verdict(value.member);
    }
    // A full map: the look alone is measured.
    FLOOR_HASH.insert(key, FRESH, 0).ok();
    xdp_action::XDP_TX
}

#[inline(always)]
pub(crate) fn lru(ctx: &XdpContext) -> u32 {
    let Some(key) = key(ctx) else {
        return xdp_action::XDP_DROP;
    };
    // SAFETY: as above.
    if let Some(value) = unsafe { FLOOR_LRU.get(key) } {
        return verdict(value.member);
    }
    FLOOR_LRU.insert(key, FRESH, 0).ok();
    xdp_action::XDP_TX
}
