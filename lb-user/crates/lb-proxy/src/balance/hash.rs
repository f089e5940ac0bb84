//! SOURCE_IP and SOURCE_IP_PORT: weighted rendezvous hashing.
//!
//! Each member draws a number from the client's address and its own identity; the best for its
//! weight wins. There is no state, so workers, amphorae and restarts agree; a member that goes takes
//! nobody else's clients with it.

use std::net::{IpAddr, SocketAddr};

use super::eligible;
use crate::config::{MemberConfig, PoolConfig};

pub(super) fn choose(
    pool: &PoolConfig,
    client: SocketAddr,
    with_port: bool,
    tried: &[usize],
) -> Option<usize> {
    let port = if with_port { client.port() } else { 0 };
    let seed = mix(fold(client.ip()) ^ u64::from(port) << 1 ^ u64::from(with_port));
    eligible(pool, tried)
        .map(|(index, member)| (index, score(seed, member)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(index, _)| index)
}

/// Draws `u` in (0, 1) for the pair; `weight / -ln(u)` is largest for a member in exactly its share
/// of draws.
fn score(seed: u64, member: &MemberConfig) -> f64 {
    let (high, low) = member.id.0.as_u64_pair();
    let drawn = mix(seed ^ mix(high ^ low.rotate_left(32)));
    // 53 bits are what an f64 holds.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let unit = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(member.weight) / -unit.ln()
}

fn fold(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            let low = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
            let high = u64::try_from(bits >> 64).unwrap_or_default();
            mix(high) ^ low
        }
    }
}

/// The finalizer of splitmix64: every input bit moves every output bit.
const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
