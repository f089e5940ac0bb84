//! Towards members: connections, their reuse, retries, and both bodies.
//!
//! What may be repeated is decided by what is known to have happened ([`forward::Lost`]). Nothing was
//! sent (no connection, or a pooled one found closed before the first byte): always safe. Everything
//! may have been sent on a pooled connection that then closed without a byte of an answer: safe if the
//! method is idempotent and there is no body. Anything else: no.
//!
//! A connection that began with a PROXY header, or on which a member offered Negotiate or NTLM, stays
//! with its client ([`Key::owner`]).

mod body;
pub(crate) mod connect;
mod forward;
mod http1;
mod idle;
mod kept;
mod metered;
pub(crate) mod proxy_header;
mod tunnel;
mod wire;

pub(crate) use body::{Download, DownloadError, Upload};
pub(crate) use forward::{Exchange, Failure, forward};
pub(crate) use idle::{IdleConnections, Key};
pub(crate) use kept::{Cookie, Kept};
