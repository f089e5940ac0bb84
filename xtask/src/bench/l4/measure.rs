//! A row: flows made known, samples taken in turn, counters compared.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, ensure};
use aya::programs::ProgramFd;
use lb_common::{reason::Reason, replay::names};

use super::{
    case::{Case, Flows},
    packet,
    replay::{Order, Replay},
    world::{Setup, World},
};
use crate::bench::row::{Row, rounded};

/// The kernel's maps that the flow table is compared to, and what their rows are called.
const FLOORS: [(&str, &str); 3] = [
    ("floor-array", names::PROGRAM_ARRAY),
    ("floor-hash", names::PROGRAM_HASH),
    ("floor-lru-hash", names::PROGRAM_LRU),
];

/// Everything that rows have in common.
pub struct Bench {
    pub(super) replay: Replay,
    pub(super) rounds: usize,
    packets: u32,
    pub(super) as_json: bool,
    pub(super) nothing: ProgramFd,
    lru: ProgramFd,
    /// Number of the next flow that nobody has seen.
    fresh: u64,
}

/// A program whose samples are taken.
pub(super) struct Subject<'p> {
    pub(super) program: &'p ProgramFd,
    pub(super) samples: Vec<f64>,
}

impl<'p> Subject<'p> {
    pub(super) const fn new(program: &'p ProgramFd) -> Self {
        Self {
            program,
            samples: Vec::new(),
        }
    }

    pub(super) fn median(&mut self) -> f64 {
        self.samples.sort_by(f64::total_cmp);
        self.samples
            .get(self.samples.len() / 2)
            .copied()
            .unwrap_or_default()
    }
}

/// What was counted between two looks.
pub(super) fn since(
    before: &BTreeMap<Reason, u64>,
    after: &BTreeMap<Reason, u64>,
) -> Vec<(&'static str, u64)> {
    after
        .iter()
        .map(|(reason, count)| {
            let old = before.get(reason).copied().unwrap_or_default();
            (reason.name(), count - old)
        })
        .filter(|(_, count)| *count != 0)
        .collect()
}

/// How the flows of a case become known: which, and how many of them.
fn steps(case: Case) -> Vec<(Order, u32)> {
    const STEP: u32 = 1 << 16;
    match case.flows() {
        Flows::New => Vec::new(),
        Flows::One => vec![(Order::One, 1)],
        Flows::Known(flows) => (0..flows)
            .step_by(STEP as usize)
            .map(|first| (Order::From(u64::from(first)), STEP.min(flows - first)))
            .collect(),
    }
}

/// Packets of a sample, at most `packets`. New flows of NAT keep their source ports: no more than a quarter
/// of them may be taken in all rounds together, or some would look for one in vain.
fn packets_of(setup: &Setup, case: Case, packets: u32, rounds: usize) -> u32 {
    if case.flows() != Flows::New || setup.mode != super::Mode::Nat {
        return packets;
    }
    // And the warm-up.
    let rounds = u32::try_from(rounds + 1).unwrap_or(u32::MAX);
    packets.min(setup.reverse() / 4 / rounds).max(1)
}

/// Packets in a million that may take another path. Of half a million flows a few hundred find both their
/// blocks full of others, and one or two of NAT's no source port.
fn tolerated(setup: &Setup, case: Case) -> u64 {
    match case.flows() {
        Flows::Known(_) if setup.mode != super::Mode::Steer => 2_000,
        // One or two of half a million.
        Flows::New if setup.mode == super::Mode::Nat => 20,
        _ => 0,
    }
}

/// Packets that were not what they were to be; an error if there are more than tolerated.
fn off_path(
    counted: &[(&'static str, u64)],
    expected: Reason,
    tolerated: u64,
) -> anyhow::Result<u64> {
    let all: u64 = counted.iter().map(|(_, count)| count).sum();
    let right = counted
        .iter()
        .find(|(name, _)| *name == expected.name())
        .map_or(0, |(_, count)| *count);
    let off_path = all - right;
    ensure!(
        right > 0 && off_path * 1_000_000 <= all * tolerated,
        "{all} packets were to be {}, and were {counted:?}",
        expected.name()
    );
    Ok(off_path)
}

impl Bench {
    pub fn new(object: &Path, rounds: usize, packets: u32, as_json: bool) -> anyhow::Result<Self> {
        let replay = Replay::load(object)?;
        Ok(Self {
            rounds,
            packets,
            as_json,
            nothing: replay.own(names::PROGRAM_NOTHING)?,
            lru: replay.own(names::PROGRAM_LRU)?,
            replay,
            // Beyond those that become known.
            fresh: 1 << 20,
        })
    }

    /// Measures and prints one row.
    pub fn row(&mut self, world: &World, setup: &Setup, case: Case) -> anyhow::Result<()> {
        let program = world.program_fd()?;
        let packet = self.make_known(world, setup, case, &program)?;
        let before = (world.reasons()?, world.flows_opened()?);
        let packets = packets_of(setup, case, self.packets, self.rounds);
        // And the warm-up.
        let sent = u64::from(packets) * (self.rounds as u64 + 1);
        let lru = self.lru.try_clone()?;
        let nothing = self.nothing.try_clone()?;
        let mut subjects = vec![Subject::new(&nothing), Subject::new(&program)];
        if case.has_floor() {
            self.fill(&lru, &packet, case)?;
            subjects.push(Subject::new(&lru));
        }
        self.sample(&mut subjects, &packet, case, packets)?;
        let expected = case.path(setup.mode);
        ensure!(
            world.reasons()?.values().sum::<u64>() - before.0.values().sum::<u64>() == sent,
            "{sent} packets were sent, another number was counted"
        );
        let counted = since(&before.0, &world.reasons()?);
        let off_path = off_path(&counted, expected, tolerated(setup, case))?;
        let opened = world.flows_opened()? - before.1;
        // Steering keeps no flows.
        let is_counted = case == Case::New && setup.mode != super::Mode::Steer;
        let wanted = if is_counted { sent } else { 0 };
        // A flow for which there was no room is a new one each time.
        ensure!(
            opened.abs_diff(wanted) * 1_000_000 <= sent * tolerated(setup, case),
            "{opened} flows were opened, not {wanted}"
        );
        let medians: Vec<f64> = subjects.iter_mut().map(Subject::median).collect();
        let [nothing, ours, rest @ ..] = medians.as_slice() else {
            anyhow::bail!("no samples");
        };
        let net = ours - nothing;
        let floor = rest.first().map(|lru| lru - nothing);
        let row = Row::default()
            .with("mode", setup.mode.name())
            .with("case", case.name())
            .with("vips", setup.vips)
            .with("ns_net", rounded(net))
            .with("goal", case.goal(setup.mode))
            .with("is_met", case.goal(setup.mode).map(|goal| net <= goal));
        let ratio = floor.map(|floor| net / floor);
        row.with("ns_lru_hash", floor.map(rounded))
            .with("ratio", ratio.map(rounded))
            .with("ratio_goal", case.ratio_goal(setup.mode))
            .with("ns_nothing", rounded(*nothing))
            .with("path", expected.name())
            .with("packets", sent)
            .with("off_path", off_path)
            .print(self.as_json);
        Ok(())
    }

    /// The map primitives alone, for scale.
    pub fn floors(&mut self, cases: &[Case]) -> anyhow::Result<()> {
        for case in cases.iter().copied().filter(|case| case.has_floor()) {
            let packet = packet::of(case);
            let nothing = self.nothing.try_clone()?;
            let programs = FLOORS
                .iter()
                .map(|(_, program)| self.replay.own(program))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let mut subjects = vec![Subject::new(&nothing)];
            for program in &programs {
                self.fill(program, &packet, case)?;
                subjects.push(Subject::new(program));
            }
            self.sample(&mut subjects, &packet, case, self.packets)?;
            let mut medians = subjects.iter_mut().map(Subject::median);
            let nothing = medians.next().context("no samples")?;
            for ((mode, _), median) in FLOORS.iter().zip(medians) {
                Row::default()
                    .with("mode", *mode)
                    .with("case", case.name())
                    .with("ns_net", rounded(median - nothing))
                    .with("goal", None::<f64>)
                    .with("ns_nothing", rounded(nothing))
                    .print(self.as_json);
            }
        }
        Ok(())
    }

    /// In turn, and each round another one first: what else the machine does hits all alike.
    fn sample(
        &mut self,
        subjects: &mut [Subject<'_>],
        packet: &[u8],
        case: Case,
        packets: u32,
    ) -> anyhow::Result<()> {
        for round in 0..=self.rounds {
            let order = match case.flows() {
                Flows::One => Order::One,
                Flows::Known(flows) => Order::Random(flows),
                Flows::New => Order::From(self.fresh),
            };
            let count = subjects.len();
            let (tail, head) = subjects.split_at_mut(round % count);
            for subject in head.iter_mut().chain(tail) {
                let cost = self.replay.run(subject.program, packet, order, packets)?;
                if round > 0 {
                    subject.samples.push(cost);
                }
            }
            self.fresh += u64::from(packets);
        }
        Ok(())
    }

    /// Shows a program all flows of the case once.
    fn fill(&mut self, program: &ProgramFd, packet: &[u8], case: Case) -> anyhow::Result<()> {
        for (order, packets) in steps(case) {
            self.replay.run(program, packet, order, packets)?;
        }
        Ok(())
    }

    /// Makes the case's flows known to the data path; the packet to measure.
    fn make_known(
        &mut self,
        world: &World,
        setup: &Setup,
        case: Case,
        program: &ProgramFd,
    ) -> anyhow::Result<Vec<u8>> {
        let (first, second) = (packet::first_of(case), packet::of(case));
        let before = world.reasons()?;
        // In steps: too many at a time that nobody has answered would drive one another out.
        for (order, packets) in steps(case) {
            self.replay.run(program, &first, order, packets)?;
            if setup.mode == super::Mode::Nat {
                // As if each member had answered.
                world.establish()?;
            }
            // The second packet is what makes a flow of DSR an established one.
            self.replay.run(program, &second, order, packets)?;
        }
        if case.flows() != Flows::New {
            let counted = since(&before, &world.reasons()?);
            let expected = case.path_of_first(setup.mode);
            off_path(&counted, expected, tolerated(setup, case)).context("flows to be known")?;
        }
        if case == Case::Reply4 {
            let received = world.once(&first)?;
            return packet::reply(&received).context("the member got no TCP packet");
        }
        Ok(second)
    }
}
