//! A burst as Terraform makes it: several load balancers, and of each everything that can be made at
//! the same time is. Nobody is told 409, and everything is ACTIVE in the end.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use lb_testkit::{api::ApiClient, postgres::Postgres, wait};
use serde_json::{Value, json};

use crate::process::{Process, SUBNET, list};

const LOAD_BALANCERS: usize = 3;
/// Of each load balancer, at the same time.
const BRANCHES: usize = 2;
const MEMBERS: usize = 3;
const POLICIES: usize = 2;
/// Far beyond what it takes; machines that run tests are busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

fn make(api: ApiClient, path: &str, key: &str, fields: &Value) -> anyhow::Result<String> {
    let path = format!("/v2.0/lbaas/{path}");
    let answer = api.request("POST", &path, Some(&json!({key: fields})))?;
    ensure!(
        answer.status == 201,
        "{path}: {}: {}",
        answer.status,
        answer.body
    );
    let id = answer.body.pointer(&format!("/{key}/id"));
    Ok(id.and_then(Value::as_str).context("no id")?.to_owned())
}

/// Runs every piece of work at the same time.
fn at_once<'w>(works: impl IntoIterator<Item = Work<'w>>) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = works.into_iter().map(|work| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().ok().context("it panicked")??;
        }
        Ok(())
    })
}

type Work<'w> = Box<dyn FnOnce() -> anyhow::Result<()> + Send + 'w>;

/// A pool, then its members and its monitor at once.
fn pool(api: ApiClient, lb: &str, number: usize) -> anyhow::Result<()> {
    let fields = json!({"loadbalancer_id": lb, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"});
    let pool = &make(api, "pools", "pool", &fields)?;
    let members = (0..MEMBERS).map(|member| -> Work<'_> {
        Box::new(move || {
            let address = format!("198.18.{number}.{}", 200 + member);
            let fields = json!({"address": address, "protocol_port": 80});
            make(api, &format!("pools/{pool}/members"), "member", &fields).map(drop)
        })
    });
    let monitor: Work<'_> = Box::new(move || {
        let fields =
            json!({"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2});
        make(api, "healthmonitors", "healthmonitor", &fields).map(drop)
    });
    at_once(members.chain([monitor]))
}

/// A listener, then its policies at once, each with a rule.
fn listener(api: ApiClient, lb: &str, number: usize) -> anyhow::Result<()> {
    let port = 1000 + number;
    let fields = json!({"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": port});
    let listener = &make(api, "listeners", "listener", &fields)?;
    at_once((0..POLICIES).map(|_policy| -> Work<'_> {
        Box::new(move || {
            let fields = json!({"listener_id": listener, "action": "REJECT"});
            let policy = make(api, "l7policies", "l7policy", &fields)?;
            let rule = json!({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"});
            make(api, &format!("l7policies/{policy}/rules"), "rule", &rule).map(drop)
        })
    }))
}

fn load_balancer(api: ApiClient) -> anyhow::Result<()> {
    let lb = &make(
        api,
        "loadbalancers",
        "loadbalancer",
        &json!({"vip_subnet_id": SUBNET}),
    )?;
    let path = format!("/v2.0/lbaas/loadbalancers/{lb}");
    let status = "/loadbalancer/provisioning_status";
    let active = wait::until(SETTLED_WITHIN, Duration::from_millis(20), || {
        let shown = api.call("GET", &path, None)?;
        Ok(shown.pointer(status) == Some(&json!("ACTIVE")))
    })?;
    ensure!(active, "{lb} does not become ACTIVE");
    let pools = (0..BRANCHES).map(|number| -> Work<'_> { Box::new(move || pool(api, lb, number)) });
    let listeners =
        (0..BRANCHES).map(|number| -> Work<'_> { Box::new(move || listener(api, lb, number)) });
    at_once(pools.chain(listeners))
}

fn count(api: ApiClient, collection: &str) -> anyhow::Result<usize> {
    let path = format!("/v2.0/lbaas/{collection}?provisioning_status=ACTIVE");
    let list = api.call("GET", &path, None)?;
    let items = list.get(collection).and_then(Value::as_array);
    Ok(items.context("no list")?.len())
}

fn burst(dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let server = Process::start(dir, &["all-in-one", "--simulate"], settings)?;
    let api = server.api()?;
    at_once((0..LOAD_BALANCERS).map(|_lb| -> Work<'_> { Box::new(move || load_balancer(api)) }))?;
    let branches = LOAD_BALANCERS * BRANCHES;
    let settled = wait::until(SETTLED_WITHIN, Duration::from_millis(50), || {
        Ok(count(api, "loadbalancers")? == LOAD_BALANCERS
            && count(api, "listeners")? == branches
            && count(api, "pools")? == branches
            && count(api, "healthmonitors")? == branches
            && count(api, "l7policies")? == branches * POLICIES)
    })?;
    ensure!(settled, "not all ACTIVE: {:?}", list(api)?);
    Ok(())
}

#[test]
fn a_burst_of_parallel_creates_meets_no_409_on_sqlite() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    burst(dir.path(), &[])
}

#[test]
fn a_burst_of_parallel_creates_meets_no_409_on_postgresql() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let postgres = Postgres::start()?;
    let url = postgres.new_database()?;
    burst(dir.path(), &[("LBAAS_DATABASE__URL", url.as_str())])
}
