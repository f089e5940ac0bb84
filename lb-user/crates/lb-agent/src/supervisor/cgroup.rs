//! A control group for each amphora: what it may take of the host's memory, processors and process
//! numbers.
//!
//! Why: an amphora works on tenants' bytes. Whatever they make it do, it is killed or slowed down
//! alone, and its standby takes over; the agent and other tenants' amphorae go on.
//!
//! Groups are `lbaas/<amphora id>` below the mount of version 2. A process joins right after it was
//! started, the successor of a takeover too. A limit the kernel does not offer there (version 1, a
//! container without delegation) is given up with a warning, once: an amphora without limits serves,
//! one that is not started does not.
//!
//! Descriptors are limited by the process itself (`lb_sys::process`). Left out on purpose: version 1.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use lb_model::id::AmphoraId;

use crate::AmphoraLimits;

/// Group of all amphorae.
const PARENT: &str = "lbaas";
/// Time in which `cpu.max` counts, in microseconds; the kernel's default.
const PERIOD_US: u64 = 100_000;

/// Told already that something cannot be limited.
static TOLD: AtomicBool = AtomicBool::new(false);

/// One amphora's group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Where version 2 is mounted; `None`: nowhere.
    mount: Option<PathBuf>,
    name: String,
    limits: AmphoraLimits,
}

impl Group {
    pub(super) fn new(limits: AmphoraLimits, id: AmphoraId) -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            mount: mount(&table),
            name: id.to_string(),
            limits,
        }
    }

    /// Whether its processes may have real-time priority: a kernel that shares that out by group has no share
    /// for one whose processors are limited, and would not let such a process in.
    pub(super) const fn has_realtime(&self) -> bool {
        self.limits.cpu_percent == 0
    }

    fn parent(&self) -> Option<PathBuf> {
        Some(self.mount.as_ref()?.join(PARENT))
    }

    fn dir(&self) -> Option<PathBuf> {
        Some(self.parent()?.join(&self.name))
    }

    /// Puts a process into the group, as far as the kernel lets us.
    pub(super) fn confine(&self, pid: u32) {
        let refused = match self.try_confine(pid) {
            Ok(refused) if refused.is_empty() => return,
            Ok(refused) => refused.join(", "),
            Err(error) => error.to_string(),
        };
        if TOLD.swap(true, Ordering::Relaxed) {
            tracing::debug!(pid, refused, "an amphora runs without limits");
        } else {
            tracing::warn!(pid, refused, "amphorae run without these limits");
        }
    }

    /// What could not be limited.
    fn try_confine(&self, pid: u32) -> io::Result<Vec<&'static str>> {
        let missing = || io::Error::other("cgroup version 2 is not mounted");
        let mount = self.mount.as_ref().ok_or_else(missing)?;
        let (parent, dir) = (mount.join(PARENT), mount.join(PARENT).join(&self.name));
        fs::create_dir_all(&dir)?;
        let mut refused = Vec::new();
        for (controller, file, value) in self.values() {
            let limited = [mount, &parent].iter().try_for_each(|group| {
                let control = group.join("cgroup.subtree_control");
                write(&control, &format!("+{controller}"))
            });
            if limited
                .and_then(|()| write(&dir.join(file), &value))
                .is_err()
            {
                refused.push(file);
            }
        }
        write(&dir.join("cgroup.procs"), &pid.to_string())?;
        Ok(refused)
    }

    /// Controller, file, value.
    fn values(&self) -> Vec<(&'static str, &'static str, String)> {
        let AmphoraLimits {
            memory_mib,
            cpu_percent,
            processes,
        } = self.limits;
        let mut values = Vec::new();
        if memory_mib > 0 {
            let bytes = u64::from(memory_mib) << 20;
            values.push(("memory", "memory.max", bytes.to_string()));
            values.push(("memory", "memory.swap.max", "0".to_owned()));
        }
        if cpu_percent > 0 {
            let quota = u64::from(cpu_percent) * PERIOD_US / 100;
            values.push(("cpu", "cpu.max", format!("{quota} {PERIOD_US}")));
        }
        if processes > 0 {
            values.push(("pids", "pids.max", processes.to_string()));
        }
        values
    }

    /// Puts every process of another group into this one; groups cannot be renamed.
    pub(super) fn take(&self, from: &Self) {
        let Some(dir) = from.dir().filter(|dir| dir.exists()) else {
            return;
        };
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let pids = members.lines().filter_map(|line| line.parse().ok());
        pids.for_each(|pid| self.confine(pid));
        from.remove();
    }

    /// Nobody is in it any more.
    pub(super) fn remove(&self) {
        let Some(dir) = self.dir().filter(|dir| dir.exists()) else {
            return;
        };
        if let Err(error) = fs::remove_dir(&dir) {
            tracing::debug!(dir = %dir.display(), %error, "cannot remove an amphora's control group");
        }
    }
}

/// The file is there or the limit is not: nothing is made.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

/// Where `table`, as of `/proc/self/mountinfo`, has cgroup version 2.
fn mount(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_v2 = kind.split(' ').next() == Some("cgroup2");
        is_v2.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AmphoraLimits = AmphoraLimits {
        memory_mib: 512,
        cpu_percent: 150,
        processes: 64,
    };

    #[test]
    fn version_2_is_found_where_it_is_mounted() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            31 24 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup rw\n";
        assert_eq!(mount(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount(hybrid.lines().next().unwrap()), None);
    }

    #[test]
    fn limits_are_written_before_the_process_joins_and_what_is_missing_is_told() {
        let root = tempfile::tempdir().unwrap();
        let id = AmphoraId(uuid::Uuid::from_u128(7));
        let group = Group {
            mount: Some(root.path().to_owned()),
            name: id.to_string(),
            limits: LIMITS,
        };
        let dir = group.dir().unwrap();
        fs::create_dir_all(&dir).unwrap();
        // As the kernel makes them; there is no swap here.
        for file in ["memory.max", "cpu.max", "pids.max", "cgroup.procs"] {
            fs::write(dir.join(file), "").unwrap();
        }
        for group in [root.path(), &group.parent().unwrap()] {
            fs::write(group.join("cgroup.subtree_control"), "").unwrap();
        }
        assert_eq!(group.try_confine(42).unwrap(), ["memory.swap.max"]);
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
        assert_eq!(read("memory.max"), (512_u64 << 20).to_string());
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "64");
        assert_eq!(read("cgroup.procs"), "42");
    }

    #[test]
    fn no_limit_is_no_file() {
        let group = Group {
            mount: None,
            name: "x".to_owned(),
            limits: AmphoraLimits {
                memory_mib: 0,
                cpu_percent: 0,
                processes: 0,
            },
        };
        assert!(group.values().is_empty());
        assert!(group.try_confine(1).is_err(), "nowhere to put it");
    }

    /// Where the kernel offers version 2 and this may write there, a process is really in it.
    #[test]
    fn a_spare_changes_its_group_and_a_group_goes_when_its_process_has_ended() {
        let id = AmphoraId(uuid::Uuid::new_v4());
        let group = Group::new(LIMITS, id);
        let Some(dir) = group.dir() else {
            return;
        };
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let spare = Group::new(LIMITS, AmphoraId(uuid::Uuid::new_v4()));
        let confined = spare.try_confine(child.id());
        group.take(&spare);
        assert!(!spare.dir().unwrap().exists());
        let members = fs::read_to_string(format!("/proc/{}/cgroup", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        if confined.is_ok() {
            let group = format!("{PARENT}/{id}");
            assert!(members.unwrap().contains(&group), "in {group}");
            let empty = || {
                fs::read_to_string(dir.join("cgroup.procs"))
                    .unwrap()
                    .is_empty()
            };
            assert!(empty());
        }
        group.remove();
        assert!(!dir.exists());
    }
}
