//! `lbaas amphora`: one user-space proxy, in namespaces its agent made for it. Reads no
//! configuration: everything comes over the control socket. By hand: `--standalone`.

use std::{num::NonZeroUsize, os::fd::RawFd, path::PathBuf};

use clap::Args;

use super::standalone;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Inherited descriptor of the listening control socket.
    #[arg(long, value_name = "NUMBER", required_unless_present = "standalone")]
    control_fd: Option<RawFd>,
    /// Serve what this file says, on plain addresses, without an agent.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["control_fd", "heartbeat_fd"])]
    standalone: Option<PathBuf>,
    /// Inherited descriptor of its heartbeat map.
    #[arg(long, value_name = "NUMBER")]
    heartbeat_fd: Option<RawFd>,
    /// Inherited raw socket for SCTP monitors, one an IP version.
    #[arg(long, value_name = "NUMBER")]
    sctp_fd: Vec<RawFd>,
    /// Worker threads.
    #[arg(long, default_value = "1")]
    workers: NonZeroUsize,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let Some(control) = options.control_fd else {
        let file = options.standalone.as_deref();
        let file = file.ok_or_else(|| Failure::Usage("nothing to serve".to_owned()))?;
        return standalone::run(file, options.workers);
    };
    // Before anything else is opened: the numbers are the parent's.
    let control = lb_sys::inherit::take(control).map_err(Failure::failed)?;
    let heartbeat = options
        .heartbeat_fd
        .map(lb_sys::inherit::take)
        .transpose()
        .map_err(Failure::failed)?;
    let sctp = options.sctp_fd.iter().copied();
    let sctp = sctp.map(lb_sys::inherit::take).collect::<Result<_, _>>();
    let sctp = sctp.map_err(Failure::failed)?;
    lb_sys::process::refuse_dumps().map_err(Failure::failed)?;
    lb_telemetry::logging::init();
    // Before the first thread: all of them inherit it.
    lb_sys::seccomp::confine().map_err(Failure::failed)?;
    lb_proxy::run(lb_proxy::AmphoraArgs {
        control,
        heartbeat,
        sctp,
        workers: options.workers,
    })
    .map_err(Failure::failed)
}
