#![cfg_attr(not(test), no_std)]
//! What kernel and user space agree on: map keys and values, drop reasons, limits, and the pure
//! arithmetic (checksum, Maglev, hashes, packet parser) that both sides and the tests share.
//!
//! Invariants: only `zerocopy`; every map type has no implicit padding and a size assertion;
//! addresses and ports are in network order and say so in their type; every key that holds an
//! address begins with a segment. A change of layout is a change of [`maps::MAP_ABI`].

pub mod checksum;
pub mod crc32c;
pub mod hash;

pub mod heartbeat;
pub mod maglev;
pub mod maps;
pub mod packet;
pub mod reason;
pub mod replay;
pub mod tunnel;
