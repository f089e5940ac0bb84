//! Server and agent gone: the data path goes on alone, fails over alone, and is found as it was left.

use std::time::Duration;

use lb_testkit::{certs::TestCa, demo::Demonstration, load, wait};

use super::{answers, failover, table::Table};
use crate::{run::lines, sandbox::Sandbox};

/// Promised for a death that only XDP can notice.
const ALONE_MAX: Duration = Duration::from_millis(150);
/// Long enough for XDP to notice and for requests to show it.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// Both killed; requests; an empty neighbour table; an amphora killed; both started again.
pub fn both_killed(
    sandbox: &mut Sandbox,
    demonstration: &Demonstration,
    ca: &TestCa,
    table: &mut Table,
) -> anyhow::Result<()> {
    let before = sandbox.system.whole_pair(&demonstration.load_balancer)?;
    sandbox.system.kill("server")?;
    sandbox.system.kill("agent")?;
    let lines = lines::curl(demonstration, &ca.certificate());
    if let Some(topology) = &sandbox.topology {
        for line in &lines {
            topology.flush_client_neighbours()?;
            answers::run(line, &[])?;
        }
    }
    let seen = format!("{} right", lines.len());
    table.row("both killed, neighbours forgotten", seen, "all right", true);

    let measuring = failover::measuring(demonstration)?;
    before.active()?.signal("KILL")?;
    std::thread::sleep(SHOWN_WITHIN);
    let window = load::longest_window(&measuring.stop());
    table.within("window after SIGKILL, both gone", window, ALONE_MAX);

    sandbox.system.start("server")?;
    sandbox.system.start("agent")?;
    let api = sandbox.system.api();
    wait::until(Duration::from_secs(20), Duration::from_millis(20), || {
        Ok(api.get("/").is_ok())
    })?;
    let after = sandbox.system.whole_pair(&demonstration.load_balancer)?;
    let survivor = before.amphorae.iter().find(|amphora| !amphora.active);
    let kept = survivor.is_some_and(|survivor| {
        after.amphorae.iter().any(|amphora| {
            amphora.id == survivor.id && amphora.pid == survivor.pid && amphora.active
        })
    });
    let seen = if kept {
        "same pid, active"
    } else {
        "not the same"
    };
    table.row(
        "healthy amphora after the restart",
        seen.to_owned(),
        "same pid, active",
        kept,
    );
    for line in &lines {
        answers::run(line, &[])?;
    }
    api.wait_active(&demonstration.load_balancer, Duration::from_secs(20))?;
    table.row(
        "answers after the restart",
        format!("{} right", lines.len()),
        "all right",
        true,
    );
    Ok(())
}
