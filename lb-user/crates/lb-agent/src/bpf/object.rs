//! The kernel programs as they were built, in this binary.

use super::Error;

/// ELF structures are read in place and want this alignment.
#[repr(C, align(8))]
struct Aligned<B: ?Sized>(B);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/lbaas.bpf.o")));

/// The object file.
pub(super) const fn bytes() -> Result<&'static [u8], Error> {
    if OBJECT.0.is_empty() {
        Err(Error::NotBuilt)
    } else {
        Ok(&OBJECT.0)
    }
}
