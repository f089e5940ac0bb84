//! Waiting for a condition, with a deadline; never a sleep that stands in for one.

use std::time::Duration;

/// Looks at a condition every `every` until it holds (`true`) or `within` has passed (`false`).
///
/// # Errors
/// The first error of the condition itself.
pub fn until(
    within: Duration,
    every: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let start = now();
    loop {
        if condition()? {
            return Ok(true);
        }
        if now().saturating_sub(start) >= within {
            return Ok(false);
        }
        std::thread::sleep(every);
    }
}

/// Time on the monotonic clock.
#[must_use]
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
