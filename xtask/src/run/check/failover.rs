//! An active amphora that is killed, stopped, or drained on request, under request loops.

use std::{net::SocketAddr, time::Duration};

use lb_testkit::{
    demo::Demonstration,
    load::{self, Attempt, Loop, Target},
    system::observed::LoadBalancer,
    wait,
};

use super::table::Table;
use crate::{sandbox::Sandbox, shell};

/// A new connection this often measures a window.
const PACE: Duration = Duration::from_millis(3);
/// A request that was in flight when the active amphora died is given up after this.
const GIVE_UP: Duration = Duration::from_millis(400);
/// What a request of the planned failover may take: far above the slow path's two seconds.
const PATIENT: Duration = Duration::from_secs(10);
/// Promised after SIGKILL.
const KILLED_MAX: Duration = Duration::from_millis(50);
/// Promised after SIGSTOP.
const STOPPED_MAX: Duration = Duration::from_millis(150);
/// Loops run this long before something is broken, and after it is mended.
const WARM: Duration = Duration::from_millis(700);

/// SIGKILL to the active amphora.
pub fn killed(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
) -> anyhow::Result<()> {
    let window = window(sandbox, demonstration, "KILL")?;
    table.within("window after SIGKILL", window, KILLED_MAX);
    Ok(())
}

/// SIGSTOP to the active amphora.
pub fn stopped(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
) -> anyhow::Result<()> {
    let window = window(sandbox, demonstration, "STOP")?;
    table.within("window after SIGSTOP", window, STOPPED_MAX);
    Ok(())
}

/// The API's failover with connections of every kind open.
pub fn planned(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    table: &mut Table,
) -> anyhow::Result<()> {
    let id = &demonstration.load_balancer;
    let before = sandbox.system.whole_pair(id)?;
    let fast = target(demonstration, "/", PATIENT)?;
    let slow = target(demonstration, "/slow?ms=2000", PATIENT)?;
    let loops = vec![
        load::keep_alive(&fast),
        load::keep_alive(&fast),
        load::keep_alive(&slow),
        load::paced(&fast, PACE),
        load::paced(&slow, PACE * 10),
    ];
    std::thread::sleep(WARM);
    let api = sandbox.system.api();
    api.call(
        "PUT",
        &format!("/v2/lbaas/loadbalancers/{id}/failover"),
        None,
    )?;
    api.wait_active(id, Duration::from_secs(60))?;
    let after = sandbox.system.whole_pair(id)?;
    let attempts = merge(loops);
    let failures = load::failures(&attempts);
    let seen = format!("{} failed of {}", failures.len(), attempts.len());
    table.row("planned failover", seen, "0 failed", failures.is_empty());
    for failure in failures.iter().take(3) {
        shell::say(&format!("    {failure}"));
    }
    let moved = before.active()?.id != after.active()?.id;
    table.row(
        "planned failover moves",
        if moved { "yes" } else { "no" }.to_owned(),
        "yes",
        moved,
    );
    Ok(())
}

/// The time without service when the active amphora gets a signal; then waits for its rebuilding.
pub fn window(
    sandbox: &Sandbox,
    demonstration: &Demonstration,
    signal: &str,
) -> anyhow::Result<Duration> {
    let status = sandbox.system.agent_status();
    let before = sandbox.system.whole_pair(&demonstration.load_balancer)?;
    let measuring = measuring(demonstration)?;
    before.active()?.signal(signal)?;
    let moved = wait::until(Duration::from_secs(5), Duration::from_millis(2), || {
        let now = LoadBalancer::read(&status, &demonstration.load_balancer)?;
        Ok(now.epoch != before.epoch)
    })?;
    std::thread::sleep(WARM);
    let window = load::longest_window(&measuring.stop());
    sandbox.system.whole_pair(&demonstration.load_balancer)?;
    anyhow::ensure!(moved, "nobody took over after SIG{signal}");
    Ok(window)
}

/// A loop that measures a window, warm.
pub fn measuring(demonstration: &Demonstration) -> anyhow::Result<Loop> {
    let measuring = load::paced(&target(demonstration, "/", GIVE_UP)?, PACE);
    std::thread::sleep(WARM);
    Ok(measuring)
}

/// A path of listener1.
pub fn target(
    demonstration: &Demonstration,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<Target> {
    let vip = demonstration.vips.first().copied();
    let vip = vip.ok_or_else(|| anyhow::anyhow!("the demonstration has no VIP"))?;
    Ok(Target {
        address: SocketAddr::new(vip, 80),
        path: path.to_owned(),
        timeout,
    })
}

fn merge(loops: Vec<Loop>) -> Vec<Attempt> {
    loops.into_iter().flat_map(Loop::stop).collect()
}
