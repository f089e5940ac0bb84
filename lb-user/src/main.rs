//! `lbaas`: every role and every tool is a subcommand. This file is the table of contents.

mod cli;
mod config;
mod failure;
mod role;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, Sources},
    failure::Failure,
};

/// Load balancer as a service: Octavia's API, packets steered by XDP.
#[derive(Debug, Parser)]
#[command(name = "lbaas", version, max_term_width = 100)]
struct Arguments {
    /// Configuration file; /etc/lbaas/lb.toml when it exists.
    #[arg(long, global = true, value_name = "FILE", env = "LBAAS_CONFIG")]
    config: Option<PathBuf>,
    /// One setting over file and environment, such as api.listen=127.0.0.1:9876; repeatable.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// API, reconciler, health manager and housekeeping.
    Server(role::roles::Options),
    /// XDP, addresses and amphorae of this host.
    Agent(role::agent::Options),
    /// Server and agent in one process, for one host.
    AllInOne(role::all_in_one::Options),
    /// One amphora; started by the agent only.
    #[command(hide = true)]
    Amphora(role::amphora::Options),
    /// What this host lacks to carry load balancers.
    Check,
    /// Load balancers and amphorae, as the API tells them.
    Status,
    /// On a member: opens the tunnels of DSR over IPIP, where there is no tunnel device.
    Decap(cli::decap::Options),
    /// What the data path's maps hold.
    Bpf(cli::bpf::Options),
    /// Writes database, keys and CA into one file, while servers run.
    Backup(cli::backup::Options),
    /// Puts a backup back; servers must not run.
    Restore(cli::backup::Options),
    /// What hosts carry and a restored database does not know.
    Orphans {
        #[command(subcommand)]
        command: Option<cli::orphans::Command>,
    },
    /// What becomes of something, and why; asked on the host that carries it.
    #[command(subcommand)]
    Explain(cli::explain::Command),
    /// The settings in force.
    #[command(subcommand)]
    Config(cli::config::Command),
    /// The rules of access in force.
    #[command(subcommand)]
    Policy(cli::policy::Command),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return Failure::Usage(error.to_string()).report();
        }
        // --help and --version.
        Err(text) => {
            return match text.print() {
                Ok(()) => ExitCode::SUCCESS,
                Err(_closed) => ExitCode::FAILURE,
            };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let simulated = matches!(&arguments.command, Command::AllInOne(options) if options.simulate);
    let sources = Sources {
        file: arguments.config,
        settings: arguments.settings,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        simulated,
    };
    let load = || Config::load(&sources);
    match arguments.command {
        Command::Server(options) => role::server::run(&load()?, &options),
        Command::Agent(options) => role::agent::run(&load()?, &options),
        Command::AllInOne(options) => role::all_in_one::run(&load()?, &options),
        Command::Amphora(options) => role::amphora::run(&options),
        Command::Check => cli::check::run(&load()?),
        Command::Status => cli::status::run(&load()?),
        Command::Decap(options) => cli::decap::run(&options),
        Command::Bpf(options) => cli::bpf::run(&options, &load()?),
        Command::Backup(options) => cli::backup::write(&options, &load()?),
        Command::Restore(options) => cli::backup::restore(&options, &load()?),
        Command::Orphans { command } => cli::orphans::run(command.as_ref(), &load()?),
        Command::Policy(command) => cli::policy::run(&command, &load()?),
        Command::Explain(command) => cli::explain::run(&command, load),
        Command::Config(command) => cli::config::run(&command, &sources),
    }
}
