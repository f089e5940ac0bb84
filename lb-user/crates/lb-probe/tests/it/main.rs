//! Probes against real sockets on loopback.

mod kinds;
mod probing;
