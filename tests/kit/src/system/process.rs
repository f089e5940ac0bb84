//! The processes of a system: `lbaas server`, `lbaas agent` or `lbaas all-in-one`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use lb_sys::pidfd::start_time;

use crate::{command, wait};

/// A role that was asked to stop is killed after this.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Roles that a system may start.
pub const ROLES: [&str; 3] = ["server", "agent", "all-in-one"];

/// One running role.
#[derive(Debug)]
pub struct Process {
    role: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `lbaas ROLE --config CONFIG`, its output going to `log`.
    ///
    /// # Errors
    /// When the binary or the log file cannot be opened.
    pub fn start(binary: &Path, role: &str, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new(binary)
            .arg(role)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self {
            role: role.to_owned(),
            child,
            log: log.to_path_buf(),
        })
    }

    /// `server`, `agent` or `all-in-one`.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Writes what identifies it after we are gone: number and start time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record(&self, base: &Path) -> anyhow::Result<()> {
        let pid = self.child.id();
        let started = start_time(pid).unwrap_or_default();
        std::fs::write(record_path(base, &self.role), format!("{pid} {started}\n"))?;
        Ok(())
    }

    /// Fails, with the end of its log, when it has ended.
    ///
    /// # Errors
    /// See above.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "`lbaas {}` ended with {status}:\n{}",
                self.role,
                self.log_tail()
            );
        }
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it is not ours to kill.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, then SIGKILL when that does not help.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        command::run(None, "kill", &["-TERM", &self.child.id().to_string()])?;
        let ended = wait::until(STOP_WITHIN, LOOK_EVERY, || {
            Ok(self.child.try_wait()?.is_some())
        })?;
        if !ended {
            self.kill()?;
        }
        Ok(())
    }

    /// Last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(30)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// Kills processes that a system in `base` started and that still run: those whose number and
/// start time are as recorded, for the number alone may belong to somebody else by now.
///
/// # Errors
/// When `kill` cannot be run.
pub fn end_recorded(base: &Path) -> anyhow::Result<()> {
    for role in ROLES {
        let record = std::fs::read_to_string(record_path(base, role)).unwrap_or_default();
        let mut words = record.split_whitespace();
        let pid = words.next().and_then(|word| word.parse::<u32>().ok());
        let started = words.next().and_then(|word| word.parse::<u64>().ok());
        let Some(pid) = pid.filter(|pid| started.is_some() && start_time(*pid) == started) else {
            continue;
        };
        command::run(None, "kill", &["-KILL", &pid.to_string()])?;
        wait::until(STOP_WITHIN, LOOK_EVERY, || Ok(start_time(pid) != started))?;
    }
    Ok(())
}

fn record_path(base: &Path, role: &str) -> PathBuf {
    base.join(format!("{role}.pid"))
}
