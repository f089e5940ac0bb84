//! From the request of a create to ACTIVE, as a client sees it that asks again at once.
//!
//! With the simulated agent it is what server and database take. With the real one, in a sandbox of
//! namespaces, it is also namespaces, amphora processes and map entries: a load balancer with a
//! listener, a pool and two members, whose amphorae run and are reachable.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use lb_testkit::{
    system::{
        System,
        config::{self, Place},
    },
    topology::{ClientSide, Topology},
    wait,
};
use serde_json::{Value, json};

use super::{
    ACTIVE_GOAL,
    client::{Client, Request},
    fill,
};
use crate::bench::row::{Row, rounded};

/// Load balancers that are made, one after the other.
const COUNT: usize = 50;
/// With the real agent, whose sandbox has few addresses.
const COUNT_REAL: usize = 14;
/// And at once, without waiting for spare amphorae.
const COUNT_AT_ONCE: usize = 6;
/// Amphorae that an agent keeps ready when its configuration says nothing.
const SPARES: usize = 4;
/// They are there again within this.
const SPARES_LIMIT: Duration = Duration::from_secs(30);
const SPARES_LOOK: Duration = Duration::from_millis(20);
/// Namespaces of the sandbox begin with this.
const PREFIX: &str = "lbaas-bench";

/// How long each of several took.
pub fn times(
    client: &mut Client,
    request: impl Fn(usize) -> Request,
) -> anyhow::Result<Vec<Duration>> {
    (0..COUNT).map(|n| one(client, &request(n))).collect()
}

fn one(client: &mut Client, request: &Request) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let id = fill::create(client, request)?;
    fill::await_active(client, &id)?;
    Ok(started.elapsed())
}

/// The times as columns.
pub fn row(row: Row, times: &[Duration]) -> Row {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |percent: usize| {
        let place = times.len().saturating_sub(1) * percent / 100;
        let time = times.get(place).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    row.with("p50_ms", rounded(at(50)))
        .with("p99_ms", rounded(at(99)))
        .with("goal", ACTIVE_GOAL)
        .with("met", at(50) < ACTIVE_GOAL)
}

/// The same with the real agent, on SQLite, in namespaces of its own; needs root.
///
/// Two rows: with the amphorae that the agent keeps ready, each create after they are there again;
/// and one after the other at once, when most amphorae have to be made.
pub fn with_real_agent(binary: &Path, logs: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let base = std::env::temp_dir().join(lb_testkit::unique(PREFIX));
    let topology = Topology::new(PREFIX, ClientSide::Namespace)?;
    let place = Place {
        base: base.clone(),
        api: free_address()?,
        sync: free_address()?,
    };
    let text = config::in_namespaces(&place, &topology);
    let measured = measured(binary, place, &text, logs);
    System::remove(binary, &base)?;
    let (rested, at_once) = measured?;
    let whole = |case: &str, times: &[Duration]| {
        let whole = Row::default()
            .with("bench", "api")
            .with("mode", "agent")
            .with("case", case)
            .with("engine", "sqlite")
            .with("servers", 1);
        row(whole, times)
    };
    Ok(vec![
        whole("create to ACTIVE, real agent", &rested),
        whole(
            "create to ACTIVE, real agent, one after the other",
            &at_once,
        ),
    ])
}

fn measured(
    binary: &Path,
    place: Place,
    text: &str,
    logs: Option<&Path>,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let api = place.api;
    let spares = place.base.join("run").join("spares");
    let mut system = System::new(binary, place, text)?;
    system.start("all-in-one")?;
    system.wait_ready()?;
    let mut client = Client::connect(api)?;
    let (mut rested, mut at_once) = (Vec::new(), Vec::new());
    for n in 0..COUNT_REAL {
        await_spares(&spares)?;
        rested.push(one(&mut client, &tree(n)).with_context(|| system.logs())?);
    }
    for n in COUNT_REAL..COUNT_REAL + COUNT_AT_ONCE {
        at_once.push(one(&mut client, &tree(n)).with_context(|| system.logs())?);
    }
    if let Some(directory) = logs {
        system.keep_logs(directory)?;
    }
    // The first one waits for the agent to come up, too.
    rested.remove(0);
    Ok((rested, at_once))
}

/// Waits until the agent has made those that it keeps ready.
fn await_spares(directory: &Path) -> anyhow::Result<()> {
    let ready = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().join("process.json").exists())
    };
    let full = wait::until(SPARES_LIMIT, SPARES_LOOK, || {
        let entries = fs::read_dir(directory).into_iter().flatten();
        Ok(entries.map(ready).filter(|ready| *ready).count() >= SPARES)
    })?;
    anyhow::ensure!(full, "no amphorae are kept ready");
    Ok(())
}

/// A load balancer of the sandbox.
fn tree(n: usize) -> Request {
    let members: Vec<Value> = ["203.0.113.11", "203.0.113.12"]
        .iter()
        .map(|address| json!({"address": address, "protocol_port": 8080, "subnet_id": config::MEMBERS_V4}))
        .collect();
    let body = json!({"loadbalancer": {
        "name": format!("lb-{n}"),
        "vip_subnet_id": config::PUBLIC_V4,
        "listeners": [{
            "name": "http", "protocol": "HTTP", "protocol_port": 80,
            "default_pool": {"name": "pool"},
        }],
        "pools": [{
            "name": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members,
        }],
    }});
    Request::with_body("POST", "/v2/lbaas/loadbalancers", &body)
}

/// An address of the loopback that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
    Ok(listener.local_addr()?)
}
