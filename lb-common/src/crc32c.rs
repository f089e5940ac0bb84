//! CRC32c, which SCTP has for a checksum (RFC 9260, section 6.8), changed incrementally.
//!
//! A CRC is linear: what a change of four bytes does to it depends on the change alone and on how many
//! bytes follow. So a rewritten port costs two multiplications modulo the polynomial, however long the
//! packet; nothing of it is read. Tables are 2 KiB.
//!
//! Left out on purpose: checking. A receiver does that, and a wrong sum stays wrong by the same bits.

/// The polynomial, reflected.
///
/// Functions take it as an argument, so that kernel programs can hide it from the verifier: at every AND of
/// a sign with a constant that it knows it follows both signs, and here there are many.
pub const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x^0 in the reflected order.
const ONE: u32 = 1 << 31;

/// x^(8·n) for n below 256, and for n a multiple of 256.
static POWERS: [u32; 256] = powers(times_x8(ONE, POLYNOMIAL));
static POWERS_256: [u32; 256] = powers(power_256());

/// Times x^8: one more byte.
#[inline(always)]
const fn times_x8(mut value: u32, polynomial: u32) -> u32 {
    let mut bit = 0;
    while bit < 8 {
        value = (value >> 1) ^ (polynomial & (value & 1).wrapping_neg());
        bit += 1;
    }
    value
}

const fn power_256() -> u32 {
    let mut value = ONE;
    let mut bytes = 0;
    while bytes < 256 {
        value = times_x8(value, POLYNOMIAL);
        bytes += 1;
    }
    value
}

#[expect(clippy::indexing_slicing, reason = "computed by the compiler")]
const fn powers(factor: u32) -> [u32; 256] {
    let mut table = [ONE; 256];
    let mut index = 1;
    while index < 256 {
        table[index] = multiply(table[index - 1], factor, POLYNOMIAL);
        index += 1;
    }
    table
}

/// Product modulo the polynomial. Without branches: for the eBPF verifier it is one path.
#[inline(always)]
const fn multiply(left: u32, mut right: u32, polynomial: u32) -> u32 {
    let mut product = 0;
    let mut bit = 0;
    while bit < 32 {
        product ^= right & ((left << bit) >> 31).wrapping_neg();
        right = (right >> 1) ^ (polynomial & (right & 1).wrapping_neg());
        bit += 1;
    }
    product
}

/// The checksum after a change of four bytes, `distance` bytes (themselves included) before the end of
/// what is summed. `old` and `new` are the four bytes and `stored` the field, all as in the packet;
/// `polynomial` is [`POLYNOMIAL`].
#[must_use]
#[inline(always)]
pub fn update(
    stored: [u8; 4],
    old: [u8; 4],
    new: [u8; 4],
    distance: u16,
    polynomial: u32,
) -> [u8; 4] {
    let [low, high] = distance.to_le_bytes();
    let near = POWERS.get(low as usize).copied().unwrap_or(ONE);
    let far = POWERS_256.get(high as usize).copied().unwrap_or(ONE);
    // SCTP sends the lowest byte first, and so does the reflected order take bytes in.
    let delta = u32::from_le_bytes(old) ^ u32::from_le_bytes(new);
    let change = multiply(multiply(delta, near, polynomial), far, polynomial);
    (u32::from_le_bytes(stored) ^ change).to_le_bytes()
}

/// The field for a full computation over four-byte words (the field's zero), all as in the packet;
/// `polynomial` is [`POLYNOMIAL`].
#[must_use]
#[inline(always)]
pub fn full_words<const N: usize>(words: [u32; N], polynomial: u32) -> [u8; 4] {
    let mut crc = u32::MAX;
    for word in words {
        crc ^= u32::from_le_bytes(word.to_ne_bytes());
        let mut byte = 0;
        while byte < 4 {
            crc = times_x8(crc, polynomial);
            byte += 1;
        }
    }
    (!crc).to_le_bytes()
}

/// The field for a full computation over `bytes` (field zero), as stored.
#[must_use]
pub fn full(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        times_x8(crc ^ *byte as u32, POLYNOMIAL)
    });
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(full(b"123456789"), 0xe306_9283_u32.to_le_bytes());
    }

    #[test]
    fn examples_of_rfc_3720() {
        assert_eq!(full(&[0; 32]), 0x8a91_36aa_u32.to_le_bytes());
        assert_eq!(full(&[0xff; 32]), 0x62a8_ab43_u32.to_le_bytes());
    }

    proptest! {
        #[test]
        fn by_words_as_by_bytes(words in any::<[u32; 4]>()) {
            prop_assert_eq!(full_words(words, POLYNOMIAL), full(words.map(u32::to_ne_bytes).as_flattened()));
        }

        #[test]
        fn incremental_equals_full(
            mut packet in proptest::collection::vec(any::<u8>(), 12..3000),
            new in any::<[u8; 4]>(),
            at in any::<prop::sample::Index>(),
        ) {
            // Not over the field, which counts as zero.
            packet[8..12].fill(0);
            let at = if packet.len() >= 16 && at.index(2) == 1 {
                12 + at.index(packet.len() - 15)
            } else {
                0
            };
            let stored = full(&packet);
            let old: [u8; 4] = packet[at..at + 4].try_into().unwrap();
            let distance = u16::try_from(packet.len() - at).unwrap();
            let updated = update(stored, old, new, distance, POLYNOMIAL);
            packet[at..at + 4].copy_from_slice(&new);
            prop_assert_eq!(updated, full(&packet));
        }

        #[test]
        fn a_wrong_sum_stays_wrong(
            packet in proptest::collection::vec(any::<u8>(), 12..100),
            wrong in 1..=u32::MAX,
            new in any::<[u8; 4]>(),
        ) {
            let stored = (u32::from_le_bytes(full(&packet)) ^ wrong).to_le_bytes();
            let old: [u8; 4] = packet[..4].try_into().unwrap();
            let distance = u16::try_from(packet.len()).unwrap();
            let updated = update(stored, old, new, distance, POLYNOMIAL);
            let mut changed = packet;
            changed[..4].copy_from_slice(&new);
            prop_assert_ne!(updated, full(&changed));
        }
    }
}
