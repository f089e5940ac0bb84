//! `cargo xtask upgrade-test`: the release before this one and this one, side by side.
//!
//! On one PostgreSQL two servers and a (simulated) agent of an earlier commit are replaced one by one
//! by this tree's, in every order that an operator may take, while clients create, change and delete
//! load balancers all the time. What must hold: no request is answered with a server error, nothing
//! acknowledged is lost, nothing stays PENDING_*, no address is given twice.

mod clients;
mod previous;
mod process;

use std::{path::Path, time::Duration};

use anyhow::ensure;
use lb_testkit::{postgres::Postgres, wait};

use crate::{build, shell};

use clients::Clients;
use process::{Kind, Process};

/// How long each mixture of versions works under load.
const MIXED_FOR: Duration = Duration::from_secs(5);
/// Far beyond what it takes.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct UpgradeArgs {
    /// The commit that is upgraded from; it is built in a worktree under target/.
    #[arg(long, default_value = "HEAD~1", value_name = "COMMIT")]
    from: String,
}

/// What is replaced, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    FirstServer,
    SecondServer,
    Agent,
}

/// Orders in which an operator may go.
const ORDERS: [(&str, [Step; 3]); 2] = [
    (
        "server, agent, server",
        [Step::FirstServer, Step::Agent, Step::SecondServer],
    ),
    (
        "agent, server, server",
        [Step::Agent, Step::SecondServer, Step::FirstServer],
    ),
];

pub fn upgrade_test(args: &UpgradeArgs) -> anyhow::Result<()> {
    let (previous, commit) = previous::build(&args.from)?;
    let ours = build::lbaas()?;
    let postgres = Postgres::start()?;
    for (name, order) in ORDERS {
        shell::say(&format!("from {commit}: {name}"));
        upgrade(&previous, &ours, &postgres.new_database()?, &order)?;
    }
    Ok(())
}

fn upgrade(old: &Path, new: &Path, database: &str, order: &[Step]) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let start = |binary: &Path, kind| Process::start(binary, dir.path(), database, kind);
    let first = process::free_port()?;
    let second = process::free_port()?;
    // Of the agent's two servers the one that is replaced last comes first.
    let agents = [second.sync, first.sync];
    let mut servers = [
        start(old, Kind::Server(first))?,
        start(old, Kind::Server(second))?,
    ];
    let mut agent = start(old, Kind::Agent(agents))?;
    let clients = Clients::start([first.api, second.api]);
    for step in order {
        clients.work_for(MIXED_FOR)?;
        match step {
            Step::FirstServer => servers[0].replace(|| start(new, Kind::Server(first)))?,
            Step::SecondServer => servers[1].replace(|| start(new, Kind::Server(second)))?,
            Step::Agent => agent.replace(|| start(new, Kind::Agent(agents)))?,
        }
        shell::say(&format!("  {step:?} replaced; {}", clients.figures()));
    }
    clients.work_for(MIXED_FOR)?;
    let done = clients.stop()?;
    shell::say(&format!("  {done}"));
    let settled = wait::until(SETTLED_WITHIN, LOOK_AGAIN, || done.is_settled(first.api))?;
    ensure!(settled, "not settled: {}", done.unsettled(first.api)?);
    done.check(first.api)?;
    for server in &servers {
        ensure!(server.is_alive()?, "a server ended: {}", server.log());
    }
    Ok(())
}
