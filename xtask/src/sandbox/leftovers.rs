//! Removing a sandbox: the same way after Ctrl-C as after a crash of an earlier run.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;
use lb_testkit::topology;

use super::Paths;
use crate::shell;

/// Ends the processes that wrote their pid, lets the agent take down what it keeps in the kernel,
/// and removes namespaces and files. Absent is fine.
pub fn remove(paths: &Paths, binary: &Path, prefix: &str) -> anyhow::Result<()> {
    if !paths.base.exists() {
        drop(topology::remove_stale(prefix)?);
        return Ok(());
    }
    for role in ["server", "agent", "all-in-one"] {
        let record = fs::read_to_string(paths.file(&format!("{role}.pid"))).unwrap_or_default();
        let mut words = record.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(pid)), Some(Ok(started))) = (words.next(), words.next()) else {
            continue;
        };
        // The number may belong to somebody else by now: only the one with our start time is ours.
        let ours = u32::try_from(pid).ok().and_then(lb_sys::pidfd::start_time) == Some(started);
        if ours {
            shell::say(&format!(
                "ending `lbaas {role}` of an earlier run (process {pid})"
            ));
            drop(shell::run("kill", ["-KILL", &pid.to_string()]));
        }
    }
    if paths.config().exists() {
        let mut teardown = Command::new(binary);
        teardown
            .args(["agent", "--teardown", "--config"])
            .arg(paths.config());
        if let Err(error) = shell::run_command(teardown.env("LBAAS_LOG", "warn")) {
            shell::say(&format!(
                "the agent could not take everything down: {error:#}"
            ));
        }
    }
    for stale in topology::remove_stale(prefix)? {
        shell::say(&format!("removed {stale} of an earlier run"));
    }
    fs::remove_dir_all(&paths.base)
        .with_context(|| format!("cannot remove {}", paths.base.display()))
}
