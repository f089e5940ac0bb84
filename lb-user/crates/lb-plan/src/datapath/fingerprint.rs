//! FNV-1a: tells a record that changed from one that did not. Stable over builds, since it is
//! persisted; not for anything that an outsider could aim at.

use zerocopy::{Immutable, IntoBytes};

#[derive(Clone, Copy, Debug)]
pub(super) struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}

pub(super) fn fingerprint<T: IntoBytes + Immutable>(record: &T) -> u64 {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(record.as_bytes());
    fingerprint.value()
}
