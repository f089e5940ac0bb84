//! What can go wrong here; all of it is tried again by itself.

use lb_store::StoreError;

/// A step that could not be done now.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}
