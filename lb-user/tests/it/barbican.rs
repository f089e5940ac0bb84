//! A listener's certificate in a real Barbican, asked for with tokens of a real Keystone.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use lb_testkit::{
    barbican::Barbican,
    certs::TestCa,
    client::Http,
    keystone::{Keystone, PASSWORD, SERVICE_USER},
    wait,
};
use serde_json::{Value, json};

use crate::server::Server;

const SUBNET: &str = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0b01";
/// No secret has it.
const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";
/// Barbican and Keystone answer one after the other, and slowly.
const SOON: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

struct Cloud {
    server: Server,
    barbican: Barbican,
    keystone: Keystone,
}

impl Cloud {
    fn start() -> anyhow::Result<Self> {
        let keystone = Keystone::start(None)?;
        let barbican = Barbican::start(&keystone)?;
        let server = Server::start(
            "127.0.0.1:0".parse()?,
            &[
                ("LBAAS_API__AUTH_STRATEGY", "keystone"),
                ("LBAAS_KEYSTONE__AUTH_URL", keystone.url()),
                ("LBAAS_KEYSTONE__TIMEOUT_SECS", "60"),
                ("LBAAS_KEYSTONE__USERNAME", SERVICE_USER),
                ("LBAAS_KEYSTONE__PASSWORD", PASSWORD),
                ("LBAAS_KEY_MANAGER__ENDPOINT", barbican.url()),
                ("LBAAS_KEY_MANAGER__TIMEOUT_SECS", "60"),
                ("LBAAS_KEY_MANAGER__RECHECK_SECS", "1"),
            ],
        )?;
        Ok(Self {
            server,
            barbican,
            keystone,
        })
    }

    /// Status and body of an answer of ours below `/v2/lbaas`.
    fn ask(
        &self,
        token: &str,
        verb: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(u16, Value)> {
        let headers = [
            ("X-Auth-Token", token),
            ("Content-Type", "application/json"),
        ];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut http = Http::connect(self.server.address, SOON)?;
        let answer = http.request(verb, &format!("/v2/lbaas/{path}"), &headers, &body)?;
        let body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        Ok((answer.status, body))
    }

    /// A load balancer of the token's project, ACTIVE; its id.
    fn load_balancer(&self, token: &str) -> anyhow::Result<String> {
        let body = json!({"loadbalancer": {"vip_subnet_id": SUBNET}});
        let (status, body) = self.ask(token, "POST", "loadbalancers", &body)?;
        ensure!(status == 201, "{status}: {body}");
        let id = body
            .pointer("/loadbalancer/id")
            .and_then(Value::as_str)
            .context("no id")?;
        self.becomes(token, &format!("loadbalancers/{id}"), "ACTIVE")?;
        Ok(id.to_owned())
    }

    /// Asks for a TERMINATED_HTTPS listener.
    fn listener(
        &self,
        token: &str,
        (load_balancer, port): (&str, u16),
        reference: &str,
    ) -> anyhow::Result<(u16, Value)> {
        let body = json!({"listener": {
            "loadbalancer_id": load_balancer, "protocol": "TERMINATED_HTTPS", "protocol_port": port,
            "default_tls_container_ref": reference,
        }});
        self.ask(token, "POST", "listeners", &body)
    }

    fn becomes(&self, token: &str, path: &str, wanted: &str) -> anyhow::Result<()> {
        let mut last = Value::Null;
        let found = wait::until(SOON, LOOK_EVERY, || {
            last = self.ask(token, "GET", path, &Value::Null)?.1;
            let mut objects = last.as_object().into_iter().flat_map(|it| it.values());
            Ok(objects.any(|it| it.get("provisioning_status") == Some(&json!(wanted))))
        })?;
        ensure!(found, "not {wanted}: {last}");
        Ok(())
    }
}

fn pkcs12(dir: &Path) -> anyhow::Result<Vec<u8>> {
    TestCa::create(dir)?.pkcs12("shop.example")
}

fn uuid_of(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

#[test]
fn a_secret_of_barbican_is_read_as_the_service_user_and_outlives_barbican() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let cloud = Cloud::start()?;
    let red = cloud.keystone.token("member", "red")?;
    let blue = cloud.keystone.token("member", "blue")?;
    let reference = cloud.barbican.store(&red, &pkcs12(dir.path())?)?;
    let no_certificate = cloud.barbican.store(&red, b"no certificate")?;
    let id = uuid_of(&reference);
    let lb = cloud.load_balancer(&red)?;

    // Of a reference only the UUID counts, whatever host it names.
    let elsewhere = format!("https://198.51.100.1:9311/v1/secrets/{id}");
    let (status, made) = cloud.listener(&red, (&lb, 443), &elsewhere)?;
    ensure!(status == 201, "{status}: {made}");
    let made = made.pointer("/listener/id").and_then(Value::as_str);
    let listener = format!("listeners/{}", made.context("no id")?);
    cloud.becomes(&red, &listener, "ACTIVE")?;

    // The service user is on the access list, and who was there before stays.
    let acl = format!("/v1/secrets/{id}/acl");
    let known = cloud.barbican.ask("GET", &acl, &red, None)?.body;
    let service = cloud.keystone.user(SERVICE_USER)?;
    ensure!(
        known.pointer("/read/users") == Some(&json!([service])),
        "{known}"
    );
    ensure!(
        known.pointer("/read/project-access") == Some(&json!(true)),
        "{known}"
    );

    // Another project's secret answers exactly like one that does not exist.
    let theirs = cloud.load_balancer(&blue)?;
    let (status, foreign) = cloud.listener(&blue, (&theirs, 443), &reference)?;
    let nobodys = reference.replace(id, NOBODYS);
    let (absent, missing) = cloud.listener(&blue, (&theirs, 443), &nobodys)?;
    ensure!((status, absent) == (400, 400), "{foreign} {missing}");
    let told: Value = foreign.to_string().replace(id, NOBODYS).parse()?;
    ensure!(missing == told, "told apart: {told} {missing}");
    let (status, refused) = cloud.listener(&red, (&lb, 444), &no_certificate)?;
    ensure!(status == 400, "{status}: {refused}");

    // With Barbican away its copy goes on serving, changes included.
    cloud.barbican.stop()?;
    let change = json!({"listener": {"connection_limit": 77}});
    let (status, changed) = cloud.ask(&red, "PUT", &listener, &change)?;
    ensure!(status == 200, "{status}: {changed}");
    cloud.becomes(&red, &listener, "ACTIVE")?;
    cloud.becomes(&red, &format!("loadbalancers/{lb}"), "ACTIVE")?;
    // What nobody has read yet cannot be had, and why is said (Octavia's status for all of that).
    let (status, away) = cloud.listener(&red, (&lb, 445), &nobodys)?;
    ensure!(status == 400, "{status}: {away}");
    ensure!(away.to_string().contains("does not answer"), "{away}");
    Ok(())
}

#[test]
fn a_container_that_barbican_has_no_more_takes_its_listener_to_error_and_only_that()
-> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let cloud = Cloud::start()?;
    let red = cloud.keystone.token("member", "red")?;
    pkcs12(dir.path())?;
    let part = |kind: &str| -> anyhow::Result<String> {
        let pem = std::fs::read(dir.path().join(format!("shop.example.{kind}")))?;
        cloud.barbican.store(&red, &pem)
    };
    let (certificate, key) = (part("pem")?, part("key")?);
    let reference = cloud.barbican.contain(
        &red,
        &[("certificate", &certificate), ("private_key", &key)],
    )?;
    let lb = cloud.load_balancer(&red)?;
    let (status, made) = cloud.listener(&red, (&lb, 443), &reference)?;
    ensure!(status == 201, "{status}: {made}");
    let made = made.pointer("/listener/id").and_then(Value::as_str);
    let listener = format!("listeners/{}", made.context("no id")?);
    cloud.becomes(&red, &listener, "ACTIVE")?;
    let path = format!("/v1/containers/{}", uuid_of(&reference));
    let deleted = cloud.barbican.ask("DELETE", &path, &red, None)?;
    ensure!(deleted.status == 204, "{}", deleted.body);
    cloud.becomes(&red, &listener, "ERROR")?;
    cloud.becomes(&red, &format!("loadbalancers/{lb}"), "ACTIVE")
}
