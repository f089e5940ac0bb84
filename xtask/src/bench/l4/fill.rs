//! How many flows the tables really hold: as many as they are made for are opened and kept, and what is
//! nowhere afterwards (both its blocks were full, or there was no source port) is counted. Once with the ports
//! of clients in turn, as Linux hands them out, once with clients and ports all over the place.

use std::path::Path;

use anyhow::Context as _;
use lb_common::maps::flow::{Block4, Block6, Reverse};

use super::{
    Mode,
    case::Case,
    measure::Bench,
    packet,
    replay::Order,
    world::{INGRESS, Setup, World},
};
use crate::bench::row::Row;

/// Flows between two looks at them.
const STEP: u32 = 1 << 16;

/// Rows for DSR of both families and NAT, whose tables are made for `flows` flows.
pub fn rows(bench: &mut Bench, object: &Path, flows: u32) -> anyhow::Result<()> {
    // A page has half as many flows of IPv6, so ports in turn want twice the slots.
    for (mode, is_v6, tables, goal) in [
        (Mode::DsrIpip, false, 1, 64.0),
        (Mode::DsrIpip, true, 2, 128.0),
        (Mode::Nat, false, 1, 160.0),
    ] {
        let setup = Setup {
            mode,
            vips: 1,
            flows: flows * tables,
            ingress: INGRESS,
        };
        for is_scattered in [false, true] {
            let world = World::load(object, &setup)?;
            row(bench, &world, &setup, (flows, is_v6, is_scattered), goal)
                .with_context(|| format!("memory, {}", mode.name()))?;
        }
    }
    Ok(())
}

fn row(
    bench: &mut Bench,
    world: &World,
    setup: &Setup,
    (flows, is_v6, is_scattered): (u32, bool, bool),
    goal: f64,
) -> anyhow::Result<()> {
    let program = world.program_fd()?;
    let case = if is_v6 { Case::Tcp6 } else { Case::Tcp4 };
    let (syn, ack) = (packet::first_of(case), packet::of(case));
    for first in (0..flows).step_by(STEP as usize) {
        let first = u64::from(first);
        let order = if is_scattered {
            Order::Scattered(first)
        } else {
            Order::From(first)
        };
        bench.replay.run(&program, &syn, order, STEP)?;
        if setup.mode == Mode::Nat {
            world.establish()?;
        }
        bench.replay.run(&program, &ack, order, STEP)?;
    }
    let lost = u64::from(flows).saturating_sub(world.flows_known()?);
    let all = world
        .reasons()?
        .into_iter()
        .filter(|(_, count)| *count != 0);
    let all: Vec<_> = all
        .map(|(reason, count)| format!("{} {count}", reason.name()))
        .collect();
    let counted = all.join(", ");
    let slots = u64::from(setup.flows) * 2;
    let block = if is_v6 {
        size_of::<Block6>()
    } else {
        size_of::<Block4>()
    };
    let reverse = match setup.mode {
        Mode::Nat => u64::from(setup.reverse()) * size_of::<Reverse>() as u64,
        _ => 0,
    };
    let bytes = slots / 8 * block as u64 + reverse;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred MiB")]
    let mib = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0;
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let percent = lost as f64 * 100.0 / f64::from(flows);
    let per_million = mib(bytes) * 1e6 / f64::from(flows);
    Row::default()
        .with("mode", setup.mode.name())
        .with("case", if is_v6 { "memory6" } else { "memory4" })
        .with("ports", if is_scattered { "scattered" } else { "in turn" })
        .with("ns_net", None::<f64>)
        .with("goal", None::<f64>)
        .with("flows", flows)
        .with("mib_per_million", (per_million * 10.0).round() / 10.0)
        .with("mib_goal", goal)
        .with("percent_unrecorded", (percent * 1000.0).round() / 1000.0)
        .with("is_met", per_million <= goal && percent <= 1.0)
        .with("counted", counted)
        .print(bench.as_json);
    Ok(())
}
