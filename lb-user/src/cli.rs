//! Tools for people, one file a command.

pub(crate) mod backup;
pub(crate) mod bpf;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod decap;
pub(crate) mod explain;
pub(crate) mod orphans;
pub(crate) mod policy;
pub(crate) mod status;
mod table;

use std::io::Write as _;

use crate::failure::Failure;

/// Writes to standard output; a reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}
