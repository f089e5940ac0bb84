//! A whole amphora on loopback: real sockets, real members, real clients.

mod changes;
mod client;
mod control;
mod failures;
mod gate;
mod health;
mod member;
mod policies;
mod pools;
mod rig;
mod serving;
mod tcp;
mod tls;
