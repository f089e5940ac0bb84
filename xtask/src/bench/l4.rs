//! `cargo xtask bench l4`: what a packet costs in XDP.
//!
//! `--load-only --pin DIR` loads `lb_xdp`, writes into its maps what an agent would for a VIP of each
//! family with a hundred members, pins it at `DIR/lb_xdp` and waits: whoever has a measuring tool of
//! their own runs it beside another program. Packets are taken as coming in by interface 1, which is
//! what BPF_PROG_TEST_RUN says when nobody says otherwise.

mod world;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use lb_sys::bpf::mount_bpffs;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use self::world::{Setup, World};
use crate::{build, shell};

#[derive(Debug, Args)]
pub struct L4Args {
    /// Measure nothing: load the program, pin it and wait for SIGINT or SIGTERM.
    #[arg(long, requires = "pin")]
    load_only: bool,
    /// Directory to pin the program in; made and mounted as a BPF file system if it is none.
    #[arg(long)]
    pin: Option<PathBuf>,
    /// How packets reach members.
    #[arg(long, value_enum, default_value_t = Mode::DsrIpip)]
    mode: Mode,
    /// VIPs of each family beside the one that is measured.
    #[arg(long, default_value_t = 0)]
    vips: u32,
    /// Flows of each family that the tables are made for (twice as many slots).
    #[arg(long, default_value_t = 1 << 20)]
    flows: u32,
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
    const fn name(self) -> &'static str {
        match self {
            Self::Steer => "steer",
            Self::Nat => "nat",
            Self::DsrL2 => "dsr-l2",
            Self::DsrIpip => "dsr-ipip",
        }
    }
}

pub fn run(args: &L4Args) -> anyhow::Result<()> {
    let object = build::ebpf()?;
    ensure!(
        args.flows.is_power_of_two() && args.flows >= 4096,
        "--flows wants a power of two, at least 4096"
    );
    let setup = Setup {
        mode: args.mode,
        vips: args.vips,
        flows: args.flows,
    };
    if args.load_only {
        let dir = args.pin.as_ref().context("--load-only needs --pin DIR")?;
        return load_only(&World::load(&object, &setup)?, dir, args);
    }
    bail!("only --load-only so far")
}

fn load_only(world: &World, dir: &std::path::Path, args: &L4Args) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    mount_bpffs(dir)
        .with_context(|| format!("cannot mount a BPF file system on {}", dir.display()))?;
    let path = dir.join("lb_xdp");
    world.pin(&path)?;
    shell::say(&format!(
        "{} ({}): pinned; waiting for SIGINT or SIGTERM",
        path.display(),
        args.mode.name()
    ));
    signals.forever().next();
    // What became of the packets meanwhile: whether the path that was meant was the one measured.
    for (reason, packets) in world
        .reasons()?
        .into_iter()
        .filter(|(_, packets)| *packets != 0)
    {
        shell::say(&format!("{reason} {packets}"));
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
