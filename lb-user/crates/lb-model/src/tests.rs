//! Behaviour of the whole crate, by resource: requests as JSON in, faults and statuses out.

mod capability;
mod capability_all;
mod capability_listener;
mod coverage;
mod l7;
mod listener;
mod load_balancer;
mod member;
mod monitor;
mod pool;
mod render;
mod requests;
mod rollup;
mod secrets;
mod settle;
mod tls_options;
mod tree_create;
mod vip;
