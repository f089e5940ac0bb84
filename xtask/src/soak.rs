//! `cargo xtask soak`: one amphora under mixed load, its configuration changed every second.
//!
//! HTTP/1 with and without keep-alive, large bodies both ways, TLS, HTTP/2 (h2load), WebSockets and
//! TCP, all paced, towards two origins of our own. Every second members, weights, policies and the
//! certificate change; with `--take-overs N` a new process takes the amphora over N times. What is
//! printed: requests and failures by kind, resident memory and descriptors at start and end. Any
//! failed request is a failure, and so is growth: of the medians over the first and last samples.

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, and nothing here runs under tokio"
)]

mod amphora;
mod clients;
mod origin;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use clap::Args;

use self::{amphora::Amphora, clients::Counts, origin::Origin};
use crate::{build, shell};

#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Have a new process take over this often, evenly spread; growth is not judged then.
    #[arg(long, default_value_t = 0)]
    take_overs: u64,
    /// This binary instead of a debug build.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Everything runs for this long before memory counts.
const WARM_UP: Duration = Duration::from_secs(30);
/// Samples, one a second, whose median is a figure.
const SAMPLES: usize = 20;
/// Memory may grow by this many KiB: the allocator's arenas settle for a while.
const GROWTH_KIB: u64 = 4 << 10;
/// Descriptors may differ by connections that happen to be open.
const GROWTH_DESCRIPTORS: u64 = 20;

pub fn run(args: &SoakArgs) -> anyhow::Result<()> {
    let binary = match &args.binary {
        Some(binary) => std::fs::canonicalize(binary)?,
        None => build::lbaas()?,
    };
    ensure!(
        shell::has("h2load"),
        "h2load is missing: apt-get install nghttp2-client"
    );
    let dir = tempfile::tempdir()?;
    let origins = [Origin::start()?, Origin::start()?];
    let mut amphora = Amphora::start(binary, dir.path(), &origins)?;
    let counts = Arc::new(Counts::default());
    let clients = clients::start(&amphora.ports, &amphora.roots, &counts);
    let begun = Instant::now();
    let lasts = Duration::from_secs(args.minutes * 60);
    let mut samples = Vec::new();
    let (mut changes, mut taken_over) = (0_u64, 0);
    while begun.elapsed() < lasts {
        thread::sleep(Duration::from_secs(1));
        changes += 1;
        amphora.configure(&origins, changes)?;
        let due = args.take_overs * begun.elapsed().as_secs() / lasts.as_secs().max(1);
        if taken_over < due.min(args.take_overs) {
            amphora.take_over()?;
            taken_over += 1;
        }
        if begun.elapsed() > WARM_UP {
            samples.push(amphora.usage()?);
        }
        if changes.is_multiple_of(60) {
            let (requests, failed) = counts.sums();
            shell::say(&format!(
                "{} min: {requests} requests, {failed} failed, {:?}",
                changes / 60,
                amphora.usage()?
            ));
        }
    }
    counts.stop.store(true, Ordering::Relaxed);
    for client in clients {
        ensure!(client.join().is_ok(), "a client panicked");
    }
    for (kind, requests, failed, why) in counts.all() {
        shell::say(&format!(
            "{kind:>10}: {requests} requests, {failed} failed {why}"
        ));
    }
    shell::say(&format!(
        "{changes} changes of configuration, {taken_over} takeovers"
    ));
    let grown = growth(&samples, taken_over > 0)?;
    let (requests, failed) = counts.sums();
    ensure!(requests > 0, "nothing was asked");
    if failed > 0 || grown {
        bail!("{failed} of {requests} requests failed; growth: {grown}");
    }
    Ok(())
}

/// Prints usage at start and end; whether it has grown.
fn growth(samples: &[amphora::Usage], is_other_process: bool) -> anyhow::Result<bool> {
    ensure!(samples.len() >= 2 * SAMPLES, "too short to tell growth");
    let first = samples.get(..SAMPLES).unwrap_or_default();
    let last = samples.get(samples.len() - SAMPLES..).unwrap_or_default();
    let median = |of: &[amphora::Usage], pick: fn(&amphora::Usage) -> u64| {
        let mut values: Vec<_> = of.iter().map(pick).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let rss = [first, last].map(|of| median(of, |usage| usage.rss_kib));
    let descriptors = [first, last].map(|of| median(of, |usage| usage.descriptors));
    let [rss_before, rss_after] = rss;
    let [before, after] = descriptors;
    shell::say(&format!(
        "resident: {rss_before} KiB, at the end {rss_after}; descriptors: {before}, at the end {after}"
    ));
    let grown = rss_after > rss_before + GROWTH_KIB + rss_before / 10
        || after > before + GROWTH_DESCRIPTORS;
    Ok(grown && !is_other_process)
}
