//! `lbaas all-in-one --simulate`, with settings from the environment alone.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use tempfile::TempDir;

/// A running server; ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Server {
    /// Starts it with further environment variables, and waits until it serves.
    pub(crate) fn start(listen: SocketAddr, more: &[(&str, &str)]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_lbaas"))
            .args(["all-in-one", "--simulate"])
            .env_clear()
            .env("LBAAS_STATE_DIR", dir.path().join("state"))
            .env("LBAAS_RUN_DIR", dir.path().join("run"))
            .env("LBAAS_API__LISTEN", listen.to_string())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("log"))?)
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut address = None;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let api = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("api=http://"));
            if let Some(api) = api {
                address = Some(api.parse()?);
                break;
            }
        }
        let Some(address) = address else {
            let log = std::fs::read_to_string(dir.path().join("log"))?;
            anyhow::bail!("the server does not start: {:?}\n{log}", child.wait()?);
        };
        Ok(Self {
            address,
            child,
            _dir: dir,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
