//! The processor that a thread stays on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{Doing as _, Result};

/// Keeps the calling thread on one of the processors that it may use now, always the same for a `key` and a
/// set of processors. When that one is taken off line the kernel lets the thread go to another.
///
/// # Errors
/// When the kernel refuses.
pub fn stay(key: u128) -> Result<()> {
    let doing = || "keep a thread on one processor";
    let allowed = sched_getaffinity(None).doing(doing)?;
    let Some(processor) = chosen(&allowed, key) else {
        return Ok(());
    };
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).doing(doing)
}

fn chosen(allowed: &CpuSet, key: u128) -> Option<usize> {
    let there: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|processor| allowed.is_set(*processor))
        .collect();
    let count = u128::try_from(there.len()).ok()?;
    let place = usize::try_from(key.checked_rem(count)?).ok()?;
    there.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_chooses_among_those_that_are_allowed() {
        let mut allowed = CpuSet::new();
        assert_eq!(chosen(&allowed, 7), None);
        allowed.set(3);
        allowed.set(8);
        assert_eq!(chosen(&allowed, 6), Some(3));
        assert_eq!(chosen(&allowed, 7), Some(8));
        assert_eq!(chosen(&allowed, u128::MAX), Some(8));
    }

    #[test]
    fn a_thread_stays_where_its_key_says() {
        let stayed = std::thread::spawn(|| -> Result<(CpuSet, CpuSet)> {
            let before = sched_getaffinity(None).doing(|| "see")?;
            stay(1)?;
            Ok((before, sched_getaffinity(None).doing(|| "see")?))
        });
        let (before, after) = stayed.join().unwrap().unwrap();
        assert_eq!(after.count(), 1);
        assert_eq!(chosen(&before, 1), chosen(&after, 0));
    }
}
