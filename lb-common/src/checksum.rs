//! The Internet checksum (RFC 1071), changed incrementally (RFC 1624, equation 3).
//!
//! Sums are one's complement, so they may be taken over words of any size and in the machine's
//! order, as long as the 16-bit result is stored in that order too. A [`Delta`] collects what a
//! rewrite changes; one delta serves the IPv4 header and the transport checksum's pseudo header.

use crate::maps::{Addr, Be16};

/// Folds a sum of words into 16 bits.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded below 2^16")]
pub const fn fold(sum: u64) -> u16 {
    // Four words at once, since each step waits for the one before: at most 0x3_fffc.
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff) + (sum >> 48);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Sum of an address's words, unfolded.
#[inline(always)]
const fn sum_addr(addr: &Addr) -> u64 {
    let (first, second) = addr.words();
    (first & 0xffff_ffff) + (first >> 32) + (second & 0xffff_ffff) + (second >> 32)
}

/// What a rewrite changes: new words minus old words. Holds a few dozen changes without overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// Nothing changes.
    #[must_use]
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// An address changes. Of two IPv4 addresses (mapped) the common prefix cancels out.
    #[must_use]
    #[inline(always)]
    pub const fn addr(self, old: &Addr, new: &Addr) -> Self {
        // Four words of 32 bits: the complement of each, summed.
        Self(self.0 + (4 * 0xffff_ffff - sum_addr(old)) + sum_addr(new))
    }

    /// An IPv4 address changes; both as stored ([`Addr::tail`]).
    #[must_use]
    #[inline(always)]
    pub const fn tail(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Both change.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// A 16-bit word changes; both as stored.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// A port changes.
    #[must_use]
    #[inline(always)]
    pub const fn port(self, old: Be16, new: Be16) -> Self {
        self.word(u16::from_ne_bytes(old.0), u16::from_ne_bytes(new.0))
    }

    /// The checksum field (as stored) after the change.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, stored: u16) -> u16 {
        !fold(self.0 + (!stored) as u64)
    }

    /// Likewise for UDP: 0 means "none" over IPv4 and stays, and is never the result.
    #[must_use]
    #[inline(always)]
    pub const fn apply_udp(self, stored: u16) -> u16 {
        if stored == 0 {
            return 0;
        }
        match self.apply(stored) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// Sum over bytes in memory order, unfolded; an odd last byte is padded with zero.
#[must_use]
pub fn sum_bytes(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(2);
    let mut sum = 0u64;
    for pair in chunks.by_ref() {
        if let [a, b] = *pair {
            sum += u64::from(u16::from_ne_bytes([a, b]));
        }
    }
    if let [last] = *chunks.remainder() {
        sum += u64::from(u16::from_ne_bytes([last, 0]));
    }
    sum
}

/// The field for a full computation over `bytes` (checksum field zero), as stored.
#[must_use]
pub fn full(bytes: &[u8]) -> u16 {
    !fold(sum_bytes(bytes))
}

/// Likewise with the pseudo header of TCP, UDP or `ICMPv6` (RFC 793, RFC 8200).
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an IP payload is shorter than 2^32"
)]
pub fn full_transport(src: &Addr, dst: &Addr, protocol: u8, segment: &[u8]) -> u16 {
    let address_bytes = |addr: &Addr| {
        if addr.is_v4() {
            sum_bytes(addr.0.get(12..).unwrap_or_default())
        } else {
            sum_addr(addr)
        }
    };
    let length = segment.len() as u32;
    let sum = address_bytes(src)
        + address_bytes(dst)
        + sum_bytes(&length.to_be_bytes())
        + sum_bytes(&[0, protocol])
        + sum_bytes(segment);
    !fold(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(v6: bool) -> impl Strategy<Value = Addr> {
        any::<[u8; 16]>().prop_map(move |b| {
            if v6 {
                Addr::v6(b)
            } else {
                Addr::v4([b[0], b[1], b[2], b[3]])
            }
        })
    }

    fn store(segment: &mut [u8], at: usize, value: u16) {
        segment[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn incremental_equals_full(
            (old_src, old_dst, new_src, new_dst) in any::<bool>()
                .prop_flat_map(|v6| (addr(v6), addr(v6), addr(v6), addr(v6))),
            ports in any::<[u16; 4]>(),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            // TCP-like: source port, destination port, checksum at 16.
            let mut segment = std::vec![0u8; 20];
            segment.extend(&payload);
            segment[0..2].copy_from_slice(&ports[0].to_be_bytes());
            segment[2..4].copy_from_slice(&ports[1].to_be_bytes());
            let before = full_transport(&old_src, &old_dst, 6, &segment);
            let delta = Delta::none()
                .addr(&old_src, &new_src)
                .addr(&old_dst, &new_dst)
                .port(Be16::new(ports[0]), Be16::new(ports[2]))
                .port(Be16::new(ports[1]), Be16::new(ports[3]));
            let after = delta.apply(before);
            segment[0..2].copy_from_slice(&ports[2].to_be_bytes());
            segment[2..4].copy_from_slice(&ports[3].to_be_bytes());
            // A receiver sums everything and wants all ones.
            store(&mut segment, 16, after);
            prop_assert_eq!(full_transport(&new_src, &new_dst, 6, &segment), 0);
        }

        #[test]
        fn udp_never_becomes_none(old in any::<[u8; 16]>(), new in any::<[u8; 16]>(), sum in 1..=u16::MAX) {
            let delta = Delta::none().addr(&Addr(old), &Addr(new));
            prop_assert_ne!(delta.apply_udp(sum), 0);
            prop_assert_eq!(delta.apply_udp(0), 0);
        }

        #[test]
        fn folding_keeps_the_residue(sum in any::<u64>()) {
            prop_assert_eq!(u64::from(fold(sum)) % 0xffff, sum % 0xffff);
        }
    }

    #[test]
    fn example_of_rfc_1071() {
        let sum = fold(sum_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));
        assert_eq!(sum.to_ne_bytes(), [0xdd, 0xf2]);
    }
}
