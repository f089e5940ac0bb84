//! The kernel interfaces that need `unsafe` or a thread of their own: the only place in user space
//! where either is.
//!
//! What: network namespaces, heartbeat pages, pidfds, starting an amphora, clocks, offload switches
//! of interfaces, unix sockets that are handed down, announcing addresses.
//!
//! Invariants: each `unsafe` has its SAFETY line; nothing here knows load balancers; nothing is
//! async (callers wrap descriptors or use a blocking thread). A thread that has entered a namespace
//! is never reused: it ends with the closure it was made for.

pub mod bind;
pub mod bpf;
pub mod carrier;
pub mod clock;
pub mod heartbeat;
pub mod iface;
pub mod inherit;
pub mod netns;
pub mod pidfd;
pub mod process;
pub mod processor;
pub mod raw;
pub mod realtime;
pub mod rights;
pub mod seccomp;
pub mod splice;
pub mod unix;
pub mod xdp;

use std::{fmt::Display, io};

/// A kernel interface refused; says what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct Error {
    /// What was tried, with its operands.
    pub doing: String,
    /// What the kernel said.
    pub source: io::Error,
}

impl Error {
    /// The kernel's error number, when it was one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Kind of the kernel's error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds what was being done to a kernel error.
pub(crate) trait Doing<T> {
    fn doing<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|source| Error {
            doing: what().to_string(),
            source: source.into(),
        })
    }
}
