//! Two servers on one PostgreSQL, with a simulated agent that speaks the real protocol: one of them is
//! killed in the middle of many creates, and nothing that was acknowledged is lost.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use lb_testkit::{api::ApiClient, postgres::Postgres, wait};
use serde_json::{Value, json};

use crate::process::{Process, SUBNET, list};

const CREATES: usize = 500;
/// The first server is killed when so many are acknowledged.
const KILLED_AT: usize = 200;
const CLIENTS: usize = 8;
/// Far beyond what it takes; machines that run tests are busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(45);
/// Creates load balancers until there are enough; gives the ids that were acknowledged.
fn create(
    next: &AtomicUsize,
    acknowledged: &AtomicUsize,
    servers: [ApiClient; 2],
) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CREATES {
            return Ok(ids);
        }
        let body =
            json!({"loadbalancer": {"name": format!("lb-{number}"), "vip_subnet_id": SUBNET}});
        let path = "/v2.0/lbaas/loadbalancers";
        for turn in [number, number + 1] {
            let [first, second] = servers;
            let server = if turn % 2 == 0 { first } else { second };
            // A server that was killed acknowledges nothing; whether it has done it is not known.
            let Ok(answer) = server.request("POST", path, Some(&body)) else {
                if turn == number {
                    continue;
                }
                anyhow::bail!("both servers are gone");
            };
            ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
            let id = answer
                .body
                .pointer("/loadbalancer/id")
                .and_then(Value::as_str);
            ids.push(id.context("no id")?.to_owned());
            acknowledged.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
}

#[test]
fn a_server_killed_in_the_middle_of_creates_loses_nothing() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let postgres = Postgres::start()?;
    let url = postgres.new_database()?;
    let settings = [("LBAAS_DATABASE__URL", url.as_str())];
    let (mut first, second) = std::thread::scope(|scope| {
        // At the same time: one makes schema, keys and CA, the other finds them.
        let first = scope.spawn(|| Process::start(dir.path(), &["server"], &settings));
        let second = Process::start(dir.path(), &["server"], &settings)?;
        let first = first.join().ok().context("it panicked")??;
        anyhow::Ok((first, second))
    })?;
    let (near, far) = (
        first.sync.context("no address")?,
        second.sync.context("no address")?,
    );
    let servers = format!("{near},{far}");
    let _agent = Process::start(
        dir.path(),
        &["agent", "--simulate"],
        &[("LBAAS_AGENT__SERVER", servers.as_str())],
    )?;

    let (next, acknowledged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let apis = [first.api()?, second.api()?];
    let ids = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_client| scope.spawn(|| create(&next, &acknowledged, apis)))
            .collect();
        wait::until(Duration::from_secs(120), Duration::from_millis(1), || {
            Ok(acknowledged.load(Ordering::Relaxed) >= KILLED_AT
                || clients
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished))
        })?;
        first.kill();
        let mut ids = Vec::new();
        for client in clients {
            ids.extend(client.join().ok().context("a client panicked")??);
        }
        anyhow::Ok(ids)
    })?;
    ensure!(ids.len() == CREATES, "only {} acknowledged", ids.len());

    let survivor = second.api()?;
    let settled = wait::until(SETTLED_WITHIN, Duration::from_millis(50), || {
        let statuses: BTreeSet<String> = list(survivor)?
            .iter()
            .filter_map(|one| one["provisioning_status"].as_str().map(str::to_owned))
            .collect();
        Ok(statuses == BTreeSet::from(["ACTIVE".to_owned()]))
    })?;
    let all = list(survivor)?;
    let pending = all
        .iter()
        .filter(|one| one["provisioning_status"] != "ACTIVE");
    ensure!(settled, "not ACTIVE: {:?}", pending.collect::<Vec<_>>());
    let listed: BTreeSet<&str> = all.iter().filter_map(|one| one["id"].as_str()).collect();
    ensure!(ids.iter().all(|id| listed.contains(id.as_str())), "lost");
    let vips: BTreeSet<&str> = all
        .iter()
        .filter_map(|one| one["vip_address"].as_str())
        .collect();
    ensure!(vips.len() == all.len(), "an address was given twice");
    // What was under way when the server was killed may be there without an answer, once.
    ensure!(all.len() <= CREATES + CLIENTS, "{} there", all.len());
    Ok(())
}

#[test]
fn a_database_that_is_away_is_answered_with_503_until_it_is_back() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let postgres = Postgres::start()?;
    let url = postgres.new_database()?;
    let settings = [
        ("LBAAS_DATABASE__URL", url.as_str()),
        ("LBAAS_DATABASE__CONNECT_TIMEOUT_SECS", "1"),
    ];
    let server = Process::start(dir.path(), &["server"], &settings)?;
    let api = server.api()?;
    list(api)?;
    postgres.crash()?;
    let away = api.request("GET", "/v2.0/lbaas/loadbalancers", None)?;
    ensure!(away.status == 503, "{away:?}");
    postgres.restart()?;
    let back = wait::until(Duration::from_secs(10), Duration::from_millis(100), || {
        let answer = api.request("GET", "/v2.0/lbaas/loadbalancers", None)?;
        Ok(answer.status == 200)
    })?;
    ensure!(back, "it does not come back");
    Ok(())
}
