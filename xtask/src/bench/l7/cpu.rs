//! CPU time and memory, as the kernel tells them.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::Context as _;

/// CPU time so far.
#[derive(Debug)]
pub struct Cpu {
    process_ns: u64,
    /// By thread: one that ends must not count backwards.
    kernel_ns: HashMap<u32, u64>,
}

impl Cpu {
    /// Of process `pid`, and of the kernel's own threads that work on packets.
    pub fn read(pid: u32) -> anyhow::Result<Self> {
        let mut process_ns = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            process_ns += schedstat(&task?.path().join("schedstat").to_string_lossy())?;
        }
        let mut kernel_ns = HashMap::new();
        for process in fs::read_dir("/proc")? {
            let name = process?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if (comm.starts_with("ksoftirqd/") || comm.starts_with("kworker/"))
                && let Ok(spent) = schedstat(&format!("/proc/{pid}/schedstat"))
            {
                kernel_ns.insert(pid, spent);
            }
        }
        Ok(Self {
            process_ns,
            kernel_ns,
        })
    }

    /// What was spent since `before`.
    pub fn since(&self, before: &Self) -> Duration {
        let kernel: u64 = self
            .kernel_ns
            .iter()
            .map(|(pid, now)| {
                now.saturating_sub(before.kernel_ns.get(pid).copied().unwrap_or(*now))
            })
            .sum();
        Duration::from_nanos(self.process_ns.saturating_sub(before.process_ns) + kernel)
    }
}

fn schedstat(path: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let first = text.split_whitespace().next().context("empty schedstat")?;
    Ok(first.parse()?)
}

/// Resident memory.
pub fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
