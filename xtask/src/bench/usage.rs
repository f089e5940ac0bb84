//! Whose processor time it was: of the programs under test, of the one that tests them, and of whatever
//! else runs on the machine, which a reader of a figure has to know of.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// Clock ticks in a second, in which /proc counts: a constant of the kernel's interface.
const TICKS: f64 = 100.0;

/// Processor time of processes and of what they started and waited for, user and kernel.
pub fn of(pids: &[u32]) -> anyhow::Result<Duration> {
    let mut ticks = 0.0;
    for pid in pids {
        ticks += stat(*pid).with_context(|| format!("process {pid}"))?.ticks;
    }
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

/// The same of a process and all its children.
pub fn of_family(parent: u32) -> anyhow::Result<Duration> {
    let mut ticks = stat(parent)?.ticks;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        // One may have ended since the directory was read.
        if let Some(child) = pid.and_then(|pid| stat(pid).ok())
            && child.parent == parent
        {
            ticks += child.ticks;
        }
    }
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

/// What all processors of the machine have done so far, idle time left out.
pub fn of_machine() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let times = line.split_whitespace().skip(1).enumerate();
    // user nice system idle iowait irq softirq; what follows is in these already, or stolen.
    let busy: f64 = times
        .filter(|(place, _)| matches!(place, 0 | 1 | 2 | 5 | 6))
        .filter_map(|(_, time)| time.parse::<f64>().ok())
        .sum();
    Ok(Duration::from_secs_f64(busy / TICKS))
}

struct Stat {
    parent: u32,
    ticks: f64,
}

fn stat(pid: u32) -> anyhow::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name, which may hold anything, in parentheses.
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let parent = fields.get(1).and_then(|parent| parent.parse().ok());
    let times = fields.iter().skip(11).take(4);
    Ok(Stat {
        parent: parent.context("no parent in stat")?,
        ticks: times.filter_map(|time| time.parse::<f64>().ok()).sum(),
    })
}
