//! The process as a whole: control runtime, workers, end.

use std::{num::NonZeroUsize, os::fd::OwnedFd};

use crate::Error;

/// What the supervisor hands to a new amphora.
#[derive(Debug)]
pub struct AmphoraArgs {
    /// A listening Unix stream socket; agents connect to it.
    pub control: OwnedFd,
    /// The amphora's page of the heartbeat map; without it nothing is stamped.
    pub heartbeat: Option<OwnedFd>,
    /// Worker threads; the default is one.
    pub workers: NonZeroUsize,
}

/// Serves until told to shut down, or until SIGTERM.
///
/// # Errors
///
/// See [`Error`]; a connection's or a request's failure is none.
pub fn run(args: AmphoraArgs) -> Result<(), Error> {
    drop(args);
    Ok(())
}
