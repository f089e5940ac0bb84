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

/// Time of all processors together, since the machine began, in which its hypervisor ran others though
/// this machine had work (`steal` of /proc/stat, in hundredths of a second). Nobody here can be in time in it.
#[must_use]
pub fn stolen() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stolen_of(&stat)
}

fn stolen_of(stat: &str) -> Duration {
    let of_all = stat.lines().next().unwrap_or_default();
    // `cpu`, user, nice, system, idle, iowait, irq, softirq, steal.
    let ticks = of_all.split_ascii_whitespace().nth(8);
    Duration::from_millis(10 * ticks.and_then(|ticks| ticks.parse().ok()).unwrap_or(0))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_read_from_the_line_of_all_processors() {
        let stat = "cpu  10 2 30 4000 5 0 7 123 0 0\ncpu0 5 1 15 2000 2 0 3 60 0 0\n";
        assert_eq!(stolen_of(stat), Duration::from_millis(1230));
        assert_eq!(stolen_of(""), Duration::ZERO);
    }
}
