//! `/v1/secrets`: the subset of the Key Manager API that puts certificates where listeners'
//! `default_tls_container_ref` and `sni_container_refs` find them (contract 8.1).
//!
//! Left out on purpose: two-step creation (first the secret, then its payload), containers, orders,
//! access lists, expiry.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lb_model::{
    id::SecretId,
    request::reader::{Reader, required},
};
use lb_policy::Action;
use lb_store::secret::SecretRecord;
use serde_json::{Value, json};

use crate::{answer::deleted, call::Call, error::ApiError, state::ApiState};

const NAME: &str = "Secret";
const OCTET_STREAM: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// Most characters in a name or type.
const TEXT_MAX: usize = 255;
/// Most characters in an encoded payload; the store limits what comes out of it.
const PAYLOAD_CHARS_MAX: usize = 256 << 10;

/// `POST /v1/secrets`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let document = call.document()?;
    let new = NewSecret::read(&document)?;
    let project = api.project_of_new(&call, None)?;
    api.authorize(&call, Action::SecretPost, &project)?;
    let id = api
        .store()
        .put_secret(&project, &new.name, &new.payload, &new.content_type)
        .await?;
    let body = json!({"secret_ref": reference(&call, id)});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `GET /v1/secrets`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::SecretGetAll)?;
    let secrets = api.store().list_secrets(call.project()).await?;
    let name = call.argument("name");
    let number = |key| {
        call.argument(key)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let chosen: Vec<Value> = secrets
        .iter()
        .filter(|secret| name.is_none_or(|name| secret.name == name))
        .map(|secret| view(&call, secret))
        .collect();
    let total = chosen.len();
    let limit = number("limit").unwrap_or(usize::MAX);
    let page = chosen
        .into_iter()
        .skip(number("offset").unwrap_or(0))
        .take(limit);
    Ok(Json(json!({"secrets": page.collect::<Vec<_>>(), "total": total})).into_response())
}

/// `GET /v1/secrets/{id}`: what is known of it, or with another `Accept` what it holds.
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let wants_payload = call
        .header("accept")
        .is_some_and(|accept| accept.starts_with(OCTET_STREAM) || accept.starts_with(TEXT));
    if wants_payload {
        return payload(State(api), call).await;
    }
    let secret = find(&api, &call, Action::SecretGetOne).await?;
    Ok(Json(view(&call, &secret)).into_response())
}

/// `GET /v1/secrets/{id}/payload`
pub(crate) async fn payload(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let secret = find(&api, &call, Action::SecretGetPayload).await?;
    let payload = api.store().secret_payload(secret.id).await?;
    let payload = payload.ok_or_else(|| ApiError::not_found(NAME, call.raw_id(0)))?;
    let kind = HeaderValue::from_str(&secret.content_type)
        .unwrap_or(HeaderValue::from_static(OCTET_STREAM));
    Ok(([(header::CONTENT_TYPE, kind)], payload.expose().to_vec()).into_response())
}

/// `DELETE /v1/secrets/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let secret = find(&api, &call, Action::SecretDelete).await?;
    api.store().delete_secret(secret.id).await?;
    Ok(deleted())
}

async fn find(api: &ApiState, call: &Call, action: Action) -> Result<SecretRecord, ApiError> {
    let found = api.store().secret(call.id(0, NAME)?).await?;
    let found = found.ok_or_else(|| ApiError::not_found(NAME, call.raw_id(0)))?;
    api.authorize(call, action, &found.project_id)?;
    Ok(found)
}

fn reference(call: &Call, id: SecretId) -> String {
    format!("{}/v1/secrets/{id}", call.origin())
}

fn view(call: &Call, secret: &SecretRecord) -> Value {
    json!({
        "secret_ref": reference(call, secret.id),
        "name": secret.name,
        "status": "ACTIVE",
        "secret_type": "opaque",
        "creator_id": null,
        "algorithm": null,
        "bit_length": null,
        "mode": null,
        "expiration": null,
        "content_types": {"default": secret.content_type},
        "created": secret.created_at,
        "updated": secret.created_at,
    })
}

/// A secret's body, understood. Its `Debug` would show the payload, so it has none.
struct NewSecret {
    name: String,
    content_type: String,
    payload: Vec<u8>,
}

impl NewSecret {
    fn read(document: &Value) -> Result<Self, ApiError> {
        let mut reader = Reader::object(document, "secret")?;
        let name = reader
            .string("name", TEXT_MAX)?
            .into_value()
            .unwrap_or_default();
        let text = required("payload", reader.string("payload", PAYLOAD_CHARS_MAX)?)?;
        let kind = required(
            "payload_content_type",
            reader.string("payload_content_type", TEXT_MAX)?,
        )?;
        let encoding = reader
            .string("payload_content_encoding", TEXT_MAX)?
            .into_value();
        // Told by some clients, of no consequence here.
        for key in ["algorithm", "mode", "secret_type"] {
            reader.string(key, TEXT_MAX)?;
        }
        reader.integer("bit_length", 0..=i64::MAX)?;
        if reader
            .string("expiration", TEXT_MAX)?
            .into_value()
            .is_some()
        {
            return Err(ApiError::unsupported(
                "expiration of secrets is not supported.",
            ));
        }
        reader.finish()?;
        let payload = match (encoding.as_deref(), kind.starts_with(TEXT)) {
            (Some("base64"), _) => {
                // Some clients wrap lines.
                let joined: String = text.split_ascii_whitespace().collect();
                BASE64_STANDARD.decode(joined).map_err(|_bad| {
                    ApiError::invalid(
                        "payload is not valid base64, as payload_content_encoding says.",
                    )
                })?
            }
            (None, true) => text.into_bytes(),
            (None, false) => {
                return Err(ApiError::invalid(format!(
                    "payload_content_encoding must be 'base64' for payload_content_type '{kind}'."
                )));
            }
            (Some(other), _) => {
                return Err(ApiError::invalid(format!(
                    "payload_content_encoding '{other}' is not supported; use 'base64'."
                )));
            }
        };
        if payload.is_empty() {
            return Err(ApiError::invalid("payload must not be empty."));
        }
        Ok(Self {
            name,
            content_type: kind,
            payload,
        })
    }
}
