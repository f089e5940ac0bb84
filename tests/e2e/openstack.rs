//! The real `openstack` client does the demonstration by name, with nothing but
//! `OS_AUTH_TYPE=none` and `OS_ENDPOINT`.

use std::{
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, bail};
use lb_testkit::{certs::TestCa, demo, require_root};
use serde_json::Value;

use crate::world::World;

/// The client against one API.
struct OpenStack {
    program: PathBuf,
    endpoint: String,
}

impl OpenStack {
    fn new(api: SocketAddr) -> anyhow::Result<Self> {
        let directory = env::var_os("LBAAS_OPENSTACK")
            .context("LBAAS_OPENSTACK does not say where the client is; run `cargo xtask test`")?;
        let program = PathBuf::from(directory).join("openstack");
        Ok(Self {
            program,
            endpoint: format!("http://{api}"),
        })
    }

    /// Runs `openstack loadbalancer …`; gives what it printed.
    fn run(&self, line: &str) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .arg("loadbalancer")
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", env::temp_dir())
            .env("OS_AUTH_TYPE", "none")
            .env("OS_ENDPOINT", &self.endpoint)
            .output()?;
        let (out, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if !output.status.success() {
            bail!("openstack loadbalancer {line}: {out}{errors}");
        }
        Ok(out.into_owned())
    }

    fn json(&self, line: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(
            &self.run(&format!("{line} -f json"))?,
        )?)
    }
}

#[test]
fn the_real_client_does_the_demonstration_by_name() {
    if !require_root("the_real_client_does_the_demonstration_by_name").unwrap() {
        return;
    }
    let world = World::start().unwrap();
    let client = OpenStack::new(world.system.api_address()).unwrap();
    let vip = create_v4(&world, &client).unwrap();
    let at = |port| SocketAddr::new(vip, port);
    assert_eq!(world.server(at(80), "/").unwrap(), "server1");
    assert_eq!(world.server(at(80), "/api/orders").unwrap(), "server2");
    assert_eq!(world.server(at(8080), "/").unwrap(), "server2");
    assert!(world.server(at(9000), "/").unwrap().starts_with("server"));

    let vip = create_v6(&client).unwrap();
    assert!(vip.is_ipv6());
    assert_eq!(
        world.server(SocketAddr::new(vip, 80), "/").unwrap(),
        "server1"
    );

    looks_right(&client).unwrap();
    client.run("delete --cascade --wait demo").unwrap();
    client.run("delete --cascade --wait demo6").unwrap();
    assert_eq!(client.json("list").unwrap(), Value::Array(Vec::new()));
    assert!(
        world.get(at(80), "/").is_err(),
        "a deleted VIP answers nothing"
    );
}

fn create_v4(world: &World, client: &OpenStack) -> anyhow::Result<IpAddr> {
    let api = world.system.api();
    let ca = TestCa::create(&world.system.directory("ca"))?;
    let www = demo::store_secret(&api, "www", &ca.pkcs12(demo::DEFAULT_HOST)?)?;
    let sni = demo::store_secret(&api, "sni", &ca.pkcs12(demo::SNI_HOST)?)?;
    for line in [
        "create --name demo --vip-subnet-id public-v4 --wait",
        "pool create --name pool1 --loadbalancer demo --protocol HTTP --lb-algorithm ROUND_ROBIN --wait",
        "member create --name server1 --address 203.0.113.11 --protocol-port 8080 --subnet-id members-v4 pool1",
        "healthmonitor create --name m1 --type HTTP --delay 1 --timeout 1 --max-retries 1 pool1",
        "pool create --name pool2 --loadbalancer demo --protocol HTTP --lb-algorithm ROUND_ROBIN",
        "member create --name server2 --address 203.0.113.12 --protocol-port 8080 --subnet-id members-v4 pool2",
        "listener create --name listener1 --protocol HTTP --protocol-port 80 --default-pool pool1 demo",
        "l7policy create --name api --action REDIRECT_TO_POOL --redirect-pool pool2 listener1",
        "l7rule create --type PATH --compare-type STARTS_WITH --value /api api",
        "listener create --name listener2 --protocol HTTP --protocol-port 8080 --default-pool pool2 demo",
        &format!(
            "listener create --name https --protocol TERMINATED_HTTPS --protocol-port 443 \
             --default-pool pool1 --default-tls-container-ref {www} --sni-container-refs {sni} -- demo"
        ),
        "pool create --name pool3 --loadbalancer demo --protocol TCP --lb-algorithm SOURCE_IP_PORT",
        "member create --name tcp1 --address 203.0.113.11 --protocol-port 8080 --subnet-id members-v4 pool3",
        "member create --name tcp2 --address 203.0.113.12 --protocol-port 8080 --subnet-id members-v4 pool3",
        "listener create --name listener3 --protocol TCP --protocol-port 9000 --default-pool pool3 --wait demo",
    ] {
        client.run(line)?;
    }
    vip(client, "demo")
}

fn create_v6(client: &OpenStack) -> anyhow::Result<IpAddr> {
    for line in [
        "create --name demo6 --vip-subnet-id public-v6 --wait",
        "listener create --name l6 --protocol HTTP --protocol-port 80 demo6",
        "pool create --name p6 --listener l6 --protocol HTTP --lb-algorithm ROUND_ROBIN",
        "member create --name s6 --address 2001:db8:2::11 --protocol-port 8080 --subnet-id members-v6 --wait p6",
    ] {
        client.run(line)?;
    }
    vip(client, "demo6")
}

fn vip(client: &OpenStack, name: &str) -> anyhow::Result<IpAddr> {
    let shown = client.json(&format!("show {name}"))?;
    let field = |name: &str| shown.get(name).and_then(Value::as_str);
    anyhow::ensure!(field("provisioning_status") == Some("ACTIVE"), "{shown}");
    Ok(field("vip_address").context("no vip_address")?.parse()?)
}

fn looks_right(client: &OpenStack) -> anyhow::Result<()> {
    let status = client.run("status show demo")?;
    for name in [
        "listener1",
        "listener2",
        "https",
        "listener3",
        "pool1",
        "server1",
    ] {
        anyhow::ensure!(status.contains(name), "{name} is missing in {status}");
    }
    for (line, expected) in [
        ("list", "demo6"),
        ("listener list", "TERMINATED_HTTPS"),
        ("pool list", "SOURCE_IP_PORT"),
        ("member list pool1", "203.0.113.11"),
        ("healthmonitor list", "m1"),
        ("l7policy list", "REDIRECT_TO_POOL"),
        ("l7rule list api", "STARTS_WITH"),
        ("stats show demo", "bytes_in"),
        ("amphora list", "MASTER"),
        ("provider list", "amphora"),
    ] {
        let shown = client.run(line)?;
        anyhow::ensure!(
            shown.contains(expected),
            "`{line}` does not show {expected}: {shown}"
        );
    }
    Ok(())
}
