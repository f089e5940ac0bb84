//! A server or an agent of either version, on ports that stay the same.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use lb_testkit::wait;

/// How long a process may take to end when it is asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where a server is.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub api: SocketAddr,
    pub sync: SocketAddr,
}

/// Two addresses that were free a moment ago.
pub fn free_port() -> anyhow::Result<Ports> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (api, sync) = (listen()?, listen()?);
    Ok(Ports {
        api: api.local_addr()?,
        sync: sync.local_addr()?,
    })
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Server(Ports),
    /// Of these servers, the first that answers.
    Agent([SocketAddr; 2]),
}

/// A process, ended with the value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub fn start(binary: &Path, dir: &Path, database: &str, kind: Kind) -> anyhow::Result<Self> {
        let log = dir.join(lb_testkit::unique("log"));
        let mut command = Command::new(binary);
        match kind {
            Kind::Server(ports) => command
                .arg("server")
                .env("LBAAS_API__LISTEN", ports.api.to_string())
                .env("LBAAS_CONTROLLER__SYNC_LISTEN", ports.sync.to_string()),
            Kind::Agent([first, second]) => command
                .args(["agent", "--simulate"])
                .env("LBAAS_AGENT__SERVER", format!("{first},{second}")),
        };
        let mut child = command
            .env("LBAAS_STATE_DIR", dir.join("state"))
            .env("LBAAS_RUN_DIR", dir.join(lb_testkit::unique("run")))
            .env("LBAAS_DATABASE__URL", database)
            .env("LBAAS_NETWORK__DRIVER", "noop")
            .env("LBAAS_AGENT__HOST", "host-a")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let process = Self { child, log };
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ready")));
        if ready.is_none() {
            bail!("{kind:?} ended before it was ready: {}", process.log());
        }
        Ok(process)
    }

    /// Ends it as an operator does, and starts another in its place.
    pub fn replace(&mut self, start: impl Fn() -> anyhow::Result<Self>) -> anyhow::Result<()> {
        let signal = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()?;
        ensure!(signal.success(), "it cannot be ended");
        let ended = wait::until(ENDS_WITHIN, LOOK_AGAIN, || {
            Ok(self.child.try_wait()?.is_some())
        })?;
        ensure!(ended, "it does not end: {}", self.log());
        *self = start()?;
        Ok(())
    }

    pub fn is_alive(&self) -> anyhow::Result<bool> {
        Ok(Path::new(&format!("/proc/{}/exe", self.child.id())).exists())
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
