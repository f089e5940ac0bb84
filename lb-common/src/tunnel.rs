//! What the member's decapsulator and its loader share: maps, and what is counted.

use crate::maps::Addr;

/// Names of program and maps.
pub mod names {
    /// The program.
    pub const PROGRAM_DECAP: &str = "lb_decap";
    /// Word 0: whether the outer source must be in [`SOURCES`].
    pub const RESTRICTED: &str = "RESTRICTED";
    /// Trie of outer sources, keyed by `maps::CidrKey` with listener 0.
    pub const SOURCES: &str = "SOURCES";
    /// Packets by [`super::Outcome`] and CPU.
    pub const COUNTS: &str = "COUNTS";
}

/// Prefixes that `SOURCES` has room for.
pub const SOURCES_MAX: usize = 256;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// No tunnel, or one that is not ours to open (fragments, options): the kernel's.
    Passed = 0,
    /// IPv4 out of IPv4.
    V4InV4 = 1,
    /// IPv6 out of IPv4.
    V6InV4 = 2,
    /// IPv4 out of IPv6.
    V4InV6 = 3,
    /// IPv6 out of IPv6.
    V6InV6 = 4,
    /// Dropped: the outer source is not one of those allowed.
    Refused = 5,
    /// Dropped: there is no packet in it of the kind that the outer header says.
    Malformed = 6,
}

impl Outcome {
    /// All, in order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Passed,
        Self::V4InV4,
        Self::V6InV4,
        Self::V4InV6,
        Self::V6InV6,
        Self::Refused,
        Self::Malformed,
    ];

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::V4InV4 => "4in4",
            Self::V6InV4 => "6in4",
            Self::V4InV6 => "4in6",
            Self::V6InV6 => "6in6",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

/// Bits of an address and the listener before it that a prefix of `bits` (of the address's own family)
/// covers in [`names::SOURCES`].
#[must_use]
pub const fn prefix_bits(addr: &Addr, bits: u8) -> u32 {
    let family = if addr.is_v4() { 96 } else { 0 };
    32 + family + bits as u32
}
