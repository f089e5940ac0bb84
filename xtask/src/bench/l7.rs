//! `cargo xtask bench l7`: CPU per request of the amphora, beside HAProxy as Octavia renders it and
//! nginx, on the same machine in the same minutes.
//!
//! The proxy has CPU 0 to itself (as far as the machine lets it); load generator and origin share
//! CPU 1. Rounds are interleaved, proxy by proxy, and the median counts. What is counted is CPU time of
//! the proxy's process (schedstat, all threads, so with the kernel work done in its calls) plus that
//! of the kernel's softirq and worker threads, over the requests the generator saw answered. Idle
//! scenarios count resident memory over connections instead.
//!
//! A ratio is to HAProxy in the same run; a goal is a ratio, for idle ones KiB a connection. On a
//! shared machine the kernel's threads work for others too: rerun what looks odd.

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, and nothing here runs under tokio"
)]

mod cpu;
mod handshake;
mod load;
mod peers;
mod render;
mod scenario;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::Value;

use self::{
    cpu::Cpu,
    load::Measured,
    peers::{Origin, Peer, Running},
    scenario::{Kind, SCENARIOS, Scenario},
};
use crate::{
    bench::row::{Row, rounded},
    build, shell,
};

#[derive(Debug, Args)]
pub struct L7Args {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Compared with.
    #[arg(long, value_delimiter = ',', default_value = "haproxy,nginx")]
    vs: Vec<String>,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
    /// Seconds a round lasts.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Our name in the rows.
const OURS: &str = "lbaas";
/// Idle connections that are held open.
const IDLE_CONNECTIONS: usize = 7_000;

pub fn run(args: &L7Args) -> anyhow::Result<()> {
    let chosen = chosen(&args.scenario)?;
    let binary = match &args.binary {
        Some(binary) => fs::canonicalize(binary)?,
        None => build::lbaas_release()?,
    };
    let mut peers = vec![Peer::Lbaas(binary)];
    for name in &args.vs {
        peers.push(match name.as_str() {
            "haproxy" => Peer::Haproxy,
            "nginx" => Peer::Nginx,
            other => anyhow::bail!("{other}: haproxy and nginx are known"),
        });
    }
    peers::install(&args.vs)?;
    // Everything started from here on shares CPU 1, unless it is told otherwise.
    let own = std::process::id().to_string();
    shell::output("taskset", ["-cp", "1", own.as_str()])?;
    let dir = Dir::make()?;
    let certificate = render::certificate(&dir.0)?;
    let origin = Origin::start(&dir.0)?;
    for scenario in chosen {
        let bench = Bench {
            args,
            scenario,
            peers: &peers,
            origin: &origin,
            dir: &dir,
            certificate: &certificate,
        };
        bench.run().with_context(|| scenario.name)?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        let found = SCENARIOS.iter().find(|it| it.name == name.as_str());
        found.with_context(|| {
            let known: Vec<_> = SCENARIOS.iter().map(|it| it.name).collect();
            format!("{name}: known are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

/// A directory that goes with its value.
struct Dir(PathBuf);

impl Dir {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("lbaas-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left is in the temporary directory.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// One scenario with everything around it.
struct Bench<'a> {
    args: &'a L7Args,
    scenario: &'a Scenario,
    peers: &'a [Peer],
    origin: &'a Origin,
    dir: &'a Dir,
    certificate: &'a render::Certificate,
}

/// What one proxy's rounds gave.
#[derive(Default)]
struct Rounds {
    cost: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    rss_kib: u64,
}

impl Bench<'_> {
    fn run(&self) -> anyhow::Result<()> {
        if self.scenario.kind == Kind::Idle {
            return self.idle();
        }
        let mut proxies = Vec::new();
        for peer in self.peers {
            proxies.push((
                peer.start(self.scenario, self.origin, self.dir, self.certificate)?,
                Rounds::default(),
            ));
        }
        for (proxy, _) in &proxies {
            // Warms up; what it cannot do now, the rounds tell.
            let lasts = Duration::from_secs(1);
            drop(load::run(self.scenario, proxy, self.certificate, lasts));
        }
        for _ in 0..self.args.rounds {
            for (proxy, rounds) in &mut proxies {
                // A generator that failed is asked once more; one that fails again tells why.
                let (measured, spent) = self.round(proxy).or_else(|_error| self.round(proxy))?;
                rounds.note(&measured, spent);
                rounds.rss_kib = cpu::rss_kib(proxy.pid())?;
            }
        }
        let base = proxies
            .iter()
            .find(|(proxy, _)| proxy.name == "haproxy")
            .map(|(_, rounds)| median(&rounds.cost));
        for (proxy, rounds) in &proxies {
            let cost = median(&rounds.cost);
            let ratio = base.map_or(Value::Null, |base| rounded(cost / base));
            Row::default()
                .with("scenario", self.scenario.name)
                .with("proxy", proxy.name)
                .with("cpu_us", rounded(cost))
                .with("ratio", ratio)
                .with("goal", self.goal(proxy.name))
                .with("p50_us", percentile(&rounds.p50))
                .with("p99_us", percentile(&rounds.p99))
                .with("rss_kib", rounds.rss_kib)
                .print(self.args.json);
        }
        Ok(())
    }

    fn round(&self, proxy: &Running) -> anyhow::Result<(Measured, Duration)> {
        let before = Cpu::read(proxy.pid())?;
        let lasts = Duration::from_secs(self.args.seconds);
        let measured = load::run(self.scenario, proxy, self.certificate, lasts)?;
        Ok((measured, Cpu::read(proxy.pid())?.since(&before)))
    }

    fn idle(&self) -> anyhow::Result<()> {
        let mut costs = Vec::new();
        for peer in self.peers {
            let proxy = peer.start(self.scenario, self.origin, self.dir, self.certificate)?;
            // Buffers and tables that come with the first connections are no connection's.
            drop(load::hold(self.scenario, &proxy, self.certificate, 100)?);
            let before = cpu::rss_kib(proxy.pid())?;
            let held = load::hold(self.scenario, &proxy, self.certificate, IDLE_CONNECTIONS)?;
            let rss = cpu::rss_kib(proxy.pid())?;
            drop(held);
            #[expect(clippy::cast_precision_loss, reason = "KiB and connections are few")]
            let each = rss.saturating_sub(before) as f64 / IDLE_CONNECTIONS as f64;
            costs.push((proxy.name, each, rss));
        }
        let base = costs.iter().find(|(name, ..)| *name == "haproxy");
        for (name, each, rss) in &costs {
            let ratio = base.map_or(Value::Null, |(_, base, _)| rounded(each / base));
            Row::default()
                .with("scenario", self.scenario.name)
                .with("proxy", *name)
                .with("cpu_us", Value::Null)
                .with("kib_per_connection", rounded(*each))
                .with("ratio", ratio)
                .with("goal", self.goal(name))
                .with("rss_kib", *rss)
                .print(self.args.json);
        }
        Ok(())
    }

    /// Goals are ours alone.
    fn goal(&self, proxy: &str) -> Value {
        match self.scenario.goal {
            Some(goal) if proxy == OURS => goal.into(),
            _ => Value::Null,
        }
    }
}

impl Rounds {
    fn note(&mut self, measured: &Measured, spent: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "requests of seconds")]
        let cost = spent.as_secs_f64() * 1e6 / measured.requests.max(1) as f64;
        self.cost.push(cost);
        self.p50.extend(measured.p50_us);
        self.p99.extend(measured.p99_us);
    }
}

fn percentile(rounds: &[f64]) -> Value {
    if rounds.is_empty() {
        return Value::Null;
    }
    rounded(median(rounds))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Fails with what a generator said when it saw no answer.
fn answered(requests: u64, said: &str) -> anyhow::Result<u64> {
    ensure!(requests > 0, "nothing was answered:\n{said}");
    Ok(requests)
}
