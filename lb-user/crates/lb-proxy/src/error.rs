//! What can end an amphora as a whole. Errors of a connection or request never do.

use std::io;

/// Why the process could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The inherited descriptor cannot be listened on.
    #[error("the control socket cannot be used")]
    ControlSocket {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A runtime or thread could not be made.
    #[error("{what} could not be started")]
    Start {
        /// Which part.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The heartbeat page could not be mapped.
    #[error("the heartbeat page cannot be mapped")]
    Heartbeat {
        /// What the kernel said.
        #[source]
        source: lb_sys::Error,
    },
    /// The amphora that was to be taken over did not hand over.
    #[error("the running amphora does not hand over")]
    TakeOver {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A worker ended although nobody asked it to: the supervisor shall start a new amphora.
    #[error("worker {index} ended by itself")]
    WorkerLost {
        /// Which worker.
        index: usize,
    },
}
