//! `cargo xtask bench l4`: what a packet costs in XDP.
//!
//! A row is one case ([`case`]) in one mode with one number of VIPs: the median of interleaved samples
//! of thread CPU time, less that of an empty XDP_TX in the same wrapper ([`replay`]), beside an LRU_HASH
//! of the kernel's that sees the same packets. A row whose packets took another path than the one it is
//! named for is an error, found by the program's own counters ([`measure`]); a missed goal is not.
//!
//! `--load-only --pin DIR` loads `lb_xdp`, writes into its maps what an agent would for a VIP of each
//! family with a hundred members, pins it at `DIR/lb_xdp` and waits: whoever has a measuring tool of
//! their own runs it beside another program. Packets are taken as coming in by interface 1, which is
//! what BPF_PROG_TEST_RUN says when nobody says otherwise.

mod case;
mod fill;
mod live;
mod measure;
mod packet;
mod replay;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use lb_sys::bpf::{mount_bpffs, on_one_cpu};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use self::{
    case::{Case, Flows},
    measure::Bench,
    world::{Setup, World},
};
use crate::{build, shell};

#[derive(Debug, Args)]
pub struct L4Args {
    /// Measure nothing: load the program, pin it and wait for SIGINT or SIGTERM.
    #[arg(long, requires = "pin")]
    load_only: bool,
    /// Directory to pin the program in; made and mounted as a BPF file system if it is none.
    #[arg(long)]
    pin: Option<PathBuf>,
    /// How packets reach members; several after one another. Default: steer, nat and dsr-ipip
    /// (`--load-only`: dsr-ipip).
    #[arg(long, value_enum, value_delimiter = ',')]
    mode: Vec<Mode>,
    /// Only these cases. Default: all.
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// VIPs of each family; several after one another. Default: 1 and 10000 (`--load-only`: 1).
    #[arg(long, value_delimiter = ',')]
    vips: Vec<u32>,
    /// Flows of each family that the tables are made for (twice as many slots).
    #[arg(long, default_value_t = 1 << 20)]
    flows: u32,
    /// Nothing but frames that are really sent, over a veth.
    #[arg(long)]
    live: bool,
    /// Nothing but how many flows the tables hold, and in how much memory.
    #[arg(long, conflicts_with = "live")]
    memory: bool,
    /// Samples of each program; their medians count.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Packets of a sample.
    #[arg(long, default_value_t = 200_000)]
    packets: u32,
    /// A JSON object a row.
    #[arg(long)]
    json: bool,
}

/// How packets reach members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// To an amphora.
    Steer,
    /// To members, both ways through us.
    Nat,
    /// To members by their link address.
    DsrL2,
    /// To members in an outer IP packet.
    DsrIpip,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steer => "steer",
            Self::Nat => "nat",
            Self::DsrL2 => "dsr-l2",
            Self::DsrIpip => "dsr-ipip",
        }
    }
}

fn or_default<T: Copy>(given: &[T], default: &[T]) -> Vec<T> {
    if given.is_empty() { default } else { given }.to_vec()
}

pub fn run(args: &L4Args) -> anyhow::Result<()> {
    let object = build::ebpf()?;
    ensure!(
        args.flows.is_power_of_two() && args.flows >= 4096,
        "--flows wants a power of two, at least 4096"
    );
    ensure!(
        args.rounds > 0 && args.packets > 0,
        "nothing is to be measured"
    );
    if args.load_only {
        return load_only(&object, args);
    }
    on_one_cpu(|_| measure_all(&object, args))?
}

fn measure_all(object: &Path, args: &L4Args) -> anyhow::Result<()> {
    let modes = or_default(&args.mode, &[Mode::DsrIpip, Mode::Steer, Mode::Nat]);
    let cases = or_default(&args.cases, Case::value_variants());
    let replay = object.with_file_name("lbaas-bench.bpf.o");
    let mut bench = Bench::new(&replay, args.rounds, args.packets, args.json)?;
    let is_all = args.cases.is_empty();
    if args.memory || (is_all && !args.live) {
        fill::rows(&mut bench, object, args.flows)?;
    }
    if args.live || (is_all && !args.memory) {
        live::rows(&mut bench, object, &modes)?;
    }
    if args.live || args.memory {
        return Ok(());
    }
    for vips in or_default(&args.vips, &[1, 10_000]) {
        for mode in &modes {
            let setup = Setup {
                mode: *mode,
                vips,
                flows: args.flows,
                ingress: world::INGRESS,
            };
            // One at a time: a table for a million flows is a few hundred MiB.
            let mut world = World::load(object, &setup)?;
            for case in cases.iter().filter(|case| case.is_of(*mode)) {
                if case.flows() != Flows::One {
                    // Another case's flows would take the places of this one's.
                    drop(world);
                    world = World::load(object, &setup)?;
                }
                bench
                    .row(&world, &setup, *case)
                    .with_context(|| format!("{} {} with {vips} VIPs", mode.name(), case.name()))?;
            }
        }
    }
    bench.floors(&cases)
}

fn load_only(object: &Path, args: &L4Args) -> anyhow::Result<()> {
    let dir = args.pin.as_ref().context("--load-only needs --pin DIR")?;
    let setup = Setup {
        mode: args.mode.first().copied().unwrap_or(Mode::DsrIpip),
        vips: args.vips.first().copied().unwrap_or(1),
        flows: args.flows,
        ingress: world::INGRESS,
    };
    let world = World::load(object, &setup)?;
    std::fs::create_dir_all(dir)?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    mount_bpffs(dir)
        .with_context(|| format!("cannot mount a BPF file system on {}", dir.display()))?;
    let path = dir.join("lb_xdp");
    world.pin(&path)?;
    shell::say(&format!(
        "{} ({}): pinned; waiting for SIGINT or SIGTERM",
        path.display(),
        setup.mode.name()
    ));
    signals.forever().next();
    // What became of the packets meanwhile: whether the path that was meant was the one measured.
    for (reason, packets) in world
        .reasons()?
        .into_iter()
        .filter(|(_, packets)| *packets != 0)
    {
        shell::say(&format!("{} {packets}", reason.name()));
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
