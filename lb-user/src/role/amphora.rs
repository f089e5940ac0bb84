//! `lbaas amphora`: one user-space proxy, in namespaces its agent made for it. Reads no
//! configuration: everything comes over the control socket.

use std::{num::NonZeroUsize, os::fd::RawFd};

use clap::Args;

use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Inherited descriptor of the listening control socket.
    #[arg(long, value_name = "NUMBER")]
    control_fd: RawFd,
    /// Inherited descriptor of its heartbeat map.
    #[arg(long, value_name = "NUMBER")]
    heartbeat_fd: Option<RawFd>,
    /// Worker threads.
    #[arg(long, default_value = "1")]
    workers: NonZeroUsize,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    // Before anything else is opened: the numbers are the parent's.
    let control = lb_sys::inherit::take(options.control_fd).map_err(Failure::failed)?;
    let heartbeat = options
        .heartbeat_fd
        .map(lb_sys::inherit::take)
        .transpose()
        .map_err(Failure::failed)?;
    lb_sys::process::refuse_dumps().map_err(Failure::failed)?;
    lb_telemetry::logging::init();
    lb_proxy::run(lb_proxy::AmphoraArgs {
        control,
        heartbeat,
        workers: options.workers,
    })
    .map_err(Failure::failed)
}
