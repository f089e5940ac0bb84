//! A real PostgreSQL for tests: a cluster of its own on a unix socket, run by an unprivileged user.
//!
//! It ends with the process that started it, however that ends: the kernel tells it so
//! (`PR_SET_PDEATHSIG`), which counts for the thread that started it, so that thread stays. What a
//! killed process left on disk, the next one removes. For tests nothing is synced to disk: what is
//! tested is what happens when servers die, not when the database's machine loses power.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use crate::wait;

/// Who runs it when the test is root: PostgreSQL refuses root.
const USER: &str = "nobody";
/// The database's superuser.
const ROLE: &str = "lbaas";
/// Directories of clusters begin so, followed by the starter's process id.
const PREFIX: &str = "lbaas-pg-";
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running cluster.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    fsync: &'static str,
    child: Mutex<Child>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start: with what it said.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("fsync=off")
    }

    /// The same, with every commit on disk before it is acknowledged: for what measures.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_durable() -> anyhow::Result<Self> {
        Self::start_with("fsync=on")
    }

    fn start_with(fsync: &'static str) -> anyhow::Result<Self> {
        remove_stale()?;
        let dir =
            std::env::temp_dir().join(crate::unique(&format!("{PREFIX}{}", std::process::id())));
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        if is_root() {
            run(Command::new("chown").arg(USER).arg(&dir))?;
        }
        let data = dir.join("data");
        run(unprivileged("initdb")?
            .arg("--pgdata")
            .arg(&data)
            .args(["--no-sync", "--auth=trust", "--locale=C", "--encoding=UTF8"])
            .args(["--username", ROLE]))?;
        let child = spawn(&dir, fsync)?;
        let postgres = Self {
            dir,
            fsync,
            child: Mutex::new(child),
        };
        postgres.await_ready()?;
        Ok(postgres)
    }

    /// The one cluster of this process, started when it is first asked for.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// A new, empty database; its URL.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_database(&self) -> anyhow::Result<String> {
        let name = crate::unique("test").replace('-', "_");
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://{ROLE}@/{database}?host={}",
            self.dir.display()
        )
    }

    /// The process whose children serve connections.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.id()
    }

    /// Runs SQL as the superuser; what it answers, one row a line.
    ///
    /// # Errors
    /// What the database says.
    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = Command::new(program("psql")?)
            .arg("-h")
            .arg(&self.dir)
            .args([
                "-U",
                ROLE,
                "-d",
                database,
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
            ])
            .args(["-c", sql])
            .output()?;
        ensure!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Ends it at once, as a crash would, and leaves what is stored.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn crash(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        signal(&child, "QUIT")?;
        child.wait()?;
        Ok(())
    }

    /// Starts it again after [`Self::crash`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self) -> anyhow::Result<()> {
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = spawn(&self.dir, self.fsync)?;
        self.await_ready()
    }

    fn await_ready(&self) -> anyhow::Result<()> {
        let status = self.dir.join("data/postmaster.pid");
        let ready = wait::until(READY_WITHIN, LOOK_AGAIN, || {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(ended) = child.try_wait()? {
                bail!("postgres ended: {ended}: {}", self.log());
            }
            let text = fs::read_to_string(&status).unwrap_or_default();
            let of_this_one = text.lines().next() == Some(child.id().to_string().as_str());
            Ok(of_this_one && text.lines().any(|line| line.trim() == "ready"))
        })?;
        ensure!(ready, "postgres does not become ready: {}", self.log());
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if signal(child, "QUIT").is_ok() {
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Starts the cluster of a directory from a thread that never ends.
fn spawn(dir: &Path, fsync: &str) -> anyhow::Result<Child> {
    let log = fs::File::create(dir.join("log"))?;
    let mut command = unprivileged("postgres")?;
    command
        .arg("-D")
        .arg(dir.join("data"))
        .arg("-k")
        .arg(dir)
        .args(["-c", "listen_addresses=", "-c", fsync])
        .args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        drop(sender.send(command.spawn()));
        loop {
            std::thread::park();
        }
    });
    Ok(receiver.recv()??)
}

/// A program of PostgreSQL, run by whoever may.
fn unprivileged(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", USER, "--regid", "nogroup", "--clear-groups"]);
    }
    command
        .args(["--pdeathsig", "QUIT", "--"])
        .arg(program(name)?)
        .current_dir("/");
    Ok(command)
}

/// Debian keeps them out of the path.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut candidates: Vec<PathBuf> = versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("bin").join(name))
        .collect();
    candidates.sort_unstable();
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.extend(std::env::split_paths(&path).map(|directory| directory.join(name)));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is missing: install Debian's package postgresql"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    run(Command::new("kill")
        .arg(format!("-{name}"))
        .arg(child.id().to_string()))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Removes what processes left that are gone.
fn remove_stale() -> anyhow::Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may do the same at the same time.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}
