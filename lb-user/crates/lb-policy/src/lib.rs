//! Who may do what: rules in oslo.policy's language, evaluated without any I/O.

mod action;

pub use action::{Access, Action, PREFIX};
