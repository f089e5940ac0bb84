//! The programs as the kernel sees them.

use std::time::Duration;

use anyhow::Context as _;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use lb_common::maps::names;

use super::{
    frames::{Family, Frame},
    world::{STEER_PORT, World},
};

/// The verifier gives up at a million.
const VERIFIED_MAX: u32 = 750_000;

#[test]
fn programs_are_far_from_the_verifiers_limit() -> anyhow::Result<()> {
    let Some(world) = World::empty("program")? else {
        return Ok(());
    };
    let xdp: &Xdp = world
        .ebpf()
        .program(names::PROGRAM_XDP)
        .context("no program")?
        .try_into()?;
    let answer: &SchedClassifier = world
        .ebpf()
        .program(names::PROGRAM_ANSWER)
        .context("no program")?
        .try_into()?;
    for (name, info) in [
        (names::PROGRAM_XDP, xdp.info()?),
        (names::PROGRAM_ANSWER, answer.info()?),
    ] {
        let verified = info
            .verified_instruction_count()
            .context("the kernel does not say")?;
        println!(
            "{name}: the verifier processed {verified} instructions; {} bytes of machine code",
            info.size_jitted()
        );
        assert!(verified < VERIFIED_MAX);
    }
    Ok(())
}

/// Not a benchmark: numbers for a person to look at, the least of many short runs since this machine
/// does other things, too. `lb_pass` is what the measuring costs.
#[test]
fn time_of_a_steered_packet() -> anyhow::Result<()> {
    let Some(mut world) = World::with_pair("time")? else {
        return Ok(());
    };
    let pass: &mut Xdp = world
        .ebpf_mut()
        .program_mut(names::PROGRAM_PASS)
        .context("no program")?
        .try_into()?;
    pass.load()?;
    let other = Frame::ack(Family::V4, STEER_PORT).to(Family::V4.addr(2, 1), 80);
    for (what, program, frame) in [
        (
            "nothing",
            names::PROGRAM_PASS,
            Frame::ack(Family::V4, STEER_PORT),
        ),
        ("not ours", names::PROGRAM_XDP, other),
        (
            "steered v4",
            names::PROGRAM_XDP,
            Frame::ack(Family::V4, STEER_PORT),
        ),
        (
            "steered v6",
            names::PROGRAM_XDP,
            Frame::ack(Family::V6, STEER_PORT),
        ),
    ] {
        let program: &Xdp = world
            .ebpf()
            .program(program)
            .context("no program")?
            .try_into()?;
        let bytes = frame.build()?;
        let mut least = Duration::MAX;
        for _ in 0..40 {
            let mut options = TestRunOptions::new();
            options.data_in = Some(&bytes);
            options.repeat = 10_000;
            least = least.min(program.test_run(options)?.duration);
        }
        println!("{what}: {least:?} a packet");
    }
    Ok(())
}
