//! `lbaas config`: what is set, and whether it is right.

use clap::Subcommand;

use crate::{
    cli::print,
    config::{Config, Sources},
    failure::Failure,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints the settings in force as a configuration file.
    Show {
        /// The defaults instead, whatever file and environment say.
        #[arg(long)]
        defaults: bool,
    },
    /// Says whether the configuration is right; exit code 64 when it is not.
    Check,
}

pub(crate) fn run(command: &Command, sources: &Sources) -> Result<(), Failure> {
    match command {
        Command::Show { defaults: true } => print(&Config::defaults()?.to_toml()),
        Command::Show { defaults: false } => print(&Config::load(sources)?.to_toml()),
        Command::Check => {
            Config::load(sources)?;
            print("The configuration is right.\n")
        }
    }
}
