//! Controller against a real store and a fake agent: what is sent, settled, and survives.

mod agent;
mod cases;
mod restored;
mod secrets;
mod world;
