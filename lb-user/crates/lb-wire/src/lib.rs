//! What passes between the server and the agents: messages, versions, mTLS, the internal CA.
//!
//! HTTP/2 and JSON over TLS 1.3 with certificates on both ends. An agent asks ([`message::SyncRequest`],
//! a long poll) and tells ([`message::ReportRequest`]); the server never connects to an agent.
//!
//! Invariants: everything is level-triggered, so a lost, repeated or reordered message does no harm;
//! every body has a limit; the TLS provider is named, never the process default; an agent speaks
//! only for the host its certificate names; private keys are never logged.
//!
//! Left out on purpose: what is decided from a message (lb-control, lb-agent), compression,
//! revocation (remove the agent's directory and restart with a new CA), renewal while running.

pub mod ca;
pub mod client;
pub mod error;
pub mod files;
pub mod message;
mod remembered;
pub mod server;
pub mod tls;
