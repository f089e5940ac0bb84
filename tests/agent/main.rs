//! An agent with specs on disk and no server: real XDP, real amphorae, real packets. Below the
//! whole product, so that what goes wrong here is the agent's, the amphora's or the data path's.

mod carry;
mod freeze;
mod udp;
mod world;
