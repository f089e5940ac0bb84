//! Why the agent could not do what it must.

use std::{io, path::PathBuf};

/// Of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A namespace, process or interface.
    #[error(transparent)]
    Sys(#[from] lb_sys::Error),
    /// The data path.
    #[error(transparent)]
    Datapath(#[from] crate::bpf::Error),
    /// The way to the server.
    #[error(transparent)]
    Wire(#[from] lb_wire::error::WireError),
    /// Netlink refused.
    #[error("{doing}: {source}")]
    Netlink {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// A file of ours.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of ours that does not hold what it should.
    #[error("{}: {source}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// An encrypted file of ours, or its key.
    #[error("{} {why}", path.display())]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An interface of the configuration is not there.
    #[error("interface {name} of [[agent.interfaces]] does not exist in the edge namespace")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// Something else that is said in one sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Whether the kernel refused a netlink request with this errno.
    #[must_use]
    pub fn is_errno(&self, errno: i32) -> bool {
        matches!(self, Self::Netlink { source: rtnetlink::Error::NetlinkError(message), .. }
            if message.raw_code() == -errno)
    }
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;
