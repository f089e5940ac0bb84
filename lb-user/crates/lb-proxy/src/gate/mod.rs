//! The strict gate: every request head is read byte for byte before hyper sees it.
//!
//! Why: two parsers that disagree about where a request ends are how requests are smuggled, and
//! hyper's accepts what others do not (bare LF, odd framing). The gate stands between socket and
//! hyper, follows the framing of the whole connection, and lets through only bytes that have one
//! meaning: exactly one Host, one framing, token names, no bare CR, LF or NUL, origin or absolute
//! form ([`head`]); chunk sizes that are plain hexadecimal ([`chunked`]).
//!
//! How a refusal reaches the client in order, after the answers to requests before it: the gate hands
//! hyper a placeholder request in place of the refused one ([`PLACEHOLDER_METHOD`], which no client
//! can send), and the service answers it with the refusal's status. In the middle of a body the read
//! fails instead and the service, whose forwarding then fails, asks [`GateState::refusal`].
//!
//! The gate also keeps the client's times: for a head as a whole, between the bytes of a body, idle
//! between requests, and for taking what we write.

pub(crate) mod chunked;
pub(crate) mod head;
mod io;
mod state;
#[cfg(test)]
mod tests;
mod timer;

pub(crate) use head::Refusal;
pub(crate) use io::Gated;
pub(crate) use state::GateState;

/// Method of the request that stands in for a refused one.
pub(crate) const PLACEHOLDER_METHOD: &str = "REFUSED-BY-GATE";

/// Longest head, in bytes: request line, headers and the empty line.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;

/// Most header lines in a head.
pub(crate) const HEADERS_MAX: usize = 128;
