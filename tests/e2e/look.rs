//! What an operator sees of the data path of a live agent: `lbaas bpf` and `lbaas explain flow`.

#![expect(
    clippy::indexing_slicing,
    reason = "a field that is not there is null, and the comparison says so"
)]

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use lb_testkit::{command::run, demo::Demonstration, require_root, topology::SERVERS_V4};
use serde_json::Value;

use crate::world::{World, binary};

/// The demonstration's listener that XDP balances.
const HASHED: u16 = 9000;
/// Its listener that an amphora serves.
const HTTP: u16 = 80;

/// What `lbaas WORDS --json` prints.
fn ask(world: &World, words: &[&str]) -> anyhow::Result<Value> {
    let (binary, config) = (binary()?, world.system.config());
    let (binary, config) = (binary.to_str(), config.to_str());
    let (binary, config) = (binary.context("a path")?, config.context("a path")?);
    let all = [words, &["--json", "--config", config]].concat();
    let told = run(None, binary, &all)?;
    serde_json::from_str(&told).with_context(|| told)
}

fn rows(world: &World, what: &str) -> anyhow::Result<Vec<Value>> {
    let told = ask(world, &["bpf", what])?;
    Ok(told.as_array().context("a list")?.clone())
}

fn listener<'a>(demonstration: &'a Demonstration, name: &str) -> anyhow::Result<&'a str> {
    let mut all = demonstration.listeners.iter();
    let (_, id) = all.find(|(have, _)| have == name).context("a listener")?;
    Ok(id)
}

fn find<'a>(rows: &'a [Value], key: &str, value: &str) -> anyhow::Result<&'a Value> {
    let found = rows.iter().find(|row| row[key] == value);
    found.with_context(|| format!("no {key} {value} in {rows:?}"))
}

fn is_server(address: &Value) -> bool {
    let address = address.as_str().and_then(|text| text.parse().ok());
    address.is_some_and(|address: IpAddr| SERVERS_V4.map(IpAddr::V4).contains(&address))
}

#[test]
fn bpf_tells_what_the_maps_of_a_live_agent_hold() {
    if !require_root("bpf_tells_what_the_maps_of_a_live_agent_hold").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    let vip = demonstration.vips[0];
    world.get(SocketAddr::new(vip, HASHED), "/").unwrap();
    told_by_bpf(&world, &demonstration, vip).unwrap();
}

fn told_by_bpf(world: &World, demonstration: &Demonstration, vip: IpAddr) -> anyhow::Result<()> {
    let vips = rows(world, "vip")?;
    let it = find(&vips, "address", &vip.to_string())?;
    ensure!(it["load_balancer"] == *demonstration.load_balancer, "{it}");
    let ports = it["ports"].as_array().context("ports")?;
    ensure!(ports.contains(&format!("tcp/{HASHED}").into()), "{it}");

    let hashed = listener(demonstration, "listener3")?;
    let listeners = rows(world, "listener")?;
    let it = find(&listeners, "listener", hashed)?;
    ensure!(it["kind"] == "nat" && it["port"] == HASHED, "{it}");
    ensure!(it["algorithm"] == "source_ip_port", "{it}");
    let it = find(
        &listeners,
        "listener",
        listener(demonstration, "listener1")?,
    )?;
    ensure!(it["kind"] == "steer" && it["port"] == HTTP, "{it}");

    let members = rows(world, "member")?;
    let it = find(&members, "address", &SERVERS_V4[0].to_string())?;
    ensure!(
        it["next_hop"].is_string() && it["new_flows"] == true,
        "{it}"
    );

    let flows = rows(world, "flow")?;
    let it = find(&flows, "listener", hashed)?;
    ensure!(it["vip_port"] == HASHED && is_server(&it["member"]), "{it}");

    let tables = rows(world, "maglev")?;
    ensure!(
        tables.iter().any(|it| is_server(&it["address"])),
        "{tables:?}"
    );

    let stats = rows(world, "stats")?;
    let it = find(&stats, "id", hashed)?;
    ensure!(it["total"] == 1, "{it}");
    ensure!(it["bytes_out"].as_u64() > Some(0), "{it}");

    ensure!(!rows(world, "drops")?.is_empty(), "nothing was counted");
    Ok(())
}

#[test]
fn explain_flow_tells_what_becomes_of_a_packet() {
    if !require_root("explain_flow_tells_what_becomes_of_a_packet").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let demonstration = world.demonstrate().unwrap();
    explained(&world, &demonstration, demonstration.vips[0]).unwrap();
}

fn explained(world: &World, demonstration: &Demonstration, vip: IpAddr) -> anyhow::Result<()> {
    let flow = |port: u16| {
        let question = format!("198.51.100.77:40001 -> {vip}:{port}/tcp");
        ask(world, &["explain", "flow", &question])
    };
    let it = flow(HASHED)?;
    ensure!(it["verdict"] == "REDIRECT" || it["verdict"] == "TX", "{it}");
    ensure!(
        it["listener"]["id"] == listener(demonstration, "listener3")?,
        "{it}"
    );
    ensure!(it["listener"]["path"] == "xdp", "{it}");
    ensure!(is_server(&it["member"]["address"]), "{it}");
    ensure!(
        it["known_flow"] == false && it["left_behind"].is_string(),
        "{it}"
    );
    let headers = it["rewrite"]["headers"][0].as_str().context("a header")?;
    let member = it["member"]["address"].as_str().context("an address")?;
    ensure!(headers.contains(&format!("-> {member}:")), "{it}");

    let it = flow(HTTP)?;
    ensure!(it["listener"]["path"] == "amphora", "{it}");
    ensure!(
        it["verdict"] == "REDIRECT" && it["member"].is_null(),
        "{it}"
    );

    let it = flow(4)?;
    ensure!(it["listener"].is_null(), "{it}");
    ensure!(it["verdict"] != "REDIRECT", "{it}");
    Ok(())
}
