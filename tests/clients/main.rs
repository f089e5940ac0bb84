//! Clients nobody here wrote, against `lbaas all-in-one --simulate` as an unprivileged user would
//! start it: with environment variables alone.
//!
//! The clients are Python, so their scripts are too: `sdk.py` (openstacksdk), `cli.py` (`openstack
//! loadbalancer`), `key_manager.py` (`openstack secret`). Without `LBAAS_BINARY` and
//! `LBAAS_OPENSTACK`, which `cargo xtask conformance` sets, there is nothing to run and that is a
//! failure.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// A simulated server with a state of its own; ends when dropped.
struct Simulated {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Simulated {
    fn start() -> anyhow::Result<Self> {
        let binary = env::var_os("LBAAS_BINARY")
            .context("LBAAS_BINARY: `cargo xtask conformance` sets it")?;
        let dir = tempfile::tempdir()?;
        let log = std::fs::File::create(dir.path().join("log"))?;
        let mut process = Command::new(binary)
            .args(["all-in-one", "--simulate"])
            .env("LBAAS_STATE_DIR", dir.path().join("state"))
            .env("LBAAS_RUN_DIR", dir.path().join("run"))
            .env("LBAAS_API__LISTEN", "127.0.0.1:0")
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

/// Runs a script of this directory to its last line, `done`.
fn runs(script: &str) -> anyhow::Result<()> {
    let server = Simulated::start()?;
    let directory = env::var_os("LBAAS_OPENSTACK").context(
        "LBAAS_OPENSTACK does not say where the client is; run `cargo xtask conformance`",
    )?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(script);
    let output = Command::new(PathBuf::from(directory).join("python"))
        .arg(script)
        .arg(&server.url)
        .env("HOME", env::temp_dir())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.trim_end().ends_with("done"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn openstacksdk_goes_through_every_resource() -> anyhow::Result<()> {
    runs("sdk.py")
}

#[test]
fn the_openstack_client_goes_through_every_group_of_commands() -> anyhow::Result<()> {
    runs("cli.py")
}

#[test]
fn the_key_manager_client_stores_what_listeners_are_served_with() -> anyhow::Result<()> {
    runs("key_manager.py")
}
