//! `lbaas all-in-one --simulate` as an unprivileged user would start it.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// A simulated server with a state of its own; ends when dropped.
pub(crate) struct Simulated {
    process: Child,
    pub(crate) url: String,
    _dir: tempfile::TempDir,
}

impl Simulated {
    /// Starts it with further environment variables, and waits until it serves.
    pub(crate) fn start(listen: SocketAddr, more: &[(&str, &str)]) -> anyhow::Result<Self> {
        let binary = env::var_os("LBAAS_BINARY")
            .context("LBAAS_BINARY: `cargo xtask conformance` sets it")?;
        let dir = tempfile::tempdir()?;
        let log = std::fs::File::create(dir.path().join("log"))?;
        let mut process = Command::new(binary)
            .args(["all-in-one", "--simulate"])
            .env("LBAAS_STATE_DIR", dir.path().join("state"))
            .env("LBAAS_RUN_DIR", dir.path().join("run"))
            .env("LBAAS_API__LISTEN", listen.to_string())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("api="))
            .map(str::to_owned);
        let Some(url) = url else {
            let log = std::fs::read_to_string(dir.path().join("log"))?;
            drop(process.kill());
            anyhow::bail!("not ready: {line}{log}");
        };
        Ok(Self {
            process,
            url,
            _dir: dir,
        })
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
