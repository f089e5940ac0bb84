//! A process held by descriptor: no race with reuse of its number.
//!
//! The descriptor becomes readable when the process has ended, for children and strangers alike, so
//! an event loop can wait for it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
};

use crate::{Doing as _, Result};

/// Signals the agent sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// Ends it at once.
    Kill,
    /// Asks it to end.
    Terminate,
    /// Stops it (tests).
    Stop,
    /// Lets it go on (tests).
    Continue,
}

/// One process.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    pid: u32,
}

impl Pidfd {
    /// Of a process number. To be sure it is the one meant, compare [`start_time`] afterwards.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn open(pid: u32) -> Result<Self> {
        let doing = || format!("open process {pid}");
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            .doing(doing)?;
        let fd = rustix::process::pidfd_open(number, PidfdFlags::NONBLOCK).doing(doing)?;
        Ok(Self { fd, pid })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Another descriptor of it, for an event loop.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().doing(|| "copy a pidfd")?;
        Ok(Self { fd, pid: self.pid })
    }

    /// Sends a signal. A process that has ended is fine.
    ///
    /// # Errors
    /// When we may not.
    pub fn send(&self, signal: Send) -> Result<()> {
        let number = match signal {
            Send::Kill => Signal::KILL,
            Send::Terminate => Signal::TERM,
            Send::Stop => Signal::STOP,
            Send::Continue => Signal::CONT,
        };
        match rustix::process::pidfd_send_signal(&self.fd, number) {
            Err(Errno::SRCH) | Ok(()) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("signal process {}", self.pid)),
        }
    }

    /// Waits until it has ended; `false`: it has not within `limit`.
    ///
    /// # Errors
    /// When the kernel refuses to poll.
    pub fn wait_ended(&self, limit: Duration) -> Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&timeout))
            .map(|ready| ready > 0)
            .doing(|| format!("wait for process {}", self.pid))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.wait_ended(Duration::ZERO).unwrap_or(true)
    }

    /// Takes its exit status off the kernel when it is our child and has ended; `false`: it is not
    /// ours (an earlier agent started it, and init reaps it) or still runs.
    #[must_use]
    pub fn reap(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        matches!(
            rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), options),
            Ok(Some(_))
        )
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// When a process started, in clock ticks since boot: with its number it names one process for
/// ever. `None`: there is no such process.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is in parentheses and may hold anything, also spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "reaped through the pidfd")]
    fn end_of_a_process_is_seen_and_reaped() {
        let child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = child.id();
        let process = Pidfd::open(pid).unwrap();
        assert!(!process.has_ended());
        let started = start_time(pid).unwrap();
        assert!(started > 0);
        assert_eq!(start_time(pid), Some(started));
        process.send(Send::Kill).unwrap();
        assert!(process.wait_ended(Duration::from_secs(5)).unwrap());
        assert!(process.reap());
        assert_eq!(start_time(pid), None);
        process.send(Send::Kill).unwrap();
    }
}
