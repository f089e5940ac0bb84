//! One request as handlers see it: ids from the path, query, caller, body.
//!
//! Invariants: the body is read under a size limit and a deadline; nothing here answers with
//! anything but the contract's error bodies.

use std::{str::FromStr, time::Duration};

use axum::{
    RequestPartsExt as _,
    body::{Body, to_bytes},
    extract::{FromRequest, Query, RawPathParams, Request},
    http::{HeaderMap, Method, StatusCode},
};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    auth::Caller,
    edge::ClientPath,
    error::ApiError,
    front::{base::base, json},
    path::KEY_MANAGER_MOUNT,
    state::ApiState,
};

/// How long a client may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Most arguments in a query string, and most bytes of it. Every argument of a list may become a part
/// of its statement.
const ARGUMENTS_MAX: usize = 256;
const QUERY_BYTES_MAX: usize = 16 << 10;

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    ids: Vec<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    caller: Caller,
    path: String,
    origin: String,
    body: Bytes,
    json: json::Limits,
    selects: bool,
}

impl Call {
    /// Scheme, host and path as the client wrote them, without the query.
    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// Whether `?fields=` is served.
    pub(crate) fn selects(&self) -> bool {
        self.selects
    }

    /// The path as the client wrote it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Scheme and host, and what a proxy in front took off the path.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Under which address the Key Manager API was asked.
    pub(crate) fn key_manager_base(&self) -> String {
        let mounted = self.path.starts_with(KEY_MANAGER_MOUNT);
        let mount = if mounted { KEY_MANAGER_MOUNT } else { "" };
        format!("{}{mount}", self.origin)
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
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
        json::parse(&self.body, self.json).map_err(|error| {
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
        let ids: Vec<String> = match parts.extract::<RawPathParams>().await {
            Ok(params) => params.iter().map(|(_, value)| value.to_owned()).collect(),
            Err(_not_utf8) => return Err(ApiError::router(StatusCode::NOT_FOUND, "")),
        };
        if parts.uri.query().unwrap_or_default().len() > QUERY_BYTES_MAX {
            return Err(ApiError::router(
                StatusCode::URI_TOO_LONG,
                format!("The query string is longer than {QUERY_BYTES_MAX} bytes."),
            ));
        }
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::router(StatusCode::BAD_REQUEST, error.body_text()))?;
        check_arguments(&query, &ids)?;
        let config = state.config();
        // Only the Key Manager API has verbs beside these two whose body says something.
        let has_body = matches!(parts.method, Method::POST | Method::PUT)
            || (parts.uri.path().starts_with("/v1/") && parts.method != Method::GET);
        let body = if has_body {
            read(body, config.body_bytes_max).await?
        } else {
            Bytes::new()
        };
        let client_path = parts.extensions.get::<ClientPath>();
        let path = client_path.map_or_else(|| parts.uri.path().to_owned(), |path| path.0.clone());
        let origin = base(&parts, config.front.trusts_proxy_headers);
        Ok(Self {
            ids,
            query,
            // Absent only where the layer was left out: then nobody, who may do nothing.
            caller: parts.extensions.remove().unwrap_or_default(),
            path,
            origin,
            headers: parts.headers,
            body,
            json: json::Limits {
                depth_max: config.front.json_depth_max,
                items_max: config.front.json_items_max,
            },
            selects: config.front.listing.field_selection,
        })
    }
}

/// No database text holds U+0000, so nothing can be found by it.
fn check_arguments(query: &[(String, String)], ids: &[String]) -> Result<(), ApiError> {
    if ids.iter().any(|id| id.contains('\0')) {
        return Err(ApiError::router(StatusCode::NOT_FOUND, ""));
    }
    let refuse = |text: String| Err(ApiError::router(StatusCode::BAD_REQUEST, text));
    if query.len() > ARGUMENTS_MAX {
        return refuse(format!(
            "The query string has more than {ARGUMENTS_MAX} arguments."
        ));
    }
    if query
        .iter()
        .any(|(key, value)| key.contains('\0') || value.contains('\0'))
    {
        return refuse("The query string holds U+0000.".to_owned());
    }
    Ok(())
}

pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
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
