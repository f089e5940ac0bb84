//! Benchmarks. Each prints a table, and with `--json` one object a row.

mod api;
mod row;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The REST API: requests per second and latency, on SQLite and PostgreSQL, with one and two
    /// server processes.
    Api(api::ApiArgs),
}

pub fn bench(which: &Bench) -> anyhow::Result<()> {
    match which {
        Bench::Api(args) => api::run(args),
    }
}
