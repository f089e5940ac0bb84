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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;

    /// What a connection holds while it is open.
    struct Held(Rc<Cell<u32>>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_panic_ends_its_own_task_and_gives_back_what_that_held() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let given_back = Rc::new(Cell::new(0));
        let held = Held(Rc::clone(&given_back));
        LocalSet::new().block_on(&runtime, async move {
            let panics = spawn_local("test", async move {
                let _held = held;
                tokio::task::yield_now().await;
                assert_eq!(1 + 1, 3, "on purpose");
            });
            let goes_on = spawn_local("test", async {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                7
            });
            assert_eq!(panics.await.expect("caught"), None);
            assert_eq!(goes_on.await.expect("runs"), Some(7));
            assert_eq!(given_back.get(), 1);
        });
    }
}
