//! What is known of a request when it has been answered.

use std::cell::Cell;

use lb_model::id::{MemberId, PoolId};

use crate::upstream::Cookie;

/// Noted while a request is on its way.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub(crate) pool: Cell<Option<PoolId>>,
    pub(crate) member: Cell<Option<MemberId>>,
    pub(crate) cookie: Cell<Cookie>,
}
