//! `lbaas amphora`: one user-space proxy, in namespaces its agent made for it. Reads no
//! configuration: everything comes over the control socket. By hand: `--standalone`.

use std::{num::NonZeroUsize, os::fd::RawFd, path::PathBuf, time::Duration};

use clap::Args;

use super::standalone;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Inherited descriptor of the listening control socket.
    #[arg(long, value_name = "NUMBER", required_unless_present_any = ["standalone", "take_over_fd"])]
    control_fd: Option<RawFd>,
    /// Inherited connection to the control socket of a running amphora: take its place, on its
    /// descriptors, while it finishes what it has.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["control_fd", "heartbeat_fd", "sctp_fd"])]
    take_over_fd: Option<RawFd>,
    /// Serve what this file says, on plain addresses, without an agent.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["control_fd", "heartbeat_fd"])]
    standalone: Option<PathBuf>,
    /// Of a standalone amphora: listen here for one that is to take its place.
    #[arg(long, value_name = "PATH", requires = "standalone")]
    control: Option<PathBuf>,
    /// Take the place of the standalone amphora that listens on the control socket.
    #[arg(long, requires = "control")]
    take_over: bool,
    /// Once its place is taken, connections may go on for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = lb_proxy::DRAIN_WITHIN.as_secs())]
    drain_within: u64,
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
    let drain_within = Duration::from_secs(options.drain_within);
    if let Some(file) = &options.standalone {
        let place = standalone::Place {
            control: options.control.clone(),
            take_over: options.take_over,
            workers: options.workers,
            drain_within,
        };
        return standalone::run(file, &place);
    }
    // Before anything else is opened: the numbers are the parent's.
    let take = |number: Option<RawFd>| number.map(lb_sys::inherit::take).transpose();
    let control = take(options.control_fd).map_err(Failure::failed)?;
    let predecessor = take(options.take_over_fd).map_err(Failure::failed)?;
    let heartbeat = take(options.heartbeat_fd).map_err(Failure::failed)?;
    let sctp = options.sctp_fd.iter().copied();
    let sctp = sctp.map(lb_sys::inherit::take).collect::<Result<_, _>>();
    let sctp = sctp.map_err(Failure::failed)?;
    lb_sys::process::refuse_dumps().map_err(Failure::failed)?;
    lb_telemetry::logging::init();
    // Before the first thread: all of them inherit it.
    lb_sys::seccomp::confine().map_err(Failure::failed)?;
    let mut args = match (control, predecessor) {
        (_, Some(predecessor)) => {
            lb_proxy::AmphoraArgs::succeed(predecessor, options.workers).map_err(Failure::failed)?
        }
        (Some(control), None) => lb_proxy::AmphoraArgs {
            heartbeat,
            sctp,
            ..lb_proxy::AmphoraArgs::new(control, options.workers)
        },
        (None, None) => return Err(Failure::Usage("nothing to serve".to_owned())),
    };
    args.drain_within = drain_within;
    lb_proxy::run(args).map_err(Failure::failed)
}
