//! Support for tests and for the sandbox: an outsider's API client, request loops, certificates,
//! and the demonstration.

pub mod api;
pub mod certs;
pub mod demo;
pub mod load;
pub mod wait;
