//! The real `openstack` client, logged in to a real Keystone, finds the real server in the catalogue.

use std::{env, net::TcpListener, process::Command};

use lb_testkit::{
    keystone::{Keystone, PASSWORD, SERVICE_USER},
    python::environment,
};
use serde_json::Value;

use crate::server::Server;

const SUBNET: &str = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0b01";

struct Cloud {
    keystone: Keystone,
    _server: Server,
}

impl Cloud {
    fn start() -> anyhow::Result<Self> {
        // The catalogue names the server's port before the server is there.
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let keystone = Keystone::start(Some(&format!("http://{listen}")))?;
        let server = Server::start(
            listen,
            &[
                ("LBAAS_API__AUTH_STRATEGY", "keystone"),
                ("LBAAS_KEYSTONE__AUTH_URL", keystone.url()),
                ("LBAAS_KEYSTONE__TIMEOUT_SECS", "90"),
                ("LBAAS_KEYSTONE__USERNAME", SERVICE_USER),
                ("LBAAS_KEYSTONE__PASSWORD", PASSWORD),
                ("LBAAS_KEYSTONE__PROJECT_NAME", "service"),
                ("LBAAS_KEYSTONE__USER_DOMAIN_NAME", "Default"),
                ("LBAAS_KEYSTONE__PROJECT_DOMAIN_NAME", "Default"),
            ],
        )?;
        assert_eq!(server.address, listen);
        Ok(Self {
            keystone,
            _server: server,
        })
    }

    /// `openstack loadbalancer LINE -f json` as a user; what it printed, or what it complained of.
    fn run(&self, user: &str, project: &str, line: &str) -> anyhow::Result<Result<Value, String>> {
        let output = Command::new(environment()?.join("bin/openstack"))
            .arg("loadbalancer")
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", env::temp_dir())
            .env("OS_AUTH_URL", format!("{}/v3", self.keystone.url()))
            .env("OS_IDENTITY_API_VERSION", "3")
            .env("OS_USERNAME", user)
            .env("OS_PASSWORD", PASSWORD)
            .env("OS_PROJECT_NAME", project)
            .env("OS_USER_DOMAIN_NAME", "Default")
            .env("OS_PROJECT_DOMAIN_NAME", "Default")
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            let out = text(&output.stdout);
            Ok(Ok(serde_json::from_str(&out).unwrap_or(Value::Null)))
        } else {
            Ok(Err(text(&output.stdout) + &text(&output.stderr)))
        }
    }

    fn member(&self, line: &str) -> anyhow::Result<Value> {
        let done = self.run("member-red", "red", line)?;
        done.map_err(|told| anyhow::anyhow!("openstack loadbalancer {line}: {told}"))
    }
}

#[test]
fn the_openstack_client_works_with_token_and_catalogue() -> anyhow::Result<()> {
    let cloud = Cloud::start()?;
    let create = format!("create --name web --vip-subnet-id {SUBNET} --wait -f json");
    let made = cloud.member(&create)?;
    assert_eq!(made["provisioning_status"], "ACTIVE", "{made}");
    assert_eq!(made["project_id"], cloud.keystone.project("red")?);
    cloud
        .member("listener create --name l --protocol HTTP --protocol-port 80 --wait web -f json")?;
    cloud.member("pool create --name p --listener l --protocol HTTP --lb-algorithm ROUND_ROBIN --wait -f json")?;
    cloud.member("member create --address 203.0.113.7 --protocol-port 80 --wait p -f json")?;
    let members = cloud.member("member list p -f json")?;
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");
    let listed = cloud.member("list -f json")?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");

    // Another project sees nothing of it, and may not have it either.
    let others = cloud.run("member-blue", "blue", "list -f json")?;
    assert_eq!(others, Ok(Value::Array(Vec::new())));
    let id = made["id"].as_str().unwrap_or_default();
    for (user, project, line) in [
        ("member-blue", "blue", format!("show {id} -f json")),
        ("reader-red", "red", format!("delete --cascade {id}")),
        ("member-red", "red", format!("failover {id}")),
        ("member-red", "red", "amphora list -f json".to_owned()),
    ] {
        let told = cloud.run(user, project, &line)?;
        let told = told.expect_err("must be refused");
        let refused = told.contains("403") || told.contains("Policy does not allow");
        assert!(refused, "{user}: {line}: {told}");
    }
    let seen = cloud.run("admin", "admin", "list -f json")?;
    assert_eq!(seen.map(|list| list.as_array().map(Vec::len)), Ok(Some(1)));
    let wrong = cloud.run("member-red", "blue", "list -f json")?;
    assert!(wrong.is_err(), "no role in that project: {wrong:?}");
    cloud.member(&format!("delete --cascade --wait {id}"))?;
    Ok(())
}
