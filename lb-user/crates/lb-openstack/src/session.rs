//! Our own login: a token for the service user, renewed before it ends or when it is refused.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    config::{Identity, KeystoneConfig},
    document::{self, Catalog},
    error::OpenStackError,
    http::Http,
    text::SecretText,
};

/// A token with less time than this left is not used for another question.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// After a failed login the next one is not tried sooner: many callers wait for the one.
const PAUSE: Duration = Duration::from_secs(1);

/// The service user, logged in.
#[derive(Debug)]
pub struct Login {
    pub(crate) token: SecretText,
    pub(crate) catalog: Catalog,
    user_id: String,
    expires_at: Timestamp,
}

impl Login {
    /// For `X-Auth-Token`.
    #[must_use]
    pub const fn token(&self) -> &SecretText {
        &self.token
    }

    /// Who we are to other services.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }
}

#[derive(Debug)]
enum State {
    Out,
    In(Arc<Login>),
    Failed(Instant, String),
}

#[derive(Debug)]
pub(crate) struct Session {
    http: Http,
    base: String,
    identity: Identity,
    state: Mutex<State>,
}

impl Session {
    pub(crate) fn new(http: Http, base: String, config: &KeystoneConfig) -> Self {
        Self {
            http,
            base,
            identity: config.identity.clone(),
            state: Mutex::new(State::Out),
        }
    }

    /// The login, made when there is none. One at a time: whoever comes meanwhile waits for it.
    pub(crate) async fn login(&self) -> Result<Arc<Login>, OpenStackError> {
        let mut state = self.state.lock().await;
        match &*state {
            State::In(login) if is_fresh(login) => return Ok(Arc::clone(login)),
            State::Failed(at, why) if at.elapsed() < PAUSE => {
                return Err(self.http.unavailable(why.clone()));
            }
            State::Out | State::In(_) | State::Failed(..) => {}
        }
        match self.ask().await {
            Ok(login) => {
                let login = Arc::new(login);
                *state = State::In(Arc::clone(&login));
                tracing::debug!("the service user has logged in");
                Ok(login)
            }
            Err(error) => {
                tracing::warn!(%error, "the service user could not log in");
                *state = State::Failed(Instant::now(), error.to_string());
                Err(error)
            }
        }
    }

    /// The token was refused: the next question logs in again, unless somebody has already.
    pub(crate) async fn refused(&self, login: &Arc<Login>) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::In(current) if Arc::ptr_eq(current, login)) {
            *state = State::Out;
        }
    }

    async fn ask(&self) -> Result<Login, OpenStackError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/auth/tokens", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body(&self.identity).to_string())))
            .map_err(|error| OpenStackError::Config(error.to_string()))?;
        let reply = self.http.send(request).await?;
        match reply.status {
            StatusCode::CREATED | StatusCode::OK => {}
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.http.service_user(status));
            }
            status => return Err(self.http.unavailable(status.to_string())),
        }
        let token = reply.headers.get("x-subject-token");
        let token = token.and_then(|token| token.to_str().ok());
        let token = token.ok_or_else(|| self.http.protocol("a login without a token"))?;
        let (known, catalog) =
            document::read(&reply.body).map_err(|error| self.http.protocol(error.to_string()))?;
        Ok(Login {
            token: SecretText::new(token),
            catalog,
            user_id: known.user_id,
            expires_at: known.expires_at,
        })
    }
}

fn is_fresh(login: &Login) -> bool {
    remaining(login.expires_at) > RENEW_BEFORE
}

/// How long something that ends at `end` is good for.
pub(crate) fn remaining(end: Timestamp) -> Duration {
    let end = SystemTime::from(end);
    end.duration_since(SystemTime::now()).unwrap_or_default()
}

fn body(identity: &Identity) -> Value {
    match identity {
        Identity::Password {
            username,
            password,
            user_domain_name,
            project_name,
            project_domain_name,
        } => json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": username,
                "password": password.expose(),
                "domain": {"name": user_domain_name},
            }}},
            "scope": {"project": {"name": project_name, "domain": {"name": project_domain_name}}},
        }}),
        Identity::ApplicationCredential { id, secret } => json!({"auth": {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": id, "secret": secret.expose()},
            },
        }}),
    }
}
