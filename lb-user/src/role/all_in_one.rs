//! `lbaas all-in-one`.
use super::agent::Options;
use crate::{config::Config, failure::Failure};
pub(crate) fn run(_config: &Config, _options: &Options) -> Result<(), Failure> {
    Err(Failure::Failed("not wired up yet".to_owned()))
}
