//! Words that several CPUs read and change.

/// Compare and exchange; whether it did. Debian's bpf target has no `AtomicU64`.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg};
    // SAFETY: an aligned word of a live map value.
    let (_, done) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new)
    };
    done
}

/// Adds, wrapping round.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn add(word: *mut u64, change: u64) {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    // SAFETY: an aligned word of a live map value.
    let _before = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, change) };
}

/// For `cargo clippy` on the host alone.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: never run.
    let word = unsafe { AtomicU64::from_ptr(word) };
    word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// For `cargo clippy` on the host alone.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn add(word: *mut u64, change: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: never run.
    let word = unsafe { AtomicU64::from_ptr(word) };
    word.fetch_add(change, Ordering::Relaxed);
}

/// One load. Loads and stores of this file keep their order: the compiler keeps that of volatile
/// ones, and so do the machines we build for (x86-64).
#[inline(always)]
pub(crate) fn load(word: *const u64) -> u64 {
    // SAFETY: an aligned word of a live map value.
    unsafe { core::ptr::read_volatile(word) }
}

/// One store.
#[inline(always)]
pub(crate) fn store(word: *mut u64, value: u64) {
    // SAFETY: an aligned word of a live map value.
    unsafe { core::ptr::write_volatile(word, value) };
}
