//! The product as a whole, started as a person would: one configuration file, one binary, roles as
//! processes. Used by the sandbox of `cargo xtask run` and by the end-to-end tests.

pub mod config;
pub mod observed;
pub mod process;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{api::ApiClient, wait};

use config::Place;
use observed::LoadBalancer;
use process::Process;

/// A role answers within this after its start, on a busy machine too.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A system with its files. Ends its processes and takes down what they keep in the kernel on drop.
#[derive(Debug)]
pub struct System {
    place: Place,
    binary: PathBuf,
    processes: Vec<Process>,
}

impl System {
    /// Writes the configuration; starts nothing.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn new(binary: &Path, place: Place, config: &str) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&place.base)?;
        let system = Self {
            place,
            binary: binary.to_path_buf(),
            processes: Vec::new(),
        };
        fs::write(system.config(), config)?;
        Ok(system)
    }

    /// Removes what an earlier system in this directory left behind, after a crash too: processes
    /// that wrote their pid, what the agent keeps in the kernel, and the directory. Absent is fine.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub fn remove(binary: &Path, base: &Path) -> anyhow::Result<()> {
        if !base.exists() {
            return Ok(());
        }
        process::end_recorded(base)?;
        let config = base.join("lb.toml");
        if config.exists() {
            let mut teardown = Command::new(binary);
            teardown
                .args(["agent", "--teardown", "--config"])
                .arg(&config);
            let status = teardown.env("LBAAS_LOG", "warn").status();
            if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
                bail!(
                    "`lbaas agent --teardown --config {}` failed: {status:?}",
                    config.display()
                );
            }
        }
        fs::remove_dir_all(base).with_context(|| format!("cannot remove {}", base.display()))
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.place.base.join("lb.toml")
    }

    /// A directory of the system's.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        self.place.base.join(name)
    }

    /// Where the agent tells what it sees.
    #[must_use]
    pub fn agent_status(&self) -> PathBuf {
        self.directory("run/agent.json")
    }

    /// A client of its API.
    #[must_use]
    pub const fn api(&self) -> ApiClient {
        ApiClient::new(self.place.api)
    }

    /// Where its API listens.
    #[must_use]
    pub const fn api_address(&self) -> SocketAddr {
        self.place.api
    }

    /// Starts a role as a process of its own.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn start(&mut self, role: &str) -> anyhow::Result<()> {
        if role != "server" {
            // What an agent before it told is no longer true.
            drop(fs::remove_file(self.agent_status()));
        }
        let log = self.directory(&format!("{role}.log"));
        let process = Process::start(&self.binary, role, &self.config(), &log)?;
        process.record(&self.place.base)?;
        self.processes.push(process);
        Ok(())
    }

    /// Waits until the API answers.
    ///
    /// # Errors
    /// When a role has ended, with its log, or nothing answers in time.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let api = self.api();
        let ready = wait::until(READY_WITHIN, LOOK_EVERY, || {
            self.must_run()?;
            Ok(api.get("/").is_ok())
        })?;
        if !ready {
            bail!(
                "the API does not answer after {READY_WITHIN:?}\n{}",
                self.logs()
            );
        }
        Ok(())
    }

    /// Fails, with the end of its log, when a role has ended.
    ///
    /// # Errors
    /// See above.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Process::must_run)
    }

    /// Ends a role with SIGKILL and forgets it.
    ///
    /// # Errors
    /// When it was not started.
    pub fn kill(&mut self, role: &str) -> anyhow::Result<()> {
        let process = self
            .processes
            .iter_mut()
            .find(|process| process.role() == role);
        process
            .with_context(|| format!("no {role} was started"))?
            .kill()?;
        self.processes.retain(|process| process.role() != role);
        Ok(())
    }

    /// Ends a role as an operator does (SIGTERM) and forgets it.
    ///
    /// # Errors
    /// When it was not started.
    pub fn stop(&mut self, role: &str) -> anyhow::Result<()> {
        let process = self
            .processes
            .iter_mut()
            .find(|process| process.role() == role);
        process
            .with_context(|| format!("no {role} was started"))?
            .stop()?;
        self.processes.retain(|process| process.role() != role);
        Ok(())
    }

    /// The agent's view of a load balancer once both of its amphorae run and serve.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn whole_pair(&self, load_balancer: &str) -> anyhow::Result<LoadBalancer> {
        LoadBalancer::whole(&self.agent_status(), load_balancer)
    }

    /// Copies every role's log into `directory`, which is made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_logs(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory)?;
        for role in process::ROLES {
            let log = self.directory(&format!("{role}.log"));
            if log.exists() {
                fs::copy(&log, directory.join(format!("{role}.log")))?;
            }
        }
        Ok(())
    }

    /// Last lines of every role's log.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = self.processes.iter().map(|process| {
            format!(
                "end of the log of `lbaas {}`:\n{}\n",
                process.role(),
                process.log_tail()
            )
        });
        logs.collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // What does not stop is killed by the removal below.
            drop(process.stop());
        }
        self.processes.clear();
        if let Err(error) = Self::remove(&self.binary, &self.place.base) {
            let line = format!(
                "{} could not be removed whole: {error:#}\n",
                self.place.base.display()
            );
            drop(std::io::Write::write_all(
                &mut std::io::stderr(),
                line.as_bytes(),
            ));
        }
    }
}
