//! `cargo xtask run --check`: does what the printed lines say, breaks things on purpose, and prints
//! what it saw beside what is promised.
//!
//! Server and agent run as two processes here, so that they can be killed apart from each other.

mod answers;
mod failover;
mod outage;
mod steady;
mod table;

use lb_testkit::{certs::TestCa, demo::Demonstration};

use crate::{sandbox::Sandbox, shell};

/// Runs every check; the table is printed whatever happens, and any row that failed fails it all.
pub fn check(
    sandbox: &mut Sandbox,
    demonstration: &Demonstration,
    ca: &TestCa,
) -> anyhow::Result<()> {
    let mut table = table::Table::default();
    let outcome = all(sandbox, demonstration, ca, &mut table);
    shell::say(&format!("\n{table}"));
    let logs = crate::cargo::target_dir().join("check");
    sandbox.system.keep_logs(&logs)?;
    shell::say(&format!("logs: {}", logs.display()));
    outcome?;
    table.verdict()
}

fn all(
    sandbox: &mut Sandbox,
    demonstration: &Demonstration,
    ca: &TestCa,
    table: &mut table::Table,
) -> anyhow::Result<()> {
    answers::lines(demonstration, ca, table)?;
    answers::shares(demonstration, table)?;
    answers::openstack(table)?;
    failover::killed(sandbox, demonstration, table)?;
    failover::stopped(sandbox, demonstration, table)?;
    failover::planned(sandbox, demonstration, table)?;
    steady::frozen(sandbox, demonstration, table)?;
    steady::without_agent(sandbox, demonstration, table)?;
    steady::under_load(sandbox, demonstration, table)?;
    outage::both_killed(sandbox, demonstration, ca, table)
}
