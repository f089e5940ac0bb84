//! A real Keystone from PyPI for tests: SQLite, Fernet tokens, a port of its own on loopback.
//!
//! One process a test binary, started when first asked for.

use std::{collections::BTreeMap, sync::OnceLock};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::python::{self, Answer, Service};

const SERVER: &str = include_str!("keystone_server.py");

/// Password of every user.
pub const PASSWORD: &str = "a-test's-password";
/// The service user, of the project `service`.
pub const SERVICE_USER: &str = "octavia";
/// Two projects with users of their own: `USER-red`, `USER-blue`.
pub const PROJECTS: [&str; 2] = ["red", "blue"];
/// Users of each project, by the role they have in it.
pub const ROLES: &[&str] = &[
    "member",
    "reader",
    "manager",
    "service",
    "load-balancer_member",
    "load-balancer_observer",
    "load-balancer_global_observer",
    "load-balancer_quota_admin",
    "load-balancer_admin",
    "nothing",
];

/// A running Keystone.
#[derive(Debug)]
pub struct Keystone {
    told: Told,
    process: Service,
}

#[derive(Debug, Deserialize)]
struct Told {
    url: String,
    projects: BTreeMap<String, String>,
    users: BTreeMap<String, String>,
}

impl Keystone {
    /// The one of this process, started when it is first asked for.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceLock<Result<Keystone, String>> = OnceLock::new();
        let started =
            SHARED.get_or_init(|| Self::start(None).map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Starts one whose catalogue knows `load_balancer` as the load-balancer service's URL.
    ///
    /// # Errors
    /// When it cannot be installed or does not start.
    pub fn start(load_balancer: Option<&str>) -> anyhow::Result<Self> {
        let (process, line) = Service::start("Keystone", SERVER, &wanted(load_balancer))?;
        let told = serde_json::from_str(&line).with_context(|| line.clone())?;
        Ok(Self { told, process })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.told.url
    }

    /// The id of a project.
    ///
    /// # Errors
    /// When there is none of the name.
    pub fn project(&self, name: &str) -> anyhow::Result<&str> {
        let id = self.told.projects.get(name);
        id.map(String::as_str)
            .with_context(|| format!("no project {name}"))
    }

    /// The id of a user.
    ///
    /// # Errors
    /// When there is none of the name.
    pub fn user(&self, name: &str) -> anyhow::Result<&str> {
        let id = self.told.users.get(name);
        id.map(String::as_str)
            .with_context(|| format!("no user {name}"))
    }

    /// A token of the user that has `role` in `project` (see [`PROJECTS`], [`ROLES`]).
    ///
    /// # Errors
    /// When Keystone gives none.
    pub fn token(&self, role: &str, project: &str) -> anyhow::Result<String> {
        let scope = json!({"project": {"name": project, "domain": {"id": "default"}}});
        self.login(&format!("{role}-{project}"), Some(scope))
    }

    /// A token of the cloud's admin, in the project `admin`.
    ///
    /// # Errors
    /// When Keystone gives none.
    pub fn admin_token(&self) -> anyhow::Result<String> {
        let scope = json!({"project": {"name": "admin", "domain": {"id": "default"}}});
        self.login("admin", Some(scope))
    }

    /// A token of the admin for the whole deployment.
    ///
    /// # Errors
    /// When Keystone gives none.
    pub fn system_token(&self) -> anyhow::Result<String> {
        self.login("admin", Some(json!({"system": {"all": true}})))
    }

    /// A token of a user; without a scope, for no project.
    ///
    /// # Errors
    /// When Keystone gives none.
    pub fn login(&self, user: &str, scope: Option<Value>) -> anyhow::Result<String> {
        let identity = json!({"methods": ["password"], "password": {"user": {
            "name": user, "password": PASSWORD, "domain": {"id": "default"},
        }}});
        self.authenticate(&identity, &scope.unwrap_or(json!("unscoped")))
    }

    /// An application credential of a user, and what else it is to have; its id and secret.
    ///
    /// # Errors
    /// When Keystone makes none.
    pub fn application_credential(
        &self,
        role: &str,
        project: &str,
        more: &Value,
    ) -> anyhow::Result<(String, String)> {
        let token = self.token(role, project)?;
        let user = self.user(&format!("{role}-{project}"))?;
        let mut credential = json!({"name": crate::unique("credential")});
        if let (Some(to), Some(from)) = (credential.as_object_mut(), more.as_object()) {
            to.extend(from.clone());
        }
        let answer = self.ask(
            "POST",
            &format!("/v3/users/{user}/application_credentials"),
            &[("X-Auth-Token", &token)],
            Some(&json!({"application_credential": credential})),
        )?;
        let text = |key: &str| {
            let found = answer
                .body
                .pointer(&format!("/application_credential/{key}"));
            let found = found.and_then(Value::as_str).map(str::to_owned);
            found.with_context(|| format!("{}: {}", answer.status, answer.body))
        };
        Ok((text("id")?, text("secret")?))
    }

    /// A token by an application credential.
    ///
    /// # Errors
    /// When Keystone gives none.
    pub fn login_by_credential(&self, id: &str, secret: &str) -> anyhow::Result<String> {
        let identity = json!({
            "methods": ["application_credential"],
            "application_credential": {"id": id, "secret": secret},
        });
        self.authenticate(&identity, &Value::Null)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// When Keystone does not.
    pub fn revoke(&self, token: &str) -> anyhow::Result<()> {
        let admin = self.admin_token()?;
        let headers = [("X-Auth-Token", admin.as_str()), ("X-Subject-Token", token)];
        let answer = self.ask("DELETE", "/v3/auth/tokens", &headers, None)?;
        ensure!(answer.status == 204, "{}: {}", answer.status, answer.body);
        Ok(())
    }

    /// Any request.
    ///
    /// # Errors
    /// When no HTTP answer comes.
    pub fn ask(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        python::ask(self.url(), verb, path, headers, body)
    }

    /// Ends it, as a machine that is gone would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.process.stop()
    }

    fn authenticate(&self, identity: &Value, scope: &Value) -> anyhow::Result<String> {
        let mut auth = json!({"identity": identity});
        if let (Some(auth), false) = (auth.as_object_mut(), scope.is_null()) {
            auth.insert("scope".to_owned(), scope.clone());
        }
        let answer = self.ask("POST", "/v3/auth/tokens", &[], Some(&json!({"auth": auth})))?;
        let told = format!("{}: {}", answer.status, answer.body);
        answer.token.context(told)
    }
}

fn wanted(load_balancer: Option<&str>) -> Value {
    let mut users = vec![json!({
        "name": SERVICE_USER, "password": PASSWORD, "project": "service",
        "roles": ["admin", "service"],
    })];
    for project in PROJECTS {
        for role in ROLES {
            users.push(json!({
                "name": format!("{role}-{project}"), "password": PASSWORD, "project": project,
                "roles": [role],
            }));
        }
    }
    let url = load_balancer.unwrap_or("http://127.0.0.1:9876");
    json!({
        "admin_password": PASSWORD,
        "projects": [PROJECTS[0], PROJECTS[1], "service"],
        "users": users,
        // One address serves both: the client asks the network service for the names of subnets.
        "services": [{"type": "load-balancer", "url": url}, {"type": "network", "url": url}],
    })
}
