//! One amphora process each: started, adopted after a restart of the agent, configured, watched,
//! killed.
//!
//! The process outlives the agent. What a new agent needs to find it again is its number with its
//! start time, in a file beside the control socket; the socket itself was bound by the agent that
//! started it and is connected to again by path.

mod cgroup;
mod control;
mod process;
mod state;
mod task;

pub use state::{Event, State};
pub use task::{Amphora, Command, Events, Told, events};

pub(crate) use process::{Files, kill_strays, recorded_spare, start_spare};
