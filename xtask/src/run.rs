//! `cargo xtask run`: the demonstration, on one machine, with one command.

mod check;
mod lines;
mod watch;

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use lb_testkit::{
    certs::TestCa,
    demo::{self, Demonstration},
    wait,
};

use crate::{
    build,
    sandbox::{RealInterface, Sandbox},
    setup, shell,
};

/// A role answers within this after its start, on a busy machine too.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Do what the printed lines say, assert each answer, break things on purpose, print a table,
    /// take everything down and exit with 0 or 1.
    #[arg(long, conflicts_with = "interface")]
    check: bool,
    #[command(flatten)]
    real: RealInterface,
}

/// Builds, starts, creates the demonstration; then shows what happens until Ctrl-C, or checks.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    setup::setup(setup::Scope::Everything)?;
    build::ebpf()?;
    let binary = build::lbaas(false)?;
    let interrupted = watch::Interrupt::install()?;
    let mut sandbox = Sandbox::create(&binary, args.real.given())?;
    if args.check {
        sandbox.start("server")?;
        sandbox.start("agent")?;
    } else {
        sandbox.start("all-in-one")?;
    }
    wait_for_api(&mut sandbox, &interrupted)?;
    if args.real.given().is_some() && args.real.servers.len() != 2 {
        shell::say(
            "No --servers were given, so no demonstration is created; the API is at http://127.0.0.1:9876",
        );
        return watch::until_interrupted(&mut sandbox, &interrupted);
    }
    let place = args
        .real
        .given()
        .map_or_else(Sandbox::place, lines::place_on_interface);
    let ca = TestCa::create(&sandbox.paths.ca())?;
    shell::say("creating the demonstration through the API");
    let demonstration = demo::create(&sandbox.api(), &place, &ca)?;
    if args.check {
        return check::check(&mut sandbox, &demonstration, &ca);
    }
    print(&sandbox, &demonstration, &ca);
    watch::until_interrupted(&mut sandbox, &interrupted)
}

fn print(sandbox: &Sandbox, demonstration: &Demonstration, ca: &TestCa) {
    shell::say("\nIt runs. Try, in another shell:\n");
    for line in lines::curl(demonstration, &ca.certificate()) {
        shell::say(&format!("  {:<76} # {}", line.shown(), line.expects));
    }
    shell::say(
        "\nThe openstack client (pip install python-openstackclient python-octaviaclient):\n",
    );
    shell::say("  export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9876");
    for line in lines::openstack() {
        shell::say(&format!("  {}", line.shown()));
    }
    shell::say("\nKill the active amphora (watch the change below, and the answers go on):\n");
    shell::say(&format!("  {}", lines::kill(&sandbox.paths.agent_status())));
    shell::say("\nCtrl-C takes everything down. Changes of state:\n");
}

fn wait_for_api(sandbox: &mut Sandbox, interrupted: &watch::Interrupt) -> anyhow::Result<()> {
    let api = sandbox.api();
    let answered = wait::until(READY_WITHIN, LOOK_EVERY, || {
        for process in &mut sandbox.processes {
            process.must_run()?;
        }
        if interrupted.is_set() {
            bail!("interrupted");
        }
        Ok(api.get("/").is_ok())
    })?;
    if !answered {
        bail!("the API does not answer after {READY_WITHIN:?}");
    }
    Ok(())
}
