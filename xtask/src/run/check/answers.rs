//! The right server answers: every printed line, the shares of the hashed listener, and the real
//! `openstack` client.

use std::{net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context as _, bail};
use lb_testkit::{certs::TestCa, client, demo::Demonstration};

use super::table::Table;
use crate::{openstack, run::lines};

/// Connections to the hashed listener.
const CONNECTIONS: usize = 400;
/// Each of two servers must get at least this part of them.
const SHARE_MIN: f64 = 0.40;

/// Runs every curl line.
pub fn lines(demonstration: &Demonstration, ca: &TestCa, table: &mut Table) -> anyhow::Result<()> {
    let lines = lines::curl(demonstration, &ca.certificate());
    let count = lines.len();
    for line in lines {
        run(&line, &[])?;
    }
    table.row(
        "printed curl lines",
        format!("{count} right"),
        "all right",
        true,
    );
    Ok(())
}

/// Counts who answers on the listener that XDP hashes.
pub fn shares(demonstration: &Demonstration, table: &mut Table) -> anyhow::Result<()> {
    for vip in &demonstration.vips {
        let to = SocketAddr::new(*vip, 9000);
        let mut first = 0_usize;
        for _ in 0..CONNECTIONS {
            let answer = client::get(to, "/", Duration::from_secs(3))
                .with_context(|| format!("connection to {to}"))?;
            match answer.body.split_whitespace().next() {
                Some("server1") => first += 1,
                Some("server2") => {}
                other => bail!("{to} was answered by {other:?}"),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "hundreds, not 2^52")]
        let share = first as f64 / CONNECTIONS as f64;
        let seen = format!("{first} : {}", CONNECTIONS - first);
        let kept = (SHARE_MIN..=1.0 - SHARE_MIN).contains(&share);
        table.row(&format!("shares of {to}"), seen, "about 1 : 1", kept);
    }
    Ok(())
}

/// The real client, in a venv made for it.
pub fn openstack(table: &mut Table) -> anyhow::Result<()> {
    let bin = openstack::client()?;
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    )))?;
    let path = path.to_string_lossy().into_owned();
    let environment = [
        ("OS_AUTH_TYPE", "none"),
        ("OS_ENDPOINT", "http://127.0.0.1:9876"),
        ("PATH", path.as_str()),
    ];
    let lines = lines::openstack();
    // The last one is the planned failover, which has a check of its own.
    let shown = lines.len().saturating_sub(1);
    for line in lines.iter().take(shown) {
        run(line, &environment)?;
    }
    table.row(
        "printed openstack lines",
        format!("{shown} right"),
        "all right",
        true,
    );
    Ok(())
}

/// Runs a line and compares its answer.
pub fn run(line: &lines::Line, environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let (program, arguments) = line.argv.split_first().context("an empty line")?;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    if program == "curl" {
        command.args(["--max-time", "5", "--noproxy", "*"]);
    }
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains(line.expects) {
        bail!(
            "`{}` ended with {} and said {text:?}{:?}, not {:?}",
            line.shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            line.expects
        );
    }
    Ok(())
}
