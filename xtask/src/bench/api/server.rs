//! The server processes under load: one with the simulated agent, and further ones beside it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use lb_testkit::postgres::Postgres;

#[derive(Debug)]
pub struct Servers {
    binary: PathBuf,
    state: PathBuf,
    database: Option<String>,
    count: usize,
    processes: Vec<Child>,
    addresses: Vec<SocketAddr>,
    filled: AtomicUsize,
}

impl Servers {
    pub fn start(binary: &Path, count: usize, postgres: Option<&Postgres>) -> anyhow::Result<Self> {
        let state = std::env::temp_dir().join(lb_testkit::unique("lbaas-bench"));
        fs::create_dir(&state).with_context(|| state.display().to_string())?;
        let mut servers = Self {
            binary: binary.to_owned(),
            state,
            database: postgres.map(Postgres::new_database).transpose()?,
            count,
            processes: Vec::new(),
            addresses: Vec::new(),
            filled: AtomicUsize::new(0),
        };
        servers.start_all()?;
        Ok(servers)
    }

    fn start_all(&mut self) -> anyhow::Result<()> {
        self.start_one(&["all-in-one", "--simulate"])?;
        for _further in 1..self.count {
            self.start_one(&["server"])?;
        }
        Ok(())
    }

    fn start_one(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let number = self.processes.len();
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("LBAAS_STATE_DIR", self.state.join("state"))
            .env("LBAAS_RUN_DIR", self.state.join(format!("run{number}")))
            .env("LBAAS_API__LISTEN", "127.0.0.1:0")
            .env("LBAAS_CONTROLLER__SYNC_LISTEN", "127.0.0.1:0")
            .env("LBAAS_NETWORK__DRIVER", "noop")
            .env("LBAAS_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.state.join(format!("log{number}")))?);
        if let Some(url) = &self.database {
            command.env("LBAAS_DATABASE__URL", url);
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        self.processes.push(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("api=http://"))
            .with_context(|| format!("the server does not say where it is: {line:?}"))?;
        self.addresses.push(address.parse()?);
        Ok(())
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many load balancers were created so far, at least.
    pub fn filled(&self) -> usize {
        self.filled.load(Ordering::Relaxed)
    }

    pub fn add_filled(&self, count: usize) {
        self.filled.fetch_add(count, Ordering::Relaxed);
    }

    /// Ends all and starts them again; from the start of the first to its being ready.
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        self.end();
        self.addresses.clear();
        let started = Instant::now();
        self.start_one(&["all-in-one", "--simulate"])?;
        let ready = started.elapsed();
        for _further in 1..self.count {
            self.start_one(&["server"])?;
        }
        Ok(ready)
    }

    /// The server processes.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Child::id).collect()
    }

    /// Resident memory of the largest.
    pub fn rss_mib(&self) -> anyhow::Result<f64> {
        let mut largest = 0.0_f64;
        for process in &self.processes {
            let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
            let kib = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
            largest = largest.max(kib.context("no VmRSS")? / 1024.0);
        }
        Ok(largest)
    }

    fn end(&mut self) {
        for mut process in self.processes.drain(..) {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.end();
        drop(fs::remove_dir_all(&self.state));
    }
}
