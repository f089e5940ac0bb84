//! The kernel's monotonic clocks, as the heartbeat rule and BPF see them.
//!
//! Not `Instant`: these numbers are shared with XDP and with other processes.

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds (`bpf_ktime_get_ns`).
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// CLOCK_MONOTONIC_COARSE in nanoseconds (`bpf_ktime_get_coarse_ns`): cheap, lags by up to a tick.
#[must_use]
pub fn monotonic_coarse_ns() -> u64 {
    nanoseconds(ClockId::MonotonicCoarse)
}

/// Processor time of the calling thread in nanoseconds, the kernel's work for it included.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_clock_never_runs_ahead() {
        let coarse = monotonic_coarse_ns();
        let exact = monotonic_ns();
        assert!(exact >= coarse);
        assert!(exact - coarse < 1_000_000_000);
    }
}
