//! An installation is backed up while it works, goes on, and is put back as it was, on the other
//! engine; its agent runs all the time.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use lb_testkit::{api::ApiClient, postgres::Postgres, wait};
use serde_json::{Value, json};

use crate::process::{Process, SUBNET, list, tool};

const SOON: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const PATH: &str = "/v2.0/lbaas/loadbalancers";

fn create(api: ApiClient, name: &str) -> anyhow::Result<String> {
    let body = json!({"loadbalancer": {"name": name, "vip_subnet_id": SUBNET}});
    let answer = api.call("POST", PATH, Some(&body))?;
    let id = answer.pointer("/loadbalancer/id").and_then(Value::as_str);
    Ok(id.context("no id")?.to_owned())
}

/// Waits until exactly these are there, by name, and all are ACTIVE.
fn settled(api: ApiClient, names: &[&str]) -> anyhow::Result<()> {
    let wanted: BTreeMap<String, String> = names
        .iter()
        .map(|name| ((*name).to_owned(), "ACTIVE".to_owned()))
        .collect();
    let mut seen = BTreeMap::new();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let done = wait::until(SOON, LOOK_AGAIN, || {
        let all = list(api)?;
        seen = all
            .iter()
            .map(|one| (text(one, "name"), text(one, "provisioning_status")))
            .collect();
        Ok(seen == wanted)
    })?;
    ensure!(done, "{seen:?}, not {names:?}");
    Ok(())
}

/// Puts a backup of an installation on one engine back on the other.
fn put_back(dir: &Path, from: &[(&str, &str)], to: &[(&str, &str)]) -> anyhow::Result<()> {
    let file = dir.join("backup").display().to_string();
    let mut server = Process::start(dir, &["server"], from)?;
    let sync = server.sync.context("no address")?.to_string();
    let address = [("LBAAS_AGENT__SERVER", sync.as_str())];
    let _agent = Process::start(dir, &["agent", "--simulate"], &address)?;
    let api = server.api()?;
    let kept = create(api, "kept")?;
    let deleted = create(api, "deleted")?;
    settled(api, &["kept", "deleted"])?;
    tool(dir, &["backup", &file], from)?;
    let mode = std::fs::metadata(&file)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    ensure!(tool(dir, &["backup", &file], from).is_err(), "overwritten");

    // More changes of `kept` than the restored one will see soon, so that the agent is ahead.
    for number in 0..5 {
        let body = json!({"loadbalancer": {"name": format!("changed-{number}")}});
        api.call("PUT", &format!("{PATH}/{kept}"), Some(&body))?;
    }
    api.call("DELETE", &format!("{PATH}/{deleted}"), None)?;
    let orphan = create(api, "orphan")?;
    settled(api, &["changed-4", "orphan"])?;
    let address = list(api)?;
    let address = address.iter().find(|one| one["id"] == *orphan);
    let address = address.context("no orphan")?["vip_address"].clone();
    server.kill();

    let told = tool(dir, &["restore", &file, "--force"], to)?;
    ensure!(told.contains("Restored 2 load balancers"), "{told}");
    let with_sync = [to, &[("LBAAS_CONTROLLER__SYNC_LISTEN", sync.as_str())]].concat();
    let server = Process::start(dir, &["server"], &with_sync)?;
    let api = server.api()?;
    settled(api, &["kept", "deleted"])?;
    // What the agent had applied is not what counts: this change is carried out, too.
    let body = json!({"loadbalancer": {"name": "kept", "admin_state_up": false}});
    api.call("PUT", &format!("{PATH}/{kept}"), Some(&body))?;
    settled(api, &["kept", "deleted"])?;

    let listed = || tool(dir, &["orphans"], to);
    let found = wait::until(SOON, LOOK_AGAIN, || {
        let listed = listed()?;
        Ok(listed.contains(&orphan) && listed.contains(address.as_str().unwrap_or("?")))
    })?;
    let log = || std::fs::read_to_string(dir.join("log"));
    ensure!(found, "{}\n{}", listed()?, log()?);
    let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET, "vip_address": address}});
    let taken = api.request("POST", PATH, Some(&body))?;
    ensure!(taken.status == 409, "{taken:?}");
    tool(dir, &["orphans", "confirm", &orphan], to)?;
    let gone = wait::until(SOON, LOOK_AGAIN, || Ok(!listed()?.contains(&orphan)))?;
    ensure!(gone, "{}\n{}", listed()?, log()?);
    api.call("POST", PATH, Some(&body))?;
    Ok(())
}

#[test]
fn what_sqlite_held_is_put_back_on_postgresql_and_the_agent_follows() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let postgres = Postgres::shared()?;
    let url = postgres.new_database()?;
    put_back(dir.path(), &[], &[("LBAAS_DATABASE__URL", url.as_str())])
}

#[test]
fn what_postgresql_held_is_put_back_on_sqlite_and_the_agent_follows() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let postgres = Postgres::shared()?;
    let url = postgres.new_database()?;
    put_back(dir.path(), &[("LBAAS_DATABASE__URL", url.as_str())], &[])
}
