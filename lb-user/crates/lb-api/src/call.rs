//! One request as handlers see it: ids from the path, query, caller, body.
//!
//! Invariants: the body is read under a size limit and a deadline; nothing here answers with
//! anything but the contract's error bodies.

use std::{str::FromStr, time::Duration};

use axum::{
    RequestPartsExt as _,
    body::{Body, to_bytes},
    extract::{FromRequest, Query, RawPathParams, Request},
    http::{HeaderMap, Method, StatusCode, header, request::Parts, uri::Authority},
};
use bytes::Bytes;
use serde_json::Value;

use crate::{auth::Caller, edge::ClientPath, error::ApiError, state::ApiState};

/// How long a client may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Host in links when the client named none (HTTP/1.0).
const HOST_UNKNOWN: &str = "127.0.0.1:9876";

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    ids: Vec<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    caller: Caller,
    url: String,
    body: Bytes,
}

impl Call {
    /// Scheme, host and path as the client wrote them, without the query.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Scheme and host.
    pub(crate) fn origin(&self) -> &str {
        let path_at = self
            .url
            .match_indices('/')
            .nth(2)
            .map_or(self.url.len(), |(at, _)| at);
        self.url.get(..path_at).unwrap_or_default()
    }

    pub(crate) fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The last value given for a query key.
    pub(crate) fn argument(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// A boolean query key; unknown text is false, as in Octavia.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.argument(key).and_then(loose_bool).unwrap_or(false)
    }

    /// The `n`th id of the path as text.
    pub(crate) fn raw_id(&self, n: usize) -> &str {
        self.ids.get(n).map_or("", String::as_str)
    }

    /// The `n`th id of the path. What is no id cannot exist: 404, not 400.
    pub(crate) fn id<T: FromStr>(&self, n: usize, kind: &str) -> Result<T, ApiError> {
        let text = self.raw_id(n);
        text.parse()
            .map_err(|_not_a_uuid| ApiError::not_found(kind, text))
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The caller's project.
    pub(crate) fn project(&self) -> Option<&str> {
        self.caller.project_id.as_deref()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body. lb-model's readers judge what is in it.
    pub(crate) fn document(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            ApiError::invalid(format!(
                "Invalid input: the body is not valid JSON: {error}."
            ))
        })
    }
}

/// Booleans as Octavia reads them from text.
pub(crate) fn loose_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

impl FromRequest<ApiState> for Call {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let ids = match parts.extract::<RawPathParams>().await {
            Ok(params) => params.iter().map(|(_, value)| value.to_owned()).collect(),
            Err(_not_utf8) => return Err(ApiError::router(StatusCode::NOT_FOUND, "")),
        };
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::router(StatusCode::BAD_REQUEST, error.body_text()))?;
        let body = if matches!(parts.method, Method::POST | Method::PUT) {
            read(body, state.config().body_bytes_max).await?
        } else {
            Bytes::new()
        };
        Ok(Self {
            ids,
            query,
            url: url(&parts),
            // Absent only where the layer was left out: then nobody, who may do nothing.
            caller: parts.extensions.remove().unwrap_or_default(),
            headers: parts.headers,
            body,
        })
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(ApiError::too_large(limit)),
        Ok(Err(error)) => Err(ApiError::router(
            StatusCode::BAD_REQUEST,
            format!("The body could not be read: {error}."),
        )),
        Err(_elapsed) => Err(ApiError::router(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "The body did not arrive within {} s.",
                BODY_DEADLINE.as_secs()
            ),
        )),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    })
    .any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn url(parts: &Parts) -> String {
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| parts.uri.authority().map(Authority::as_str))
        .unwrap_or(HOST_UNKNOWN);
    let path = parts
        .extensions
        .get::<ClientPath>()
        .map_or_else(|| parts.uri.path(), |path| path.0.as_str());
    format!("http://{host}{path}")
}
