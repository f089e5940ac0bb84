//! The Identity service: whose token is this, and where is another service.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::{
    cache::{Cache, Key, Known},
    config::{Interface, KeystoneConfig},
    document::{self, Token},
    error::OpenStackError,
    http::Http,
    session::{Login, Session, remaining},
};

const SERVICE: &str = "Keystone";
/// Longest token. Fernet tokens have some 200 bytes, JWS ones some hundred more.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Questions about tokens at once.
const QUESTIONS_MAX: usize = 32;

/// The Identity service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keystone(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Http,
    base: String,
    session: Session,
    cache: Cache,
    questions: Semaphore,
    cache_for: Duration,
    region: Option<String>,
    interface: Interface,
}

impl Keystone {
    /// A client; asks nothing yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(config: &KeystoneConfig) -> Result<Self, OpenStackError> {
        let base = config.base()?;
        let http = Http::new(SERVICE, config.cafile.as_deref(), config.timeout)?;
        Ok(Self(Arc::new(Inner {
            session: Session::new(http.clone(), base.clone(), config),
            http,
            base,
            cache: Cache::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            cache_for: config.token_cache,
            region: config.region.clone(),
            interface: config.interface,
        })))
    }

    /// Who a token is for.
    ///
    /// # Errors
    /// `InvalidToken` when the service says so; anything else means nobody knows.
    pub async fn validate(&self, token: &str) -> Result<Arc<Token>, OpenStackError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(OpenStackError::InvalidToken);
        }
        let mut subject =
            HeaderValue::from_str(token).map_err(|_unprintable| OpenStackError::InvalidToken)?;
        subject.set_sensitive(true);
        let cache = &self.0.cache;
        let key = Key::of(token);
        if let Some(known) = cache.get(key) {
            return answer(known);
        }
        let turn = cache.turn(key);
        let _held = turn.come().await;
        match cache.get(key) {
            Some(known) => answer(known),
            None => self.ask(key, &subject).await,
        }
    }

    /// Our own login, for questions to other services.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn login(&self) -> Result<Arc<Login>, OpenStackError> {
        self.0.session.login().await
    }

    /// Another service refused this login: the next [`Self::login`] makes a new one.
    pub async fn refused(&self, login: &Arc<Login>) {
        self.0.session.refused(login).await;
    }

    /// The address of a service in our region, without a slash at its end.
    ///
    /// # Errors
    /// When the catalogue has none, or cannot be had.
    pub async fn endpoint(&self, service_type: &str) -> Result<String, OpenStackError> {
        let login = self.login().await?;
        let region = self.0.region.as_deref();
        login
            .catalog
            .endpoint(service_type, self.0.interface, region)
    }

    async fn ask(&self, key: Key, subject: &HeaderValue) -> Result<Arc<Token>, OpenStackError> {
        let inner = &*self.0;
        // The semaphore is never closed.
        let _turn = inner.questions.acquire().await;
        let mut login = inner.session.login().await?;
        let mut reply = self.question(&login, subject).await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            // Our own token was revoked, or Keystone has new keys.
            inner.session.refused(&login).await;
            login = inner.session.login().await?;
            reply = self.question(&login, subject).await?;
        }
        match reply.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                inner.cache.put_invalid(key);
                return Err(OpenStackError::InvalidToken);
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let error = inner.http.service_user(status);
                tracing::error!(%error, "tokens cannot be validated");
                return Err(error);
            }
            status => return Err(inner.http.unavailable(status.to_string())),
        }
        let (token, _) =
            document::read(&reply.body).map_err(|error| inner.http.protocol(error.to_string()))?;
        let left = remaining(token.expires_at);
        if left.is_zero() {
            inner.cache.put_invalid(key);
            return Err(OpenStackError::InvalidToken);
        }
        let token = Arc::new(token);
        let cache_for = left.min(inner.cache_for);
        if !cache_for.is_zero() {
            inner.cache.put_valid(key, Arc::clone(&token), cache_for);
        }
        Ok(token)
    }

    async fn question(
        &self,
        login: &Login,
        subject: &HeaderValue,
    ) -> Result<crate::http::Reply, OpenStackError> {
        let mut own = HeaderValue::from_str(login.token().expose())
            .map_err(|error| self.0.http.protocol(error.to_string()))?;
        own.set_sensitive(true);
        let request = Request::builder()
            .method(Method::GET)
            // The catalogue is of no use here and the largest part of the answer.
            .uri(format!("{}/auth/tokens?nocatalog", self.0.base))
            .header(http::header::ACCEPT, "application/json")
            .header("x-auth-token", own)
            .header("x-subject-token", subject.clone())
            // Tokens with access rules are shown only to those who heed them.
            .header("openstack-identity-access-rules", "1")
            .body(Full::new(Bytes::new()))
            .map_err(|error| OpenStackError::Config(error.to_string()))?;
        self.0.http.send(request).await
    }
}

fn answer(known: Known) -> Result<Arc<Token>, OpenStackError> {
    match known {
        Known::Valid(token) => Ok(token),
        Known::Invalid => Err(OpenStackError::InvalidToken),
    }
}
