//! Futures whose type says only what comes of them.
//!
//! Why: an `async fn` is compiled again in every crate and for every closure type that awaits it,
//! with all that it awaits itself. What is behind one of these is compiled once, here; and who awaits
//! it holds a pointer, not room for the largest statement there is.

use std::pin::Pin;

/// A future on the heap: what is awaited, and nothing of how it comes about.
pub type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;
