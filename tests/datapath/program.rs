//! The programs as the kernel sees them.

use anyhow::Context as _;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use lb_common::maps::names;

use super::{
    frames::{Family, Frame},
    world::{STEER_PORT, World},
};

/// The verifier gives up at a million; far below it a program loads on other kernels too.
const VERIFIED_MAX: u32 = 200_000;

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

/// Not a benchmark: one number for a person to look at.
#[test]
fn time_of_a_steered_packet() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("time")? else {
        return Ok(());
    };
    let xdp: &Xdp = world
        .ebpf()
        .program(names::PROGRAM_XDP)
        .context("no program")?
        .try_into()?;
    for frame in [
        Frame::ack(Family::V4, STEER_PORT),
        Frame::ack(Family::V6, STEER_PORT),
    ] {
        let bytes = frame.build()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&bytes);
        options.repeat = 200_000;
        let result = xdp.test_run(options)?;
        println!(
            "steered, {:?}: {:?} a packet",
            frame.family, result.duration
        );
    }
    Ok(())
}
