//! Programs of the host, run inside a namespace.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Runs `program` in the namespace `netns` (`None`: the caller's) and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; with what it said.
pub fn run(netns: Option<&str>, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with_input(netns, program, arguments, "")
}

/// [`run`] with something on standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(
    netns: Option<&str>,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<String> {
    let told = || format!("{program} {}", arguments.join(" "));
    let work = || -> anyhow::Result<String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(told)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).with_context(told)?;
        }
        let output = child.wait_with_output().with_context(told)?;
        if !output.status.success() {
            bail!(
                "{}: {}: {}",
                told(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    match netns {
        // Not `ip netns exec`: it mounts another /sys over ours.
        Some(name) => lb_sys::netns::run_in(name, work)?,
        None => work(),
    }
}

/// Runs lines of `ip` commands in one process.
///
/// # Errors
/// When one fails; those after it are not run.
pub fn ip_batch(netns: Option<&str>, lines: &str) -> anyhow::Result<()> {
    run_with_input(netns, "ip", &["-batch", "-"], lines)
        .map(drop)
        .with_context(|| format!("in {}:\n{lines}", netns.unwrap_or("this namespace")))
}

/// Writes a file below `/proc/sys` of a namespace.
///
/// # Errors
/// When there is no such key or it refuses the value.
pub fn sysctl(netns: Option<&str>, key: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/{key}");
    let write = || std::fs::write(&path, value);
    match netns {
        Some(name) => lb_sys::netns::run_in(name, write)?,
        None => write(),
    }
    .with_context(|| format!("write {value} to {path}"))
}
