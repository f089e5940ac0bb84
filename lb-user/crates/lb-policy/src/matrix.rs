//! What a caller may, as a table: every action, on objects of its own project and of another.

use crate::{action::Action, credentials::Credentials, policy::Policy};

/// A project that is nobody's.
const OTHER: &str = "another-project";

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What.
    pub action: Action,
    /// Whether on objects of the caller's project.
    pub own: bool,
    /// Whether on objects of another one.
    pub other: bool,
}

/// The table for a caller. Whether it is admin is worked out here.
#[must_use]
pub fn matrix(policy: &Policy, caller: &Credentials<'_>) -> Vec<Row> {
    let caller = Credentials {
        is_admin: caller.is_admin || policy.is_admin(caller),
        ..*caller
    };
    let rows = Action::ALL.iter().map(|&action| Row {
        action,
        own: policy.allows(action, &caller, caller.project_id),
        other: policy.allows(action, &caller, Some(OTHER)),
    });
    rows.collect()
}
