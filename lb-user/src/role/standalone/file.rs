//! A standalone amphora's configuration: the agent's [`AmphoraConfig`] as JSON or TOML, with what
//! nobody wants to write by hand filled in.
//!
//! What is filled in: fields with one sensible value; identities (any `id` that is not a UUID is a
//! name and stands for one); a VIP given as an address alone; `…_file` in place of a PEM text, read
//! from beside the configuration; the hosts of a certificate, from the certificate itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lb_model::amphora::AmphoraConfig;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// A configuration and the files it was read from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: AmphoraConfig,
    pub(super) files: Vec<PathBuf>,
}

/// Reads `path`: TOML when it is called so, else JSON.
pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut value: Value = if path.extension().is_some_and(|it| it == "toml") {
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))?
    } else {
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?
    };
    let mut filler = Filler {
        beside: path.parent().unwrap_or(Path::new(".")),
        files: vec![path.to_owned()],
    };
    filler.config(&mut value).map_err(wrong)?;
    let config = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    let files = filler.files;
    Ok(Loaded { config, files })
}

struct Filler<'a> {
    beside: &'a Path,
    files: Vec<PathBuf>,
}

type Filled = Result<(), String>;

impl Filler<'_> {
    fn config(&mut self, value: &mut Value) -> Filled {
        let config = object(value, "the file")?;
        fill(
            config,
            &json!({"amphora_id": "amphora", "load_balancer": {}}),
        );
        names(config, &["amphora_id"]);
        let amphora = config.get("amphora_id").cloned();
        let load_balancer = object(
            config.entry("load_balancer").or_insert(Value::Null),
            "load_balancer",
        )?;
        fill(
            load_balancer,
            &json!({
                "id": "load balancer", "project_id": "", "generation": 1, "enabled": true,
                "topology": "SINGLE", "failover_count": 0, "vips": ["127.0.0.1"],
                "amphorae": [{"id": amphora, "ports": []}], "snat": [], "subnets": [],
                "listeners": [], "pools": [], "certificates": [],
            }),
        );
        names(load_balancer, &["id"]);
        for vip in items(load_balancer, "vips") {
            if vip.is_string() {
                *vip = json!({"address": vip, "subnet_id": uuid("subnet")});
            }
        }
        for listener in items(load_balancer, "listeners") {
            self.listener(object(listener, "a listener")?)?;
        }
        for pool in items(load_balancer, "pools") {
            self.pool(object(pool, "a pool")?)?;
        }
        for certificate in items(load_balancer, "certificates") {
            self.certificate(object(certificate, "a certificate")?)?;
        }
        Ok(())
    }

    fn listener(&mut self, listener: &mut Map<String, Value>) -> Filled {
        let port = listener.get("port").cloned().unwrap_or_default();
        // A port may have a listener over TCP and one over UDP.
        let protocol = listener.get("protocol").cloned().unwrap_or_default();
        fill(
            listener,
            &json!({
                "id": format!("listener {protocol} {port}"), "protocol": "HTTP", "path": "amphora",
                "connection_limit": null, "allowed_cidrs": [], "default_certificate": null,
                "sni_certificates": [], "insert_headers": [], "timeout_client_data_ms": 50_000,
                "timeout_member_connect_ms": 5_000, "timeout_member_data_ms": 50_000,
                "default_pool_id": null, "l7policies": [],
            }),
        );
        names(listener, &["id", "default_pool_id"]);
        if let Some(tls) = listener.get_mut("tls") {
            let tls = object(tls, "a listener's tls")?;
            self.contents(tls, &["client_ca", "client_crl"])?;
        }
        for (position, policy) in items(listener, "l7policies").iter_mut().enumerate() {
            let policy = object(policy, "an L7 policy")?;
            fill(policy, &common());
            fill(
                policy,
                &json!({
                    "id": format!("policy {port} {position}"), "redirect_pool_id": null,
                    "redirect_url": null, "redirect_prefix": null, "redirect_http_code": null,
                    "rules": [],
                }),
            );
            names(policy, &["id", "redirect_pool_id"]);
            for (place, rule) in items(policy, "rules").iter_mut().enumerate() {
                let rule = object(rule, "an L7 rule")?;
                fill(rule, &common());
                let id = format!("rule {port} {position} {place}");
                fill(rule, &json!({"id": id, "key": null, "invert": false}));
                names(rule, &["id"]);
            }
        }
        Ok(())
    }

    fn pool(&mut self, pool: &mut Map<String, Value>) -> Filled {
        fill(
            pool,
            &json!({
                "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [],
                "health_monitor": null,
            }),
        );
        let name = pool.get("id").cloned().unwrap_or_default();
        names(pool, &["id"]);
        for member in items(pool, "members") {
            let member = object(member, "a member")?;
            let (address, port) = (member.get("address"), member.get("port"));
            let id = format!("member {name} {address:?} {port:?}");
            fill(
                member,
                &json!({
                    "id": id, "weight": 1, "backup": false, "subnet_id": uuid("subnet"),
                    "monitor_address": null, "monitor_port": null, "last_known_up": null,
                }),
            );
            names(member, &["id"]);
        }
        if let Some(monitor) = pool.get_mut("health_monitor").filter(|it| !it.is_null()) {
            let monitor = object(monitor, "a health monitor")?;
            fill(monitor, &common());
            fill(
                monitor,
                &json!({
                    "id": format!("monitor {name}"), "delay": 5, "timeout": 5, "max_retries": 1,
                    "max_retries_down": 3, "http_method": null, "url_path": null,
                    "expected_codes": null, "http_version": null, "domain_name": null,
                }),
            );
            names(monitor, &["id"]);
        }
        if let Some(persistence) = pool.get_mut("session_persistence") {
            let persistence = object(persistence, "session_persistence")?;
            fill(
                persistence,
                &json!({
                    "cookie_name": null, "persistence_timeout": null,
                    "persistence_granularity": null,
                }),
            );
        }
        match pool.get_mut("tls") {
            Some(tls) => self.contents(object(tls, "a pool's tls")?, &["ca", "crl"]),
            None => Ok(()),
        }
    }

    fn certificate(&mut self, certificate: &mut Map<String, Value>) -> Filled {
        self.contents(certificate, &["chain_pem", "key_pem"])?;
        let chain = certificate.get("chain_pem").and_then(Value::as_str);
        let hosts = match chain {
            Some(chain) if !certificate.contains_key("hosts") => lb_proxy::hosts(chain),
            _given_or_missed_later => return Ok(()),
        };
        certificate.insert("hosts".to_owned(), json!(hosts?));
        Ok(())
    }

    /// Puts in place of `NAME_file` what the file holds, as `NAME` (without `_pem`: both will do).
    fn contents(&mut self, within: &mut Map<String, Value>, keys: &[&str]) -> Filled {
        for key in keys {
            let file = format!("{}_file", key.trim_end_matches("_pem"));
            let Some(named) = within.remove(&file) else {
                continue;
            };
            let path = self.beside.join(named.as_str().unwrap_or_default());
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{file} {}: {error}", path.display()))?;
            within.insert((*key).to_owned(), Value::String(text));
            self.files.push(path);
        }
        Ok(())
    }
}

/// What every object of the API has.
fn common() -> Value {
    json!({
        "name": "", "description": "", "admin_state_up": true, "provisioning_status": "ACTIVE",
        "operating_status": "ONLINE", "created_at": "1970-01-01T00:00:00", "updated_at": null, "tags": [],
    })
}

fn object<'a>(value: &'a mut Value, what: &str) -> Result<&'a mut Map<String, Value>, String> {
    let told = format!("{what} is not a table");
    value.as_object_mut().ok_or(told)
}

fn items<'a>(within: &'a mut Map<String, Value>, key: &str) -> &'a mut [Value] {
    let list = within.get_mut(key).and_then(Value::as_array_mut);
    list.map(Vec::as_mut_slice).unwrap_or_default()
}

fn fill(object: &mut Map<String, Value>, defaults: &Value) {
    for (key, value) in defaults.as_object().into_iter().flatten() {
        if !object.contains_key(key) {
            object.insert(key.clone(), value.clone());
        }
    }
}

/// Puts a UUID in place of each name.
fn names(object: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        if let Some(Value::String(name)) = object.get_mut(*key) {
            *name = uuid(name);
        }
    }
}

/// The UUID that a name stands for; a UUID stands for itself.
fn uuid(name: &str) -> String {
    let is_uuid = name.len() == 36 && name.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if is_uuid {
        return name.to_owned();
    }
    // FNV-1a of 128 bits: equal names are all that matters.
    let hash = name.bytes().fold(FNV_BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME)
    });
    let hex = format!("{hash:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts = parts.map(|range| hex.get(range).unwrap_or_default());
    parts.join("-")
}

const FNV_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that examples name, made as their comments say.
    fn make_certificates(dir: &Path) -> anyhow::Result<()> {
        for name in ["server", "other", "client"] {
            let made = rcgen::generate_simple_self_signed([format!("{name}.example")])?;
            fs::write(dir.join(format!("{name}.pem")), made.cert.pem())?;
            fs::write(
                dir.join(format!("{name}.key")),
                made.signing_key.serialize_pem(),
            )?;
        }
        let mut ca = rcgen::CertificateParams::new(Vec::new())?;
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate()?;
        fs::write(dir.join("ca.pem"), ca.self_signed(&key)?.pem())?;
        Ok(())
    }

    /// What is told of a listener that cannot be served is a mistake in the example.
    #[test]
    fn every_example_can_be_served() {
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path()).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
        let mut loadable = 0;
        for entry in fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            let copy = dir.path().join(path.file_name().unwrap());
            fs::copy(&path, &copy).unwrap();
            if path.extension().is_some_and(|it| it == "toml") {
                let loaded = load(&copy).unwrap_or_else(|failure| panic!("{failure:?}"));
                let failures = lb_proxy::check(&loaded.config);
                assert_eq!(failures, [], "{}", path.display());
                loadable += 1;
            }
        }
        assert!(loadable > 0);
    }

    #[test]
    fn a_mistake_is_told_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::write(&path, "[load_balancer]\nlisteners = 1").unwrap();
        let Err(Failure::Usage(told)) = load(&path) else {
            panic!("loaded");
        };
        assert!(
            told.contains("a.toml") && told.contains("sequence"),
            "{told}"
        );
    }
}
