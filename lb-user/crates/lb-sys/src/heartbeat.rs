//! Both sides of an amphora's heartbeat page: a 4096-byte value of an mmap-able BPF array.
//!
//! Stamping is two stores, no system call. The rule by which XDP judges them is
//! [`lb_common::heartbeat`].

#![expect(
    unsafe_code,
    reason = "maps memory shared with the kernel and another process"
)]

use std::{
    mem::offset_of,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use lb_common::heartbeat::{HeartbeatPage, deadline_word, is_gap};
use rustix::mm::{MapFlags, ProtFlags};

use crate::{Doing as _, Result};

/// Bytes of a page and of the map value behind it.
pub const PAGE_BYTES: usize = 4096;

/// The page, mapped.
#[derive(Debug)]
struct Page(NonNull<u8>);

// SAFETY: the memory is reached through atomics only, and stays mapped as long as the value lives.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn map(map: impl AsFd, access: ProtFlags) -> Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let address = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                PAGE_BYTES,
                access,
                MapFlags::SHARED,
                map,
                0,
            )
        }
        .doing(|| "map a heartbeat page")?;
        NonNull::new(address.cast())
            .map(Self)
            .ok_or_else(|| std::io::Error::other("mapped at address 0"))
            .doing(|| "map a heartbeat page")
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset < size_of::<HeartbeatPage>() && offset.is_multiple_of(8));
        // SAFETY: `offset` is that of a u64 field of HeartbeatPage, so the word is inside the page
        // and aligned (the page is page-aligned); everyone in user space uses atomics on it, and
        // the kernel single loads and stores.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().add(offset).cast()) }
    }

    fn deadline(&self) -> &AtomicU64 {
        self.word(offset_of!(HeartbeatPage, deadline_ns))
    }

    fn alive_since(&self) -> &AtomicU64 {
        self.word(offset_of!(HeartbeatPage, alive_since_ns))
    }

    fn traffic(&self) -> &AtomicU64 {
        self.word(offset_of!(HeartbeatPage, traffic_ns))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length, and no reference outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), PAGE_BYTES) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping");
    }
}

/// An amphora's side.
#[derive(Debug)]
pub struct HeartbeatWriter(Page);

impl HeartbeatWriter {
    /// Maps the page of `map`, a BPF map (or, in tests, a file of a page's length).
    ///
    /// # Errors
    /// When it is not an mmap-able map.
    pub fn map(map: impl AsFd) -> Result<Self> {
        Page::map(map, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    /// Says: alive at `now_ns`, and the next stamp comes in busy or in idle pace. After a gap (a missed
    /// deadline, or [`BUSY_GAP_NS`] in busy pace) it also starts a new run (`alive_since_ns`), which a
    /// standby must have behind it.
    pub fn stamp(&self, now_ns: u64, busy: bool) {
        let before = self.0.deadline().load(Ordering::Relaxed);
        if is_gap(before, now_ns) {
            self.0.alive_since().store(now_ns, Ordering::Release);
        }
        self.0
            .deadline()
            .store(deadline_word(now_ns, busy), Ordering::Release);
    }

    /// When XDP last steered a packet of this pair; 0: never.
    #[must_use]
    pub fn traffic_ns(&self) -> u64 {
        self.0.traffic().load(Ordering::Relaxed)
    }
}

/// Anyone else's side.
#[derive(Debug)]
pub struct HeartbeatReader(Page);

impl HeartbeatReader {
    /// Maps the page of `map` for reading.
    ///
    /// # Errors
    /// When it is not an mmap-able map.
    pub fn map(map: impl AsFd) -> Result<Self> {
        Page::map(map, ProtFlags::READ).map(Self)
    }

    /// The words as they are now.
    #[must_use]
    pub fn read(&self) -> HeartbeatPage {
        let deadline_ns = self.0.deadline().load(Ordering::Acquire);
        HeartbeatPage {
            deadline_ns,
            alive_since_ns: self.0.alive_since().load(Ordering::Acquire),
            _pad: [0; 6],
            traffic_ns: self.0.traffic().load(Ordering::Relaxed),
            _pad2: [0; 7],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::heartbeat::{BUSY_GAP_NS, BUSY_VALID_NS, is_dead};

    #[test]
    fn stamps_are_seen_and_a_gap_starts_a_new_run() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let writer = HeartbeatWriter::map(&file).unwrap();
        let reader = HeartbeatReader::map(&file).unwrap();
        assert!(is_dead(reader.read().deadline_ns, 1));

        let start = 1_000_000_000;
        writer.stamp(start, true);
        assert_eq!(reader.read().alive_since_ns, start);
        assert!(!is_dead(
            reader.read().deadline_ns,
            start + BUSY_VALID_NS - 1
        ));
        assert!(is_dead(
            reader.read().deadline_ns,
            start + BUSY_VALID_NS + 2
        ));

        writer.stamp(start + 10_000_000, true);
        assert_eq!(reader.read().alive_since_ns, start, "no gap");
        let paused = start + 10_000_000 + BUSY_GAP_NS + 2;
        writer.stamp(paused, true);
        assert_eq!(reader.read().alive_since_ns, paused, "a pause");

        let late = start + 500_000_000;
        writer.stamp(late, false);
        assert_eq!(reader.read().alive_since_ns, late, "a gap");
        assert_eq!(writer.traffic_ns(), 0);
    }
}
