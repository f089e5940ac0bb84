//! The rtnetlink requests the agent makes, in its own terms, in one namespace.

mod addresses;
mod links;
mod neighbours;

use std::fmt::Display;

use lb_sys::netns;
use rtnetlink::Handle;
use tokio::task::AbortHandle;

use crate::{Error, Result};

pub use addresses::Route;
pub use links::Link;
pub(super) use neighbours::neighbour_address;

/// linux/errno.h
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

/// Requests in one namespace.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: AbortHandle,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// In the namespace of the process.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn here() -> Result<Self> {
        let made = rtnetlink::new_connection().map_err(|error| socket_failed(&error))?;
        Ok(Self::start(made.0, made.1))
    }

    /// In a named namespace.
    ///
    /// # Errors
    /// When there is none of this name, or no socket can be opened.
    pub fn inside(name: &str) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = netns::run_in(name, || {
            // The socket registers with the runtime of whoever makes it.
            let _entered = runtime.enter();
            rtnetlink::new_connection()
        })?
        .map_err(|error| socket_failed(&error))?;
        Ok(Self::start(connection, handle))
    }

    fn start(connection: impl Future<Output = ()> + Send + 'static, handle: Handle) -> Self {
        let task = lb_telemetry::task::spawn("netlink", connection);
        Self {
            handle,
            connection: task.abort_handle(),
        }
    }
}

fn socket_failed(error: &std::io::Error) -> Error {
    Error::Other(format!("open a netlink socket: {error}"))
}

fn netlink_error(doing: impl Display) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |source| Error::Netlink {
        doing: doing.to_string(),
        source,
    }
}

fn existing_is_fine(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.is_errno(EEXIST) => Ok(()),
        other => other,
    }
}

fn absent_is_fine(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error)
            if [ENOENT, ENODEV, EADDRNOTAVAIL]
                .into_iter()
                .any(|errno| error.is_errno(errno)) =>
        {
            Ok(())
        }
        other => other,
    }
}
