//! Maps whose values user space shares with the kernel.

#![expect(unsafe_code, reason = "mmap hands out memory that others write")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{MMAPABLE, Map, map_type};

/// The values of an ARRAY with [`MMAPABLE`] as 64-bit words in memory: a store is one store, which a
/// packet sees wholly or not at all, without a system call.
#[derive(Debug)]
pub struct Words {
    memory: NonNull<libc::c_void>,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone on our side and is only touched by atomic
// operations.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps all of `map`.
    ///
    /// # Errors
    /// `InvalidInput` when the map cannot be mapped as words; mmap's.
    pub fn new(map: &Map) -> io::Result<Self> {
        let shape = map.shape();
        if shape.map_type != map_type::ARRAY
            || shape.flags & MMAPABLE == 0
            || !shape.value_size.is_multiple_of(8)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a mappable array of words",
            ));
        }
        let bytes = shape.value_size as usize * shape.max_entries as usize;
        // SAFETY: a fresh shared mapping of a map whose size has just been asked for; the kernel
        // rounds it up to whole pages and refuses more.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(memory)
            .map(|memory| Self { memory, bytes })
            .ok_or_else(|| io::Error::other("mmap answered with a null pointer"))
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.bytes / 8 {
            return None;
        }
        // SAFETY: in bounds by the line above, aligned because the mapping begins at a page, alive
        // as long as self, and shared only with the kernel's and others' atomic or whole-word
        // accesses.
        Some(unsafe { self.memory.cast::<AtomicU64>().add(index).as_ref() })
    }

    /// Reads a word; `None` out of bounds.
    #[must_use]
    pub fn load(&self, index: usize) -> Option<u64> {
        self.word(index).map(|word| word.load(Ordering::Acquire))
    }

    /// Writes a word; `false` out of bounds.
    #[must_use]
    pub fn store(&self, index: usize, value: u64) -> bool {
        self.word(index)
            .map(|word| word.store(value, Ordering::Release))
            .is_some()
    }

    /// Number of words.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes / 8
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr(), self.bytes) };
    }
}
