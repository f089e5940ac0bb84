//! The Key Manager service (Barbican): secrets and containers read for a caller.
//!
//! We read as the service user, so that a secret can be read again when its owner is away. For that
//! the service user is put on the secret's access list with the caller's token, by whoever may; a
//! caller who may not read the secret cannot put anyone there. Access is not taken back: other load
//! balancers may use the same secret (contract 8.1).
//!
//! Invariant: only the UUID of a reference is used, against the configured endpoint or the
//! catalogue's; never the host in a reference, also not in those a container holds.
//!
//! Left out on purpose: orders, consumers, writing secrets.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    error::OpenStackError,
    http::{Http, Reply},
    keystone::Keystone,
    text::SecretText,
};

const SERVICE: &str = "Key Manager";
const SERVICE_TYPE: &str = "key-manager";
const OCTET_STREAM: &str = "application/octet-stream";
/// Most secrets of a container that are read.
const PARTS_MAX: usize = 16;
/// Parts of a container that mean something to a load balancer.
const PARTS: &[&str] = &[
    "certificate",
    "private_key",
    "private_key_passphrase",
    "intermediates",
];

/// Settings.
#[derive(Clone, Debug)]
pub struct BarbicanConfig {
    /// `http://barbican.example:9311`, with or without `/v1`. `None`: the catalogue's.
    pub endpoint: Option<String>,
    /// Certificates to trust instead of the system's.
    pub cafile: Option<PathBuf>,
    /// How long a question may take.
    pub timeout: Duration,
}

/// Who we ask as.
#[derive(Clone, Debug)]
pub enum ServiceUser {
    /// Logged in with the Identity service.
    Keystone(Keystone),
    /// A Barbican without Identity service believes a project and roles in headers.
    Unauthenticated {
        /// The project.
        project_id: String,
        /// The user.
        user_id: String,
    },
}

/// On whose behalf.
#[derive(Clone, Debug, Default)]
pub struct OnBehalf {
    /// The caller's token; `None`: the secret is read again, the access was given before.
    pub token: Option<SecretText>,
    /// For a service without Identity service: the caller's project.
    pub project_id: Option<String>,
}

/// What lies under a reference.
pub enum Found {
    /// A secret's payload.
    Secret(Bytes),
    /// A container's payloads by the names they have in it.
    Container(BTreeMap<String, Bytes>),
    /// Nothing, or nothing the caller may read.
    Nothing,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(redacted)",
            Self::Container(_) => "Container(redacted)",
            Self::Nothing => "Nothing",
        })
    }
}

/// A client of the service.
#[derive(Clone, Debug)]
pub struct Barbican {
    http: Http,
    endpoint: Option<String>,
    user: ServiceUser,
}

/// What the headers of a question say about who asks.
struct Credentials {
    token: Option<SecretText>,
    project_id: Option<String>,
    user_id: String,
    /// On nobody's behalf: what is refused is told from what is not there.
    for_itself: bool,
}

impl Barbican {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`OpenStackError::Config`].
    pub fn new(config: &BarbicanConfig, user: ServiceUser) -> Result<Self, OpenStackError> {
        let endpoint = config.endpoint.as_deref().map(base).transpose()?;
        if endpoint.is_none() && matches!(user, ServiceUser::Unauthenticated { .. }) {
            return Err(OpenStackError::Config(
                "without the Identity service there is no catalogue: set the endpoint".to_owned(),
            ));
        }
        Ok(Self {
            http: Http::new(SERVICE, config.cafile.as_deref(), config.timeout)?,
            endpoint,
            user,
        })
    }

    /// Reads the secret or the container of an id, as the service user.
    ///
    /// # Errors
    /// [`OpenStackError::Unavailable`] and the like: nothing is known of the secret then.
    pub async fn read(
        &self,
        id: Uuid,
        is_container: bool,
        caller: &OnBehalf,
    ) -> Result<Found, OpenStackError> {
        let mut service = self.service().await?;
        service.for_itself = caller.token.is_none() && caller.project_id.is_none();
        let kinds = if is_container {
            ["containers", "secrets"]
        } else {
            ["secrets", "containers"]
        };
        for kind in kinds {
            let found = match kind {
                "secrets" => self.secret(&service, id, caller).await?.map(Found::Secret),
                _ => self
                    .container(&service, id, caller)
                    .await?
                    .map(Found::Container),
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Ok(Found::Nothing)
    }

    async fn secret(
        &self,
        service: &Credentials,
        id: Uuid,
        caller: &OnBehalf,
    ) -> Result<Option<Bytes>, OpenStackError> {
        let path = format!("secrets/{id}");
        if !self.grant(service, &path, caller).await? {
            return Ok(None);
        }
        let about = self.get(&path, "application/json", service).await?;
        let Some(about) = self.json(about)? else {
            return Ok(None);
        };
        let kind = about.pointer("/content_types/default");
        let kind = kind.and_then(Value::as_str).unwrap_or(OCTET_STREAM);
        let payload = self.get(&format!("{path}/payload"), kind, service).await?;
        Ok(payload.map(|reply| reply.body))
    }

    async fn container(
        &self,
        service: &Credentials,
        id: Uuid,
        caller: &OnBehalf,
    ) -> Result<Option<BTreeMap<String, Bytes>>, OpenStackError> {
        let path = format!("containers/{id}");
        if !self.grant(service, &path, caller).await? {
            return Ok(None);
        }
        let about = self.get(&path, "application/json", service).await?;
        let Some(about) = self.json(about)? else {
            return Ok(None);
        };
        let items = about.get("secret_refs").and_then(Value::as_array);
        let mut parts = BTreeMap::new();
        for item in items.into_iter().flatten().take(PARTS_MAX) {
            let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
            let end = text("secret_ref").trim_end_matches('/').rsplit('/').next();
            let id: Option<Uuid> = end.and_then(|end| end.parse().ok());
            let (Some(id), true) = (id, PARTS.contains(&text("name"))) else {
                continue;
            };
            let Some(payload) = self.secret(service, id, caller).await? else {
                return Ok(None);
            };
            parts.insert(text("name").to_owned(), payload);
        }
        Ok(Some(parts))
    }

    /// Puts the service user on an access list with the caller's token. `false`: for this caller
    /// there is nothing.
    async fn grant(
        &self,
        service: &Credentials,
        path: &str,
        caller: &OnBehalf,
    ) -> Result<bool, OpenStackError> {
        if caller.token.is_none() && caller.project_id.is_none() {
            return Ok(true);
        }
        let caller = Credentials {
            token: caller.token.clone(),
            project_id: caller.project_id.clone(),
            user_id: String::new(),
            for_itself: false,
        };
        let path = format!("{path}/acl");
        let known = self.get(&path, "application/json", &caller).await?;
        let Some(known) = self.json(known)? else {
            return Ok(false);
        };
        let users = known.pointer("/read/users").and_then(Value::as_array);
        let mut users: Vec<Value> = users.cloned().unwrap_or_default();
        let us = json!(service.user_id);
        if users.contains(&us) {
            return Ok(true);
        }
        users.push(us);
        let project_access = known
            .pointer("/read/project-access")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let body = json!({"read": {"users": users, "project-access": project_access}});
        let request = self
            .request(Method::PUT, &path, &caller)
            .await?
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())));
        let request = request.map_err(|error| self.http.protocol(error.to_string()))?;
        let reply = self.http.send(request).await?;
        Ok(self.known(reply, &caller)?.is_some())
    }

    async fn get(
        &self,
        path: &str,
        accept: &str,
        who: &Credentials,
    ) -> Result<Option<Reply>, OpenStackError> {
        let request = self
            .request(Method::GET, path, who)
            .await?
            .header(header::ACCEPT, accept)
            .body(Full::default());
        let request = request.map_err(|error| self.http.protocol(error.to_string()))?;
        let reply = self.http.send(request).await?;
        self.known(reply, who)
    }

    /// An answer that says something of the secret; `None`: not there, or not for whoever asked.
    fn known(&self, reply: Reply, who: &Credentials) -> Result<Option<Reply>, OpenStackError> {
        match reply.status {
            status if status.is_success() => Ok(Some(reply)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE => {
                if who.for_itself {
                    Err(OpenStackError::NotShown(reply.status.as_u16()))
                } else {
                    Ok(None)
                }
            }
            StatusCode::UNAUTHORIZED => Err(self.http.service_user(reply.status)),
            status => Err(self.http.unavailable(status.to_string())),
        }
    }

    fn json(&self, reply: Option<Reply>) -> Result<Option<Value>, OpenStackError> {
        let read = |reply: Reply| {
            serde_json::from_slice(&reply.body)
                .map_err(|error| self.http.protocol(error.to_string()))
        };
        reply.map(read).transpose()
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        who: &Credentials,
    ) -> Result<http::request::Builder, OpenStackError> {
        let base = match (&self.endpoint, &self.user) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, ServiceUser::Keystone(keystone)) => {
                base(&keystone.endpoint(SERVICE_TYPE).await?)?
            }
            (None, ServiceUser::Unauthenticated { .. }) => String::new(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/{path}"));
        if let Some(token) = &who.token {
            request = request.header("x-auth-token", token.expose());
        }
        if let Some(project) = &who.project_id {
            request = request
                .header("x-project-id", project)
                .header("x-user-id", &who.user_id)
                .header("x-roles", "creator,member");
        }
        Ok(request)
    }

    async fn service(&self) -> Result<Credentials, OpenStackError> {
        match &self.user {
            ServiceUser::Keystone(keystone) => {
                let login = keystone.login().await?;
                Ok(Credentials {
                    token: Some(login.token().clone()),
                    project_id: None,
                    user_id: login.user_id().to_owned(),
                    for_itself: false,
                })
            }
            ServiceUser::Unauthenticated {
                project_id,
                user_id,
            } => Ok(Credentials {
                token: None,
                project_id: Some(project_id.clone()),
                user_id: user_id.clone(),
                for_itself: false,
            }),
        }
    }
}

/// An endpoint up to and with `/v1`.
fn base(endpoint: &str) -> Result<String, OpenStackError> {
    let url = endpoint.trim().trim_end_matches('/');
    let url = url.strip_suffix("/v1").unwrap_or(url);
    let parsed: Result<http::Uri, _> = url.parse();
    match parsed {
        Ok(parsed) if matches!(parsed.scheme_str(), Some("http" | "https")) => {
            Ok(format!("{url}/v1"))
        }
        _other => Err(OpenStackError::Config(format!(
            "endpoint {endpoint:?} must begin with http:// or https:// and a host"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn an_endpoint_may_end_in_its_version_or_not() {
        for given in ["http://b:9311", "http://b:9311/", "http://b:9311/v1/"] {
            assert_eq!(base(given).unwrap(), "http://b:9311/v1");
        }
        for wrong in ["", "b:9311", "ftp://b", "/v1"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }
}
