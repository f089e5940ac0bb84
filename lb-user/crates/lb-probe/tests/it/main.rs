//! Probes against real sockets on loopback.

mod probing;
