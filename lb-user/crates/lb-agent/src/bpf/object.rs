//! The kernel programs as they were built, in this binary.

use super::Error;

/// ELF structures are read in place and want this alignment.
#[repr(C, align(8))]
struct Aligned<B: ?Sized>(B);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/lbaas.bpf.o")));

static DECAP: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/lbaas-decap.bpf.o"
)));

/// The object file of the data path.
pub(super) const fn bytes() -> Result<&'static [u8], Error> {
    built(&OBJECT.0)
}

/// That of a member's decapsulator.
pub(super) const fn decap() -> Result<&'static [u8], Error> {
    built(&DECAP.0)
}

const fn built(object: &'static [u8]) -> Result<&'static [u8], Error> {
    if object.is_empty() {
        Err(Error::NotBuilt)
    } else {
        Ok(object)
    }
}
