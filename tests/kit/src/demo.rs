//! The demonstration that the field knows, created through the public API: shared pools, an L7
//! policy, TLS with SNI, and a TCP listener that XDP hashes straight to its members.

use std::{net::IpAddr, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{api::ApiClient, certs::TestCa};

/// A change must be in the data path long before this.
const ACTIVE_WITHIN: Duration = Duration::from_secs(20);

/// Where the demonstration is put.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the load balancer.
    pub name: String,
    /// Subnet of the primary VIP.
    pub vip_subnet: String,
    /// Further VIPs, one a subnet.
    pub additional_subnets: Vec<String>,
    /// Members' subnet.
    pub member_subnet: String,
    /// Addresses of server1 and server2, in that order.
    pub servers: [IpAddr; 2],
    /// The same servers in IPv6, with their subnet: a hashed packet keeps its version, so the TCP
    /// pool needs members of each.
    pub servers_v6: Option<(String, [IpAddr; 2])>,
    /// Port of both.
    pub port: u16,
}

/// What was created.
#[derive(Clone, Debug)]
pub struct Demonstration {
    /// The load balancer.
    pub load_balancer: String,
    /// Its primary address first.
    pub vips: Vec<IpAddr>,
    /// By name: `listener1`, `listener2`, `https`, `listener3`.
    pub listeners: Vec<(String, String)>,
    /// By name: `pool1`, `pool2`, `pool3`.
    pub pools: Vec<(String, String)>,
}

/// Host of the default certificate.
pub const DEFAULT_HOST: &str = "www.example.com";
/// Host of the SNI certificate.
pub const SNI_HOST: &str = "api.example.com";

/// Creates everything, one call after the other, each waited for as a client would.
///
/// # Errors
/// The first call that was refused or did not become ACTIVE.
pub fn create(api: &ApiClient, place: &Place, ca: &TestCa) -> anyhow::Result<Demonstration> {
    let builder = Builder::start(api, place)?;
    let [server1, server2] = place.servers;
    let pool1 = builder.pool(
        "pool1",
        "HTTP",
        "ROUND_ROBIN",
        &[("server1", server1)],
        true,
    )?;
    let pool2 = builder.pool(
        "pool2",
        "HTTP",
        "ROUND_ROBIN",
        &[("server2", server2)],
        true,
    )?;
    let listener1 = builder.listener(json!({
        "name": "listener1", "protocol": "HTTP", "protocol_port": 80, "default_pool_id": pool1,
        "insert_headers": {"X-Forwarded-For": "true", "X-Forwarded-Port": "true", "X-Forwarded-Proto": "true"},
    }))?;
    builder.policy(&listener1, &pool2)?;
    let listener2 = builder.listener(json!({
        "name": "listener2", "protocol": "HTTP", "protocol_port": 8080, "default_pool_id": pool2,
    }))?;
    let www = store_secret(api, DEFAULT_HOST, &ca.pkcs12(DEFAULT_HOST)?)?;
    let sni = store_secret(api, SNI_HOST, &ca.pkcs12(SNI_HOST)?)?;
    let https = builder.listener(json!({
        "name": "https", "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_pool_id": pool1,
        "default_tls_container_ref": www, "sni_container_refs": [sni],
    }))?;
    let servers = [("server1", server1), ("server2", server2)];
    let pool3 = builder.pool("pool3", "TCP", "SOURCE_IP_PORT", &servers, false)?;
    if let Some((subnet, [server1, server2])) = &place.servers_v6 {
        builder.member(&pool3, "server1-v6", *server1, subnet)?;
        builder.member(&pool3, "server2-v6", *server2, subnet)?;
    }
    let listener3 = builder.listener(json!({
        "name": "listener3", "protocol": "TCP", "protocol_port": 9000, "default_pool_id": pool3,
    }))?;
    let named = |pairs: &[(&str, String)]| {
        pairs
            .iter()
            .map(|(name, id)| ((*name).to_owned(), id.clone()))
            .collect()
    };
    Ok(Demonstration {
        load_balancer: builder.load_balancer.clone(),
        vips: builder.vips.clone(),
        listeners: named(&[
            ("listener1", listener1),
            ("listener2", listener2),
            ("https", https),
            ("listener3", listener3),
        ]),
        pools: named(&[("pool1", pool1), ("pool2", pool2), ("pool3", pool3)]),
    })
}

/// Stores a PKCS#12 bundle and gives its reference.
///
/// # Errors
/// The API refused it.
pub fn store_secret(api: &ApiClient, name: &str, bundle: &[u8]) -> anyhow::Result<String> {
    let body = json!({
        "name": name,
        "payload": BASE64_STANDARD.encode(bundle),
        "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64",
    });
    let answer = api.call("POST", "/v1/secrets", Some(&body))?;
    text(&answer, "secret_ref")
}

struct Builder<'a> {
    api: &'a ApiClient,
    place: &'a Place,
    load_balancer: String,
    vips: Vec<IpAddr>,
}

impl<'a> Builder<'a> {
    fn start(api: &'a ApiClient, place: &'a Place) -> anyhow::Result<Self> {
        let additional: Vec<Value> = place
            .additional_subnets
            .iter()
            .map(|subnet| json!({"subnet_id": subnet}))
            .collect();
        let answer = api.create(
            "loadbalancers",
            "loadbalancer",
            json!({"name": place.name, "vip_subnet_id": place.vip_subnet, "additional_vips": additional}),
        )?;
        let mut vips = vec![text(&answer, "vip_address")?.parse()?];
        for vip in answer
            .get("additional_vips")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            vips.push(text(vip, "ip_address")?.parse()?);
        }
        let builder = Self {
            api,
            place,
            load_balancer: text(&answer, "id")?,
            vips,
        };
        builder.settle()?;
        Ok(builder)
    }

    fn settle(&self) -> anyhow::Result<()> {
        self.api
            .wait_active(&self.load_balancer, ACTIVE_WITHIN)
            .map(|_answer| ())
    }

    fn create(&self, collection: &str, root: &str, object: Value) -> anyhow::Result<String> {
        let created = self.api.create(collection, root, object)?;
        self.settle()?;
        text(&created, "id")
    }

    fn pool(
        &self,
        name: &str,
        protocol: &str,
        algorithm: &str,
        servers: &[(&str, IpAddr)],
        http_monitor: bool,
    ) -> anyhow::Result<String> {
        let id = self.create(
            "pools",
            "pool",
            json!({
                "name": name, "protocol": protocol, "lb_algorithm": algorithm,
                "loadbalancer_id": self.load_balancer,
            }),
        )?;
        for (server, address) in servers {
            self.member(&id, server, *address, &self.place.member_subnet)?;
        }
        let kind = if http_monitor { "HTTP" } else { "TCP" };
        self.create(
            "healthmonitors",
            "healthmonitor",
            json!({
                "name": format!("{name}-monitor"), "pool_id": id, "type": kind,
                "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 2,
            }),
        )?;
        Ok(id)
    }

    fn member(&self, pool: &str, name: &str, address: IpAddr, subnet: &str) -> anyhow::Result<()> {
        self.create(&format!("pools/{pool}/members"), "member", json!({
            "name": name, "address": address, "protocol_port": self.place.port, "subnet_id": subnet,
        }))?;
        Ok(())
    }

    fn listener(&self, mut object: Value) -> anyhow::Result<String> {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("loadbalancer_id".to_owned(), json!(self.load_balancer));
        }
        self.create("listeners", "listener", object)
    }

    fn policy(&self, listener: &str, pool: &str) -> anyhow::Result<()> {
        let policy = self.create("l7policies", "l7policy", json!({
            "name": "api", "listener_id": listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool,
        }))?;
        self.create(
            &format!("l7policies/{policy}/rules"),
            "rule",
            json!({
                "type": "PATH", "compare_type": "STARTS_WITH", "value": "/api",
            }),
        )?;
        Ok(())
    }
}

fn text(object: &Value, field: &str) -> anyhow::Result<String> {
    object
        .get(field)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("no `{field}` in {object}"))
}
