//! The data path's programs, links and maps in the kernel.
//!
//! [`Datapath::open`] loads the programs of this binary and opens or makes the maps pinned below
//! `<bpf_dir>/v<MAP_ABI>/`. Programs are always this binary's; a pinned link is updated in place, so
//! that a restarted agent takes over without losing a packet. Maps outlive the agent: what is in
//! them is read back ([`Datapath::read`]), compared with what must be, and changed by the
//! difference ([`Datapath::apply`]).
//!
//! Invariants:
//! - Everything is pinned before it is used, so the data path goes on without an agent.
//! - A pinned map is used only when its shape is the one this binary was built with.
//! - Words are published by one 8-byte store into mapped memory (design invariant 5).
//! - `LATCH`, counters and flows are written by the kernel, which ages flows itself; the agent only
//!   reads them, and resets what belonged to an object that is gone.
//!
//! All calls are short system calls and block; swapping a Maglev table waits some milliseconds for
//! the kernel. Interface names and indices are those of the calling thread's network namespace:
//! the agent lives in the edge's.

mod apply;
mod attach;
mod counters;
mod decap;
mod events;
mod flows;
mod heartbeat;
mod log;
mod maps;
mod object;
mod open;
mod pins;
mod read;
mod steer;

use std::{io, path::PathBuf, sync::Mutex};

pub use attach::{Attachment, XdpMode, uplink_pin};
pub use counters::ReasonCount;
pub use decap::Decap;
pub use events::Events;
pub use flows::{Flow, Flows};
pub use maps::View;

/// The loaded data path. Shared freely between tasks.
#[derive(Debug)]
pub struct Datapath {
    /// `<bpf_dir>/v<MAP_ABI>`.
    dir: PathBuf,
    programs: Mutex<aya::Ebpf>,
    maps: View,
    adopted: bool,
}

/// The kernel refused, or what is pinned is not ours.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary has no kernel programs in it.
    #[error("this lbaas was built without its XDP program; run cargo xtask build-ebpf")]
    NotBuilt,
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// aya could not load, attach or pin.
    #[error("{doing}: {source}")]
    Aya {
        /// What was tried.
        doing: String,
        /// What aya said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Pins of another layout are there.
    #[error(
        "{path} holds the data path of another version of lbaas, this one uses v{ours}: stop that version and remove {path}"
    )]
    OtherLayout {
        /// Where.
        path: PathBuf,
        /// Layout of this binary.
        ours: u32,
    },
    /// No data path of this layout is loaded.
    #[error("no data path of layout v{ours} at {path}: is the agent running, and of this version?")]
    Absent {
        /// Where it would be.
        path: PathBuf,
        /// Layout of this binary.
        ours: u32,
    },
    /// A map is not what this binary was built with.
    #[error("map {name} is {found}, but this lbaas needs {wanted}: remove {path}")]
    Shape {
        /// Which map.
        name: &'static str,
        /// What is there.
        found: String,
        /// What must be there.
        wanted: String,
        /// Directory of the pins.
        path: PathBuf,
    },
    /// The object lacks a program or map.
    #[error("the XDP object has no {0}; run cargo xtask build-ebpf")]
    Missing(&'static str),
    /// An index beyond a map's end.
    #[error("no entry {index} in map {map}")]
    OutOfBounds {
        /// Which map.
        map: &'static str,
        /// Which entry.
        index: u32,
    },
}

/// Adds what was being done.
trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            doing: what(),
            source,
        })
    }
}

/// As [`Doing`], for aya's many errors.
fn aya<E: std::error::Error + Send + Sync + 'static>(
    doing: impl FnOnce() -> String,
) -> impl FnOnce(E) -> Error {
    move |source| Error::Aya {
        doing: doing(),
        source: Box::new(source),
    }
}
