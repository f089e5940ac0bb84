//! One line a record on standard error, filtered by `LBAAS_LOG` (tracing's filter language).

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts logging for this process. A second call changes nothing.
pub fn init() {
    let filter =
        EnvFilter::try_from_env("LBAAS_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(
            fmt::layer()
                .with_writer(std::io::stderr)
                // Colours are for people, not for files.
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(true),
        )
        .try_init();
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
