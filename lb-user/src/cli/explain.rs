//! `lbaas explain`: what becomes of something, and why.

mod flow;
mod request;

use clap::Subcommand;

use crate::{
    config::{Config, ConfigError},
    failure::Failure,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A request: which policy, which rules, which pool.
    Request(request::Options),
    /// A packet: which VIP, listener and member, what is rewritten, or why it is dropped.
    Flow(flow::Options),
}

/// `load` reads the configuration, for what needs it.
pub(crate) fn run(
    command: &Command,
    load: impl FnOnce() -> Result<Config, ConfigError>,
) -> Result<(), Failure> {
    match command {
        Command::Request(options) => request::run(options, load),
        Command::Flow(options) => flow::run(options, &load()?),
    }
}
