//! What must not cause a failover: a pair that is frozen as a whole, an agent that is away, a
//! machine under full load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use lb_testkit::{demo::Demonstration, load, system::observed::LoadBalancer};

use super::{failover, table::Table};
use crate::sandbox::Sandbox;

const FROZEN: Duration = Duration::from_millis(500);
const WITHOUT_AGENT: Duration = Duration::from_secs(10);
const UNDER_LOAD: Duration = Duration::from_secs(60);
/// Long enough that a frozen pair fails no request.
/// A new connection this often.
const PACE: Duration = Duration::from_millis(5);
const PATIENT: Duration = Duration::from_secs(5);

/// Both amphorae stopped for 500 ms, under requests.
pub fn frozen(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
) -> anyhow::Result<()> {
    steady(
        sandbox,
        demonstration,
        table,
        "both amphorae frozen for 500 ms",
        |before| {
            for amphora in &before.amphorae {
                amphora.signal("STOP")?;
            }
            thread::sleep(FROZEN);
            for amphora in &before.amphorae {
                amphora.signal("CONT")?;
            }
            Ok(())
        },
    )
}

/// The agent killed for ten seconds.
pub fn without_agent(
    sandbox: &mut Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
) -> anyhow::Result<()> {
    let before = sandbox.system.whole_pair(&demonstration.load_balancer)?;
    let requests = load::paced(&failover::target(demonstration, "/", PATIENT)?, PACE);
    sandbox.system.kill("agent")?;
    thread::sleep(WITHOUT_AGENT);
    sandbox.system.start("agent")?;
    settled(
        sandbox,
        demonstration,
        &before,
        table,
        "agent killed for 10 s",
    )?;
    let failed = load::failures(&requests.stop()).len();
    table.row(
        "requests while it was away",
        format!("{failed} failed"),
        "0",
        failed == 0,
    );
    Ok(())
}

/// Every core busy for a minute, twice over.
pub fn under_load(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
) -> anyhow::Result<()> {
    steady(
        sandbox,
        demonstration,
        table,
        "60 s of full CPU load",
        |_before| {
            let stop = Arc::new(AtomicBool::new(false));
            let cores = thread::available_parallelism()?.get();
            let burners: Vec<_> = (0..cores * 2)
                .map(|_| {
                    let stop = Arc::clone(&stop);
                    thread::spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                    })
                })
                .collect();
            thread::sleep(UNDER_LOAD);
            stop.store(true, Ordering::Relaxed);
            drop(
                burners
                    .into_iter()
                    .map(thread::JoinHandle::join)
                    .collect::<Vec<_>>(),
            );
            Ok(())
        },
    )
}

fn steady(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
    what: &str,
    trouble: impl FnOnce(&LoadBalancer) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let before = sandbox.system.whole_pair(&demonstration.load_balancer)?;
    let requests = load::paced(&failover::target(demonstration, "/", PATIENT)?, PACE);
    trouble(&before)?;
    settled(sandbox, demonstration, &before, table, what)?;
    drop(requests.stop());
    Ok(())
}

/// Nobody took over, and nobody was restarted.
fn settled(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    before: &LoadBalancer,
    table: &mut Table,
    what: &str,
) -> anyhow::Result<()> {
    // A false failover would show within a beat of the heartbeat's longest deadline.
    thread::sleep(Duration::from_secs(1));
    let after = sandbox.system.whole_pair(&demonstration.load_balancer)?;
    let latches = after.epoch.wrapping_sub(before.epoch);
    let same = after.amphorae == before.amphorae;
    let seen = format!(
        "{latches} latches, pids {}",
        if same { "unchanged" } else { "changed" }
    );
    table.row(what, seen, "0, unchanged", latches == 0 && same);
    Ok(())
}
