//! `cargo xtask bench api`: what the REST API does in a second.
//!
//! Release build, a simulated agent beside the server (so that every change settles), real SQLite and
//! a real PostgreSQL with `fsync` on. Eight connections, each with one request at a time. The cases
//! are those that Octavia's own API was measured with on a two-core machine with PostgreSQL and two
//! workers; its figures stand beside ours as a ratio. There is no response cache to switch off.

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, and nothing here runs under tokio"
)]

mod client;
mod fill;
mod server;

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use lb_testkit::postgres::Postgres;

use self::{
    client::{Load, Request},
    server::Servers,
};
use crate::{
    bench::row::{Row, rounded},
    build, shell,
};

#[derive(Debug, Args)]
pub struct ApiArgs {
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
    /// Seconds each case runs.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Load balancers in the store when memory and start time are taken.
    #[arg(long, default_value_t = 10_000)]
    store: usize,
    /// Only this set-up: sqlite, postgres or postgres-2.
    #[arg(long)]
    only: Option<String>,
}

/// Requests in flight, as in the measurement of Octavia.
const CONNECTIONS: usize = 8;

/// Requests per second of Octavia's API.
const OCTAVIA: [(&str, f64, f64); 5] = [
    ("list 1", 145.0, 50.0),
    ("list 100", 72.0, 15.0),
    ("list 1000", 9.2, 15.0),
    ("show", 234.0, 50.0),
    ("create tree", 6.8, 50.0),
];

/// A database and a number of server processes.
struct SetUp<'a> {
    name: &'static str,
    servers: usize,
    postgres: Option<&'a Postgres>,
}

pub fn run(args: &ApiArgs) -> anyhow::Result<()> {
    let binary = build::lbaas_release()?;
    let postgres = Postgres::start_durable()?;
    let set_ups = [
        ("sqlite", 1, None),
        ("postgres", 1, Some(&postgres)),
        ("postgres-2", 2, Some(&postgres)),
    ];
    for (name, servers, postgres) in set_ups {
        if args.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let set_up = SetUp {
            name,
            servers,
            postgres,
        };
        measure(args, &set_up, &binary)?;
    }
    Ok(())
}

fn measure(args: &ApiArgs, set_up: &SetUp<'_>, binary: &std::path::Path) -> anyhow::Result<()> {
    let mut servers = Servers::start(binary, set_up.servers, set_up.postgres)?;
    let first = fill::grow_to(&servers, 1)?;
    let show = format!("/v2/lbaas/loadbalancers/{first}");
    case(args, set_up, &servers, "show", |_| Request::get(&show))?;
    for count in [1, 100, 1000] {
        fill::grow_to(&servers, count)?;
        let name: &'static str = match count {
            1 => "list 1",
            100 => "list 100",
            _ => "list 1000",
        };
        let path = format!("/v2/lbaas/loadbalancers?limit={count}");
        case(args, set_up, &servers, name, |_| Request::get(&path))?;
    }
    case(args, set_up, &servers, "create tree", fill::tree)?;
    let pool = fill::pool(&servers)?;
    let batch = format!("/v2/lbaas/pools/{pool}/members");
    case(args, set_up, &servers, "batch 100", |n| {
        fill::batch(&batch, n)
    })?;
    active(args, set_up, &servers)?;
    stored(args, set_up, &mut servers)
}

/// One kind of request, for as long as was asked.
fn case(
    args: &ApiArgs,
    set_up: &SetUp<'_>,
    servers: &Servers,
    name: &'static str,
    request: impl Fn(usize) -> Request + Sync,
) -> anyhow::Result<()> {
    // One batch changes one load balancer: more at once would only wait for each other.
    let connections = if name == "batch 100" { 1 } else { CONNECTIONS };
    let cpu = servers.cpu()?;
    let time = Duration::from_secs(args.seconds);
    let load = Load::run(servers.addresses(), connections, time, &request)?;
    let cpu = servers.cpu()? - cpu;
    ensure!(
        load.failed == 0,
        "{name}: {} answers were no success: {}",
        load.failed,
        load.example
    );
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let done = load.latencies.len() as f64;
    let rate = done / load.elapsed.as_secs_f64();
    let mut row = Row::default()
        .with("bench", "api")
        .with("set-up", set_up.name)
        .with("case", name)
        .with("req/s", rounded(rate))
        .with("p50_ms", rounded(load.quantile(0.5)))
        .with("p99_ms", rounded(load.quantile(0.99)))
        .with(
            "server_cpu_us",
            rounded(cpu.as_secs_f64() * 1e6 / done.max(1.0)),
        );
    if let Some((_, octavia, goal)) = OCTAVIA.iter().find(|(case, ..)| *case == name) {
        row = row
            .with("octavia_x", rounded(rate / octavia))
            .with("goal_x", *goal);
    }
    row.print(args.json);
    Ok(())
}

/// From the request of a create to ACTIVE, as a client sees it that asks again at once.
fn active(args: &ApiArgs, set_up: &SetUp<'_>, servers: &Servers) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for n in 0..50 {
        let started = Instant::now();
        let id = fill::create(servers, &fill::tree(n))?;
        fill::await_active(servers, &id)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |place: usize| {
        times
            .get(place)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Row::default()
        .with("bench", "api")
        .with("set-up", set_up.name)
        .with("case", "create to ACTIVE")
        .with("p50_ms", rounded(at(25)))
        .with("p99_ms", rounded(at(49)))
        .with("goal_ms", 50)
        .print(args.json);
    Ok(())
}

/// Start time and memory with a full store.
fn stored(args: &ApiArgs, set_up: &SetUp<'_>, servers: &mut Servers) -> anyhow::Result<()> {
    shell::say(&format!(
        "filling the store to {} load balancers",
        args.store
    ));
    fill::grow_to(servers, args.store)?;
    let started = servers.restart()?;
    fill::grow_to(servers, 1)?;
    Row::default()
        .with("bench", "api")
        .with("set-up", set_up.name)
        .with("case", format!("store of {}", args.store))
        .with("start_ms", rounded(started.as_secs_f64() * 1e3))
        .with("rss_mib", rounded(servers.rss_mib()?))
        .print(args.json);
    let path = "/v2/lbaas/loadbalancers?limit=100".to_owned();
    case(args, set_up, servers, "list 100 of all", |_| {
        Request::get(&path)
    })
}
