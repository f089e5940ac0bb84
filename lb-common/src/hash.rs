//! Hashes of the data path: where an address has its bucket, where a flow looks for a source port,
//! and which Maglev slot a client has.
//!
//! What an outsider could aim at (buckets, ports) is keyed by `Config::hash_seed`. The Maglev hash is
//! not: two hosts with one configuration choose alike.

use crate::maps::{Addr, Be16, MAGLEV_SLOTS, limits};

const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xc2b2_ae3d_27d4_eb4f;
/// Key of the Maglev hash: any constant, the same everywhere.
const MAGLEV_SEED: u64 = 0x6c62_6161_735f_6d61;

#[inline(always)]
const fn mix(h: u64) -> u64 {
    let h = (h ^ (h >> 32)).wrapping_mul(K1);
    let h = (h ^ (h >> 29)).wrapping_mul(K2);
    h ^ (h >> 32)
}

#[inline(always)]
const fn hash_addr(seed: u64, extra: u64, addr: &Addr) -> u64 {
    let (high, low) = addr.words();
    mix(mix(seed ^ extra ^ high.wrapping_mul(K2)) ^ low)
}

/// Bucket of `ADDRESSES` and tag (never 0) of an address.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of the hash serve as two hashes"
)]
pub const fn address_slot(seed: u64, segment: u32, addr: &Addr) -> (u32, u32) {
    let (_, low) = addr.words();
    // Of an IPv4 address one word says all.
    let h = if addr.is_v4() {
        mix(seed ^ (segment as u64).wrapping_mul(K2) ^ low)
    } else {
        hash_addr(seed, segment as u64, addr)
    };
    (
        (h as u32) & (limits::ADDRESS_BUCKETS - 1),
        (h >> 32) as u32 | 1,
    )
}

/// Word of `ADDRESSES`.
#[must_use]
pub const fn address_word(tag: u32, record: u32) -> u64 {
    ((tag as u64) << 32) | record as u64
}

/// Maglev slot of a client: by address, or by address and port.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below MAGLEV_SLOTS")]
pub const fn maglev_slot(src: &Addr, src_port: Option<Be16>) -> u32 {
    let extra = match src_port {
        Some(port) => 1 << 32 | port.get() as u64,
        None => 0,
    };
    // Of 32 bits, since a 64-bit remainder by a constant needs a wide multiplication, which BPF has
    // not; the excess of 2^32 over a multiple of 65537 is one slot in 65536 * 65537.
    (hash_addr(MAGLEV_SEED, extra, src) >> 32) as u32 % MAGLEV_SLOTS as u32
}

/// Hash of a flow's run: client, `port / 128` and listener, so that ports beside each other lie beside
/// each other ([`crate::maps::flow`]).
#[must_use]
#[inline(always)]
pub const fn flow_run(seed: u64, client: &Addr, port: Be16, listener: u32, is_v6: bool) -> u64 {
    let extra = (listener as u64) << 16 | (port.get() >> 7) as u64;
    if is_v6 {
        return hash_addr(seed, extra << 32, client);
    }
    let (_, low) = client.words();
    let host = if cfg!(target_endian = "little") {
        low >> 32
    } else {
        low & 0xffff_ffff
    };
    mix(seed ^ host ^ extra << 32)
}

/// Hash of what a member answers to, but for our port: `snat` is our address towards it.
#[must_use]
#[inline(always)]
pub const fn reverse_run(
    seed: u64,
    segment: u32,
    (member, port): (&Addr, Be16),
    snat: &Addr,
) -> u64 {
    let (_, low) = snat.words();
    let extra = (segment as u64) << 32 | port.get() as u64;
    hash_addr(seed ^ low.rotate_left(17), extra, member)
}

/// Page of `REVERSE` (to be masked) of a run of 64 ports.
#[must_use]
#[inline(always)]
pub const fn reverse_page(run: u64, port: u16) -> u32 {
    ((run ^ (port >> 6) as u64).wrapping_mul(K1) >> 32) as u32
}

/// Where a new flow begins to look for a source port: a number to be taken modulo the range. Clients'
/// ports that follow each other get ports that follow each other.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "half of the hash is enough"
)]
pub const fn port_start(seed: u64, client: &Addr, client_port: Be16, member: &Addr) -> u32 {
    let (_, low) = member.words();
    (hash_addr(seed ^ low, 0, client) as u32 >> 16).wrapping_add(client_port.get() as u32)
}

/// Block of `PERSIST` (to be masked) of a client of a listener.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "half of the hash is enough"
)]
pub const fn persist_block(seed: u64, listener: u32, client: &Addr) -> u32 {
    hash_addr(seed, (listener as u64) << 32, client) as u32
}
