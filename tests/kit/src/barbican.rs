//! A real Barbican from PyPI for tests: SQLite, a master key of its own, a port of its own on
//! loopback, and who asks known from a real Keystone.

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    keystone::{Keystone, PASSWORD, SERVICE_USER},
    python::{self, Answer, Service},
};

const SERVER: &str = include_str!("barbican_server.py");

/// A running Barbican; ends with this value.
#[derive(Debug)]
pub struct Barbican {
    url: String,
    process: Service,
}

impl Barbican {
    /// Starts one that believes `keystone`'s tokens.
    ///
    /// # Errors
    /// When it cannot be installed or does not start.
    pub fn start(keystone: &Keystone) -> anyhow::Result<Self> {
        let identity = json!({
            "url": keystone.url(), "user": SERVICE_USER, "password": PASSWORD, "project": "service",
        });
        let (process, url) = Service::start("Barbican", SERVER, &identity)?;
        Ok(Self { url, process })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stores bytes for the project of a token; the reference.
    ///
    /// # Errors
    /// When Barbican does not.
    pub fn store(&self, token: &str, payload: &[u8]) -> anyhow::Result<String> {
        let secret = json!({
            "name": crate::unique("secret"),
            "payload": STANDARD.encode(payload),
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        });
        self.create("secret", token, &secret)
    }

    /// Puts secrets, each a name and its reference, into a certificate container; its reference.
    ///
    /// # Errors
    /// When Barbican does not.
    pub fn contain(&self, token: &str, parts: &[(&str, &str)]) -> anyhow::Result<String> {
        let parts: Vec<Value> = parts
            .iter()
            .map(|(name, reference)| json!({"name": name, "secret_ref": reference}))
            .collect();
        let container = json!({"type": "certificate", "secret_refs": parts});
        self.create("container", token, &container)
    }

    fn create(&self, kind: &str, token: &str, object: &Value) -> anyhow::Result<String> {
        let answer = self.ask("POST", &format!("/v1/{kind}s"), token, Some(object))?;
        ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
        let reference = answer.body.get(format!("{kind}_ref"));
        let reference = reference.and_then(Value::as_str);
        Ok(reference.context("no reference")?.to_owned())
    }

    /// Any request with a token.
    ///
    /// # Errors
    /// When no HTTP answer comes.
    pub fn ask(
        &self,
        verb: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        python::ask(&self.url, verb, path, &[("X-Auth-Token", token)], body)
    }

    /// Ends it, as a machine that is gone would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.process.stop()
    }
}
