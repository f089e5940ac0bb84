//! Taking over descriptors that a parent left open for this process and named by number.

#![expect(unsafe_code, reason = "a number becomes an owned descriptor")]

use std::{
    collections::BTreeSet,
    io,
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    sync::Mutex,
};

use rustix::io::FdFlags;

use crate::{Doing as _, Result};

/// Numbers that were taken: each has one owner.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Owns descriptor `number`, which the parent left open; it is not passed on to children. To be
/// called first thing, before this process has opened anything itself.
///
/// # Errors
/// When it is not open, is one of the standard streams, or was taken before.
pub fn take(number: RawFd) -> Result<OwnedFd> {
    let doing = || format!("take over descriptor {number}");
    if number <= 2 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).doing(doing);
    }
    let first = TAKEN.lock().is_ok_and(|mut taken| taken.insert(number));
    if !first {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists)).doing(doing);
    }
    // SAFETY: only asked whether it is open, which the call answers for any number; the borrow ends
    // with the statement.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).doing(doing)?;
    // SAFETY: it is open, and nobody in this process owns it: the caller has opened nothing yet, and
    // `TAKEN` gives each number out once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd as _;

    #[test]
    fn a_descriptor_is_taken_once_and_only_when_open() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let taken = take(number).unwrap();
        assert!(take(number).is_err(), "a second owner");
        drop(taken);
        assert!(take(1).is_err(), "a standard stream");
        assert!(take(60_000).is_err(), "not open");
    }
}
