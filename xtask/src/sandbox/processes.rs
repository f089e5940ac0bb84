//! The processes a sandbox starts: `lbaas server`, `lbaas agent` or `lbaas all-in-one`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use lb_testkit::wait;

use crate::shell;

/// A role that was asked to stop is killed after this.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One running role.
#[derive(Debug)]
pub struct Process {
    role: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `lbaas ROLE --config CONFIG`, its output going to `log`.
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
    pub fn role(&self) -> &str {
        &self.role
    }

    /// What identifies it after we are gone: pid and start time.
    pub fn record(&self) -> String {
        let pid = self.child.id();
        format!(
            "{pid} {}\n",
            lb_sys::pidfd::start_time(pid).unwrap_or_default()
        )
    }

    /// Fails, with the end of its log, when it has ended.
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
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, then SIGKILL when that does not help.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        shell::run("kill", ["-TERM", &self.child.id().to_string()])?;
        let ended = wait::until(STOP_WITHIN, LOOK_EVERY, || {
            Ok(self.child.try_wait()?.is_some())
        })?;
        if !ended {
            shell::say(&format!("`lbaas {}` does not stop; killing it", self.role));
            self.kill()?;
        }
        Ok(())
    }

    /// Last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(30)..)
            .unwrap_or_default()
            .join("\n")
    }
}
