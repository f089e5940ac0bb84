//! Frames that are really sent: one core feeds them to the program as a driver would, they leave by a veth and
//! end at an XDP_DROP on its other end. Beside it XDP_TX, which does nothing but send, in the same rounds.
//!
//! Millions of packets a second of that core's time, which has to do both ends.

use std::path::Path;

use anyhow::{Context as _, ensure};
use lb_common::replay::names;
use lb_sys::{iface, netns};
use lb_testkit::{command, unique};

use super::{
    Mode,
    case::Case,
    measure::{Bench, Subject, since},
    packet,
    world::{Setup, World},
};
use crate::bench::row::{Row, rounded};

const NEAR: &str = "near0";
const FAR: &str = "far0";
/// Packets of a sample: a multiple of the kernel's batch.
const PACKETS: u32 = 64 * 4_000;
/// One flow, so little table will do.
const FLOWS: u32 = 4_096;
const CASE: Case = Case::Tcp4;

/// A network namespace that goes with the value.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        // What was measured stands; a namespace that stays is seen in `ip netns`.
        let _left_behind = netns::delete(&self.0);
    }
}

/// A row a mode.
pub fn rows(bench: &mut Bench, object: &Path, modes: &[Mode]) -> anyhow::Result<()> {
    let namespace = Namespace(unique("lbbench"));
    netns::create(&namespace.0)?;
    netns::run_in(&namespace.0, || in_namespace(bench, object, modes))?
}

fn in_namespace(bench: &mut Bench, object: &Path, modes: &[Mode]) -> anyhow::Result<()> {
    command::run(
        None,
        "ip",
        &["link", "add", NEAR, "type", "veth", "peer", "name", FAR],
    )?;
    for end in [NEAR, FAR] {
        command::run(None, "ip", &["link", "set", end, "up"])?;
        // The near end gets nothing; with a program its queue is one that XDP knows.
        bench.replay.attach(names::PROGRAM_SINK, end)?;
    }
    let ingress = iface::index(NEAR)?;
    for mode in modes {
        let setup = Setup {
            mode: *mode,
            vips: 1,
            flows: FLOWS,
            ingress,
        };
        row(bench, &World::load(object, &setup)?, &setup)
            .with_context(|| format!("live frames, {}", mode.name()))?;
    }
    Ok(())
}

fn row(bench: &mut Bench, world: &World, setup: &Setup) -> anyhow::Result<()> {
    let program = world.program_fd()?;
    let nothing = bench.nothing.try_clone()?;
    let (first, packet) = (packet::first_of(CASE), packet::of(CASE));
    bench.replay.run_live(&program, &first, 1, setup.ingress)?;
    if setup.mode == Mode::Nat {
        world.establish()?;
    }
    bench
        .replay
        .run_live(&program, &packet, 64, setup.ingress)?;
    let before = world.reasons()?;
    let mut subjects = [Subject::new(&nothing), Subject::new(&program)];
    for round in 0..=bench.rounds {
        for turn in 0..2 {
            let subject = subjects
                .get_mut((round + turn) % 2)
                .context("two of them")?;
            let cost = bench
                .replay
                .run_live(subject.program, &packet, PACKETS, setup.ingress)?;
            if round > 0 {
                subject.samples.push(cost);
            }
        }
    }
    let sent = u64::from(PACKETS) * (bench.rounds as u64 + 1);
    let expected = CASE.path(setup.mode);
    let counted = since(&before, &world.reasons()?);
    ensure!(
        counted == [(expected.name(), sent)],
        "{sent} packets were to be {}, and were {counted:?}",
        expected.name()
    );
    let [nothing, ours] = subjects.each_mut().map(Subject::median);
    let mpps = |ns: f64| (1e5 / ns).round() / 100.0;
    Row::default()
        .with("mode", setup.mode.name())
        .with("case", "live-tcp4")
        .with("ns_net", rounded(ours - nothing))
        .with("goal", None::<f64>)
        .with("mpps", mpps(ours))
        .with("mpps_xdp_tx", mpps(nothing))
        .with("ratio", rounded(nothing / ours))
        .with("path", expected.name())
        .with("packets", sent)
        .print(bench.as_json);
    Ok(())
}
