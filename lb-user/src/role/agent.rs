//! `lbaas agent`.
use crate::{config::Config, failure::Failure};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// On SIGINT or SIGTERM, remove everything from the host instead of leaving it running.
    #[arg(long)]
    pub(crate) teardown: bool,
}

pub(crate) fn run(_config: &Config, _options: &Options) -> Result<(), Failure> {
    Err(Failure::Failed("not wired up yet".to_owned()))
}
