//! A deadline of something that waits.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is set when something starts to wait.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Ready when `after` has passed since this began to be asked.
    pub(super) fn poll(&mut self, after: Duration, cx: &mut Context<'_>) -> Poll<()> {
        self.0
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + after)))
            .as_mut()
            .poll(cx)
    }

    pub(super) fn set(&mut self, deadline: Instant) {
        self.0 = Some(Box::pin(sleep_until(deadline)));
    }
}
