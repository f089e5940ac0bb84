//! The one way to start a task: it has a name, and its panic is told.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Spawns `future` under `name`. A panic inside is logged with the name and ends the task with
/// `None`; the process lives on. Aborting the handle aborts the future.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what everyone else is sent to"
    )]
    tokio::spawn(guarded(name, future))
}

/// As [`spawn`], on the current thread's [`tokio::task::LocalSet`], for futures that stay there.
pub fn spawn_local<F>(name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(guarded(name, future))
}

fn guarded<F: Future>(name: &'static str, future: F) -> impl Future<Output = Option<F::Output>> {
    let span = tracing::debug_span!("task", name);
    // No async block: that would hold the future twice, as what it is given and as what it waits for.
    let guarded = AssertUnwindSafe(future).catch_unwind().map(move |output| {
        if output.is_err() {
            tracing::error!(task = name, "task panicked");
        }
        output.ok()
    });
    guarded.instrument(span)
}
