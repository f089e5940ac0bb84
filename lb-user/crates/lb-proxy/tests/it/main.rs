//! A whole amphora on loopback: real sockets, real members, real clients.

mod bodies;
mod changes;
mod client;
mod control;
mod failures;
mod gate;
mod health;
mod http2;
mod member;
mod observed;
mod policies;
mod pools;
mod reencrypt;
mod rig;
mod serving;
mod takeover;
mod tcp;
mod tls;
mod trailers;
mod udp;
