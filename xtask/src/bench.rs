//! Benchmarks. Each prints a table, and with `--json` one object a row.

mod api;
mod l4;
mod l7;
mod row;
mod usage;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The REST API: requests per second and latency, on SQLite and PostgreSQL, with one and two
    /// server processes.
    Api(api::ApiArgs),
    /// The amphora: CPU per request, latency and memory, beside HAProxy and nginx.
    L7(l7::L7Args),
    /// The XDP data path: nanoseconds a packet, or (`--load-only`) the program ready to be measured.
    L4(l4::L4Args),
}

pub fn bench(which: &Bench) -> anyhow::Result<()> {
    match which {
        Bench::Api(args) => api::run(args),
        Bench::L7(args) => l7::run(args),
        Bench::L4(args) => l4::run(args),
    }
}
