//! `cargo xtask bench api`: what the REST API does in a second.
//!
//! Release build, a simulated agent beside the server (so that every change settles), real SQLite and
//! a real PostgreSQL with `fsync` on. Eight connections, each with one request at a time. The cases
//! are those that Octavia's own API was measured with on a two-core machine with PostgreSQL and two
//! workers; its figures stand beside ours as a ratio. There is no response cache to switch off.
//!
//! Client, server and database share the machine, so beside what was done in a second stands what it
//! took: processor time of the server, of the database and of the client per request, and what share
//! of the machine's processors had other work meanwhile.

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, and nothing here runs under tokio"
)]

mod active;
mod client;
mod fill;
mod server;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use clap::Args;
use lb_testkit::postgres::Postgres;

use self::{
    client::{Load, Request},
    server::Servers,
};
use crate::{
    bench::{
        row::{Row, rounded},
        usage,
    },
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
    /// Measures this `lbaas` instead of building one: to compare two of them.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Only these: sqlite-1, postgres-1, postgres-2, agent; several between commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Keeps the log of the run with the real agent here. With LBAAS_LOG=debug in the environment it
    /// tells where the time of a create goes.
    #[arg(long)]
    logs: Option<PathBuf>,
}

/// Requests in flight, as in the measurement of Octavia.
const CONNECTIONS: usize = 8;

/// What Octavia's API did in a second, and how many times that is the goal.
const OCTAVIA: [(&str, f64, f64); 5] = [
    ("list 1", 145.0, 50.0),
    ("list 100", 72.0, 15.0),
    ("list 1000", 9.2, 15.0),
    ("show", 234.0, 50.0),
    ("create tree", 6.8, 50.0),
];
/// Goal of the slowest of a hundred lists of 100, in milliseconds.
const P99_GOAL: (&str, f64) = ("list 100", 10.0);
/// Goal from the request of a create to ACTIVE, in milliseconds.
const ACTIVE_GOAL: f64 = 50.0;

/// A database and a number of server processes.
struct SetUp<'a> {
    mode: &'static str,
    engine: &'static str,
    servers: usize,
    postgres: Option<&'a Postgres>,
}

pub fn run(args: &ApiArgs) -> anyhow::Result<()> {
    let binary = match &args.binary {
        Some(given) => given.clone(),
        None => build::lbaas_release()?,
    };
    let wanted = |mode| args.only.is_empty() || args.only.iter().any(|only| only == mode);
    let postgres = Postgres::start_durable()?;
    let set_ups = [
        ("sqlite-1", "sqlite", 1, None),
        ("postgres-1", "postgres", 1, Some(&postgres)),
        ("postgres-2", "postgres", 2, Some(&postgres)),
    ];
    for (mode, engine, servers, postgres) in set_ups {
        let set_up = SetUp {
            mode,
            engine,
            servers,
            postgres,
        };
        if wanted(mode) {
            measure(args, &set_up, &binary)?;
        }
    }
    if wanted("agent") {
        for row in active::with_real_agent(&binary, args.logs.as_deref())? {
            row.print(args.json);
        }
    }
    Ok(())
}

impl SetUp<'_> {
    fn row(&self, case: impl Into<String>) -> Row {
        Row::default()
            .with("bench", "api")
            .with("mode", self.mode)
            .with("case", case.into())
            .with("engine", self.engine)
            .with("servers", self.servers)
    }
}

fn measure(args: &ApiArgs, set_up: &SetUp<'_>, binary: &Path) -> anyhow::Result<()> {
    let mut servers = Servers::start(binary, set_up.servers, set_up.postgres)?;
    let first = fill::grow_to(&servers, 1)?;
    let show = format!("/v2/lbaas/loadbalancers/{first}");
    case(args, set_up, &servers, "show", |_| Request::get(&show))?;
    for (name, count) in [("list 1", 1), ("list 100", 100), ("list 1000", 1000)] {
        fill::grow_to(&servers, count)?;
        let path = format!("/v2/lbaas/loadbalancers?limit={count}");
        case(args, set_up, &servers, name, |_| Request::get(&path))?;
    }
    case(args, set_up, &servers, "create tree", fill::tree)?;
    fill::await_settled(&servers)?;
    let pool = fill::pool(&servers)?;
    let batch = format!("/v2/lbaas/pools/{pool}/members");
    case(args, set_up, &servers, "batch 100", |n| {
        fill::batch(&batch, n)
    })?;
    let mut client = fill::client(&servers)?;
    let times = active::times(&mut client, fill::tree)?;
    active::row(set_up.row("create to ACTIVE"), &times).print(args.json);
    stored(args, set_up, &mut servers)
}

/// What was spent by whom until now.
struct Spent {
    server: Duration,
    database: Duration,
    client: Duration,
    machine: Duration,
}

impl Spent {
    fn now(set_up: &SetUp<'_>, servers: &Servers) -> anyhow::Result<Self> {
        let database = set_up
            .postgres
            .map(|postgres| usage::of_family(postgres.pid()));
        Ok(Self {
            server: usage::of(&servers.pids())?,
            database: database.transpose()?.unwrap_or_default(),
            client: usage::of(&[std::process::id()])?,
            machine: usage::of_machine()?,
        })
    }

    fn since(self, before: &Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            database: self.database.saturating_sub(before.database),
            client: self.client.saturating_sub(before.client),
            machine: self.machine.saturating_sub(before.machine),
        }
    }

    /// Per request, and the share of the machine that others had.
    fn columns(&self, row: Row, requests: f64, elapsed: Duration) -> anyhow::Result<Row> {
        let each = |time: Duration| rounded(time.as_secs_f64() * 1e6 / requests.max(1.0));
        let ours = self.server + self.database + self.client;
        let processors = std::thread::available_parallelism()?.get();
        #[expect(clippy::cast_precision_loss, reason = "a number of processors")]
        let all = elapsed.as_secs_f64() * processors as f64;
        let others = self.machine.saturating_sub(ours).as_secs_f64() / all;
        Ok(row
            .with("server_cpu_us", each(self.server))
            .with("database_cpu_us", each(self.database))
            .with("client_cpu_us", each(self.client))
            .with("others_pct", rounded(others * 100.0)))
    }
}

/// One kind of request, for as long as was asked.
fn case(
    args: &ApiArgs,
    set_up: &SetUp<'_>,
    servers: &Servers,
    name: &str,
    request: impl Fn(usize) -> Request + Sync,
) -> anyhow::Result<()> {
    // One batch changes one load balancer: more at once would only wait for each other.
    let connections = if name == "batch 100" { 1 } else { CONNECTIONS };
    let before = Spent::now(set_up, servers)?;
    let time = Duration::from_secs(args.seconds);
    let load = Load::run(servers.addresses(), connections, time, &request)?;
    let spent = Spent::now(set_up, servers)?.since(&before);
    ensure!(
        load.failed == 0,
        "{name}: {} answers were no success: {}",
        load.failed,
        load.example
    );
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let done = load.latencies.len() as f64;
    let rate = done / load.elapsed.as_secs_f64();
    let mut row = set_up
        .row(name)
        .with("rps", rounded(rate))
        .with("p50_ms", rounded(load.quantile(0.5)))
        .with("p99_ms", rounded(load.quantile(0.99)));
    row = spent.columns(row, done, load.elapsed)?;
    if let Some((_, octavia, times)) = OCTAVIA.iter().find(|(case, ..)| *case == name) {
        let goal = octavia * times;
        row = row
            .with("goal", rounded(goal))
            .with("goal_x", *times)
            .with("octavia_x", rounded(rate / octavia))
            .with("met", rate >= goal);
    }
    if name == P99_GOAL.0 {
        row = row.with("goal_p99_ms", P99_GOAL.1);
    }
    row.print(args.json);
    Ok(())
}

/// Start time and memory with a full store.
fn stored(args: &ApiArgs, set_up: &SetUp<'_>, servers: &mut Servers) -> anyhow::Result<()> {
    shell::say(&format!(
        "filling the store to {} load balancers",
        args.store
    ));
    fill::grow_to(servers, args.store)?;
    let grown = servers.rss_mib()?;
    let started = servers.restart()?;
    fill::await_settled(servers)?;
    let path = "/v2/lbaas/loadbalancers?limit=100";
    case(args, set_up, servers, "list 100 of all", |_| {
        Request::get(path)
    })?;
    set_up
        .row(format!("store of {}", args.store))
        .with("start_ms", rounded(started.as_secs_f64() * 1e3))
        .with("rss_mib", rounded(servers.rss_mib()?))
        .with("rss_mib_grown", rounded(grown))
        .print(args.json);
    Ok(())
}
