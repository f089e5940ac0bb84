//! The project's own tool: `cargo xtask <command>`.
//!
//! Everything a person or CI does with the tree is a command here, so that the README needs two
//! lines. Commands call each other; nothing is written down twice in a script.

mod bench;
mod build;
mod build_ebpf;
mod cargo;
mod ci;
mod fuzz;
mod openstack;
mod run;
mod sandbox;
mod setup;
mod shell;
mod soak;
mod tidy;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and checks LBaaS")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing on this host: the eBPF toolchain, iproute2 and the like.
    Setup,
    /// Build the XDP programs to target/bpf/lbaas.bpf.o.
    BuildEbpf,
    /// Build everything and run the demonstration; Ctrl-C takes it down.
    Run(run::RunArgs),
    /// Run every test: pure, BPF test-run, veth, end to end, the real openstack client.
    Test(ci::TestArgs),
    /// Run clients nobody here wrote (openstacksdk, the openstack client) against a simulated server.
    Conformance,
    /// Run OpenStack's own tests of Octavia's API against a simulated server and a real Keystone.
    Tempest(ci::TempestArgs),
    /// Run the gates: fmt, tidy, clippy, deny, audit.
    Ci,
    /// Check the house rules: dependency direction, lengths, module docs, security rules.
    Tidy,
    /// Replace an earlier commit's servers and agent by this tree's, under load.
    UpgradeTest(upgrade::UpgradeArgs),
    /// One amphora under mixed load while its configuration changes every second.
    Soak(soak::SoakArgs),
    /// Fuzz what meets bytes from outside, guided by coverage.
    Fuzz(fuzz::FuzzArgs),
    /// Benchmarks: `api`, `l4`, `l7`.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::setup(setup::Scope::Everything),
        Command::BuildEbpf => build::ebpf().map(|_object| ()),
        Command::Run(args) => run::run(&args),
        Command::Test(args) => ci::test(&args),
        Command::Conformance => ci::conformance(),
        Command::Tempest(args) => ci::tempest(&args),
        Command::Ci => ci::gates(),
        Command::Tidy => tidy::tidy(),
        Command::UpgradeTest(args) => upgrade::upgrade_test(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Bench(which) => bench::bench(&which),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
