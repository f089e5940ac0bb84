//! `lbaas server`.
use crate::{config::Config, failure::Failure};
pub(crate) fn run(_config: &Config) -> Result<(), Failure> {
    Err(Failure::Failed("not wired up yet".to_owned()))
}
