//! What tests and the sandbox of `cargo xtask run` stand on: network namespaces joined as the data
//! path needs them, its programs loaded without an agent, application servers and clients inside them, an outsider's API client, request
//! loops, certificates, and the demonstration.
//!
//! Everything made here has a name with the maker's process id, is removed by dropping the value
//! that stands for it, and leftovers of a crashed maker are removed by [`topology::remove_stale`].
//! No async runtime: threads, because a thread is what can be inside a namespace.

pub mod api;
pub mod backend;
pub mod barbican;
pub mod certs;
pub mod client;
pub mod command;
pub mod datagrams;
pub mod datapath;
pub mod demo;
pub mod keystone;
pub mod load;
pub mod postgres;
pub mod python;
pub mod system;
pub mod topology;
pub mod wait;

use std::sync::atomic::{AtomicU32, Ordering};

/// Set to make a missing privilege a failure instead of a skipped test.
pub const REQUIRE_ROOT_VARIABLE: &str = "LBAAS_TEST_REQUIRE_ROOT";

/// `true` when this process may make namespaces and load BPF programs. Without: says loudly that
/// the test named `test` is skipped, or fails it when [`REQUIRE_ROOT_VARIABLE`] is set.
///
/// # Errors
/// Without privileges, when they are required.
pub fn require_root(test: &str) -> anyhow::Result<bool> {
    let capabilities = rustix::thread::capabilities(None)?;
    let needed =
        rustix::thread::CapabilitySet::NET_ADMIN | rustix::thread::CapabilitySet::SYS_ADMIN;
    if capabilities.effective.contains(needed) {
        return Ok(true);
    }
    anyhow::ensure!(
        std::env::var_os(REQUIRE_ROOT_VARIABLE).is_none(),
        "{test} needs root, and {REQUIRE_ROOT_VARIABLE} is set"
    );
    tell(&format!(
        "SKIPPED {test}: needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN)"
    ));
    Ok(false)
}

/// A name no other process and no other call has: `PREFIX-PID-COUNT`.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn tell(line: &str) {
    eprintln!("{line}");
}
