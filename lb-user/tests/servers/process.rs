//! Processes of `lbaas` in a directory of their own, and what all tests of them need.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use lb_testkit::api::ApiClient;
use serde_json::Value;

pub(crate) const SUBNET: &str = "5a6be2f5-7a02-4d51-9d3c-0f8a5d7b1c22";
const NETWORKS: &str = r#"
[[networks]]
id = "3f0c9a52-6d1e-4a0b-8b51-0d9f2c7e4a11"
name = "public"
segment = 1
[[networks.subnets]]
id = "5a6be2f5-7a02-4d51-9d3c-0f8a5d7b1c22"
name = "public-v4"
cidr = "198.18.0.0/16"
"#;

/// `lbaas` with these arguments, its state in `dir`, and `settings` over the defaults of tests.
fn command(dir: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> anyhow::Result<Command> {
    let config = dir.join("lb.toml");
    std::fs::write(&config, NETWORKS)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbaas"));
    command
        .args(arguments)
        .arg("--config")
        .arg(&config)
        .env("LBAAS_STATE_DIR", dir.join("state"))
        .env("LBAAS_RUN_DIR", dir.join("run"))
        .env("LBAAS_AGENT__HOST", "host-a")
        .env("LBAAS_API__LISTEN", "127.0.0.1:0")
        .env("LBAAS_CONTROLLER__SYNC_LISTEN", "127.0.0.1:0")
        .envs(settings.iter().copied());
    Ok(command)
}

/// Runs a tool to its end; what it printed.
pub(crate) fn tool(
    dir: &Path,
    arguments: &[&str],
    settings: &[(&str, &str)],
) -> anyhow::Result<String> {
    let output = command(dir, arguments, settings)?.output()?;
    ensure!(
        output.status.success(),
        "lbaas {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A process of `lbaas`, ended with the value.
pub(crate) struct Process {
    child: Child,
    pub(crate) api: Option<SocketAddr>,
    pub(crate) sync: Option<SocketAddr>,
}

impl Process {
    /// Starts one and waits until it serves.
    pub(crate) fn start(
        dir: &Path,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))?;
        let mut child = command(dir, arguments, settings)?
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut process = Self {
            child,
            api: None,
            sync: None,
        };
        for line in BufReader::new(output).lines() {
            let line = line?;
            if !line.starts_with("ready ") {
                continue;
            }
            for word in line.split(' ') {
                if let Some(address) = word.strip_prefix("api=http://") {
                    process.api = Some(address.parse()?);
                }
                if let Some(address) = word.strip_prefix("sync=") {
                    process.sync = Some(address.parse()?);
                }
            }
            return Ok(process);
        }
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        anyhow::bail!("{arguments:?} ended before it served:\n{log}");
    }

    pub(crate) fn api(&self) -> anyhow::Result<ApiClient> {
        Ok(ApiClient::new(self.api.context("it has no API")?))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Every load balancer.
pub(crate) fn list(api: ApiClient) -> anyhow::Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let marker = all.last().map_or_else(String::new, |last: &Value| {
            let id = last.get("id").and_then(Value::as_str);
            format!("&marker={}", id.unwrap_or_default())
        });
        let path = format!("/v2.0/lbaas/loadbalancers?limit=1000{marker}");
        let page = api.call("GET", &path, None)?;
        let page = page.get("loadbalancers").and_then(Value::as_array);
        let page = page.context("no list")?.clone();
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
