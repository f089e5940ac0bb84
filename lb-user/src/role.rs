//! What a process does for its whole life, one file a role.

pub(crate) mod access;
mod addresses;
pub(crate) mod agent;
pub(crate) mod all_in_one;
pub(crate) mod amphora;
pub(crate) mod process;
mod ready;
pub(crate) mod roles;
pub(crate) mod server;
pub(crate) mod standalone;
