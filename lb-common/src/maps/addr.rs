//! Addresses and ports as they stand in packets: network order is in the type, and one type of
//! address serves both IP versions.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 16-bit number in network order.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Be16(pub [u8; 2]);

impl Be16 {
    /// From host order.
    #[must_use]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be_bytes())
    }

    /// In host order.
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

/// An IPv6 address, or an IPv4 one as `::ffff:a.b.c.d`, in network order. Aligned so that the data
/// path handles it as two words; no map type needs padding for that.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C, align(8))]
pub struct Addr(pub [u8; 16]);

impl Addr {
    /// An IPv4 address.
    #[must_use]
    pub const fn v4(a: [u8; 4]) -> Self {
        Self([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
        ])
    }

    /// An IPv6 address.
    #[must_use]
    pub const fn v6(a: [u8; 16]) -> Self {
        Self(a)
    }

    /// From two words in the machine's order, as loaded from a packet.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(first: u64, second: u64) -> Self {
        // Not by bytes: the bpf back end would keep sixteen of them.
        zerocopy::transmute!([first, second])
    }

    /// As two words in the machine's order: for hashing, comparing and summing.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> (u64, u64) {
        let [first, second]: [u64; 2] = zerocopy::transmute!(*self);
        (first, second)
    }

    /// The last four bytes as they are stored: of an IPv4 address all of it.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "half of a word is meant")]
    pub const fn tail(&self) -> u32 {
        let (_, second) = self.words();
        if cfg!(target_endian = "little") {
            (second >> 32) as u32
        } else {
            second as u32
        }
    }

    /// Whether it stands for an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let (first, second) = self.words();
        let prefix = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        let mask = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        first == 0 && second & mask == prefix
    }
}
