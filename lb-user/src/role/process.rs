//! What every long-lived role needs of its process: privileges, a runtime, the end.

use std::{future::Future, io, net::SocketAddr, net::TcpListener};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Bits of CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF (linux/capability.h).
const AGENT_CAPABILITIES: u64 = 1 << 12 | 1 << 21 | 1 << 39;

/// Refuses in one sentence what could not work anyway.
pub(crate) fn require_root() -> Result<(), Failure> {
    if effective_capabilities() & AGENT_CAPABILITIES == AGENT_CAPABILITIES {
        return Ok(());
    }
    Err(Failure::Failed(
        "the agent needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF): run it with sudo"
            .to_owned(),
    ))
}

/// Effective capabilities of this process, by bit.
pub(crate) fn effective_capabilities() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Binds a listening socket in the namespace the process is in now.
pub(crate) fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::Failed(format!(
            "{key} = {address}: another process listens there: stop it or choose another port"
        )),
        _ => Failure::Failed(format!("{key} = {address}: {error}")),
    })
}

/// Runs `body` to its end on a new runtime; it is told to stop by SIGTERM and SIGINT.
pub(crate) fn run_until_signal<F>(body: impl FnOnce(CancellationToken) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let told = shutdown.clone();
        lb_telemetry::task::spawn("signals", async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            told.cancel();
            // Whoever asks twice does not want to wait.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("asked again: stopping at once");
            std::process::abort();
        });
        body(shutdown).await
    });
    // Blocking threads (a dialer that waits for a host which does not answer) are not waited for.
    runtime.shutdown_background();
    outcome
}
