//! The whole product from outside: server and agent as processes, real namespaces, real packets,
//! the real `openstack` client. One system at a time: these tests measure times.

mod addresses;
mod change;
mod from_disk;
mod link;
mod look;
mod openstack;
mod refusals;
mod removal;
mod restart;
mod spares;
mod usage;
mod world;
