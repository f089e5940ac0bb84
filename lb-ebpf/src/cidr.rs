//! Prefix tables: who may reach a listener, and where no amphora may send.

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::maps::{Addr, CidrKey};

use crate::maps::{CIDRS, DENIED};

/// Bits of listener and address: what a packet brings is always a whole address.
const ALL_BITS: u32 = 160;

#[inline(always)]
fn key(listener: u32, addr: &Addr) -> Key<CidrKey> {
    Key::new(
        ALL_BITS,
        CidrKey {
            listener: listener.to_be_bytes(),
            addr: addr.0,
        },
    )
}

/// Whether the listener's `allowed_cidrs` hold the source.
#[inline(never)]
pub(crate) fn is_allowed(listener: u32, src: &Addr) -> bool {
    CIDRS.get(&key(listener, src)).is_some()
}

/// Whether an amphora may not send there.
#[inline(always)]
pub(crate) fn is_denied(dst: &Addr) -> bool {
    DENIED.get(&key(0, dst)).is_some()
}
