//! Towards members: connections, their reuse, retries, and both bodies.
//!
//! What may be repeated is decided by what is known to have happened. Nothing was sent (no
//! connection, or a pooled one found closed before the first byte): always safe. Everything may have
//! been sent on a pooled connection that then closed without an answer: safe if the method is
//! idempotent and there is no body. Anything else: no.

mod body;
mod forward;
mod idle;
mod tunnel;

pub(crate) use body::{Download, DownloadError, Upload};
pub(crate) use forward::{Exchange, forward};
pub(crate) use idle::{IdleConnections, Key};
