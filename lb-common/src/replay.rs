//! What the bench of the data path and its wrapper program share. The wrapper puts the packet back as
//! it was, makes it one of another flow if it is told to, and tail-calls the program under test:
//! BPF_PROG_TEST_RUN alone would hand each run what the one before has made of the packet.
//!
//! Nothing of this is in what is shipped.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of the packet that are written back before each run; what a program changes lies there.
pub const WORDS: usize = 16;
/// Ports of a client before the next client comes.
pub const PORTS_OF_CLIENT: u32 = 1 << 14;
/// The first of them.
pub const FIRST_PORT: u32 = 1024;
/// Buckets of the ARRAY that a flow table is compared to, a line each.
pub const BUCKETS: u32 = 1 << 18;
/// Entries of the hash maps that a flow table is compared to.
pub const ENTRIES: usize = 1_000_000;

/// Which flow the next packet is of.
pub mod order {
    /// That of the template.
    pub const ONE: u32 = 0;
    /// One after the other, from [`super::Plan::next`] on.
    pub const COUNT: u32 = 1;
    /// Any.
    pub const RANDOM: u32 = 2;
    /// One after the other, clients and ports all over the place.
    pub const SCATTERED: u32 = 3;
}

/// `PLAN[0]`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Plan {
    /// The packet's first bytes.
    pub template: [u64; WORDS],
    /// Its length.
    pub length: u32,
    /// 1: the next run is the first one, so the packet is where it belongs.
    pub is_first: u32,
    /// 1: IPv6.
    pub is_v6: u32,
    /// See [`order`].
    pub order: u32,
    /// Flows minus one: a power of two minus one.
    pub mask: u32,
    /// 1: the kernel sends what comes out (live frames), and puts head and tail back itself.
    pub is_live: u32,
    /// Packets so far, which with [`order::COUNT`] number the flows.
    pub next: u64,
    /// State of the generator for [`order::RANDOM`].
    pub random: u64,
    /// Where the packet begins when nobody has moved it; the wrapper's.
    pub home: u64,
    /// Where it begins now; the wrapper's.
    pub here: u64,
}

/// Names of programs and maps.
pub mod names {
    /// The wrapper.
    pub const PROGRAM_REPLAY: &str = "replay";
    /// XDP_TX and nothing else.
    pub const PROGRAM_NOTHING: &str = "nothing";
    /// XDP_DROP and nothing else: where live frames end.
    pub const PROGRAM_SINK: &str = "sink";
    /// One access to an ARRAY of buckets.
    pub const PROGRAM_ARRAY: &str = "floor_array";
    /// One look into a HASH, and an insertion when there is nothing.
    pub const PROGRAM_HASH: &str = "floor_hash";
    /// Likewise LRU_HASH.
    pub const PROGRAM_LRU: &str = "floor_lru";
    /// [`super::Plan`].
    pub const PLAN: &str = "PLAN";
    /// The program under test.
    pub const TARGET: &str = "TARGET";
}
