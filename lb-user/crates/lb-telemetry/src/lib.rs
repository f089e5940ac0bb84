//! Logging and tasks, the same for every role.
//!
//! Left out for now: a metrics registry and OpenTelemetry (nothing serves them yet).

pub mod logging;
pub mod sink;
pub mod task;
