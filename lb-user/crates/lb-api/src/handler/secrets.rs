//! `/v1/secrets`: the Key Manager API as far as its clients ask for it, on the embedded store. What
//! is stored here is what listeners' and pools' references mean (contract 8.1).
//!
//! Invariants: a secret is found under the caller's project only, whoever the caller is; a payload is
//! shown to those alone who may write secrets and are on its access list.
//!
//! Left out on purpose: orders, user metadata, quotas, secret stores.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lb_model::id::SecretId;
use lb_policy::Action;
use lb_store::secret::SecretRecord;
use serde_json::{Value, json};

use super::{
    secret_body::{NewSecret, OCTET_STREAM, TEXT},
    secret_page::page,
};
use crate::{answer::deleted, call::Call, error::ApiError, state::ApiState};

const NAME: &str = "Secret";

/// `POST /v1/secrets`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let mut new = NewSecret::read(&call.document()?, api.now())?;
    let project = api.project_of_new(&call, None)?;
    api.authorize(&call, Action::SecretPost, &project)?;
    new.about.creator_id = call.caller().user_id.clone();
    let payload = new.payload.as_deref().zip(new.content_type.as_deref());
    let id = api
        .store()
        .create_secret(&project, &new.about, payload)
        .await?;
    tracing::info!(%id, project, "secret stored");
    let reference = reference(&call, id);
    let location = HeaderValue::from_str(&reference).unwrap_or(HeaderValue::from_static("/"));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(json!({"secret_ref": reference})),
    )
        .into_response())
}

/// `PUT /v1/secrets/{id}`: the payload of a secret that has none yet.
pub(crate) async fn fill(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let secret = find(&api, &call, Action::SecretPost).await?;
    let given = call.header("content-type").unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    let payload = match (kind, call.header("content-encoding")) {
        (TEXT, None) => call.body().to_vec(),
        (OCTET_STREAM, None) => call.body().to_vec(),
        (OCTET_STREAM, Some("base64")) => {
            let joined: Vec<u8> = call
                .body()
                .iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            BASE64_STANDARD
                .decode(joined)
                .map_err(|_bad| ApiError::invalid("The payload is not valid base64."))?
        }
        _other => {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("A payload is {TEXT} or {OCTET_STREAM}, the latter possibly in base64."),
            ));
        }
    };
    if payload.is_empty() {
        return Err(ApiError::invalid("The payload must not be empty."));
    }
    if kind == TEXT && std::str::from_utf8(&payload).is_err() {
        return Err(ApiError::invalid(
            "A payload of type text/plain must be UTF-8.",
        ));
    }
    api.store()
        .fill_secret(&secret.project_id, secret.id, &payload, kind)
        .await?;
    Ok(deleted())
}

/// `GET /v1/secrets`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = own_project(&api, &call, Action::SecretGetAll)?;
    let secrets = api.store().list_secrets(&project).await?;
    let wanted = |secret: &SecretRecord| {
        let about = &secret.about;
        let is = |key: &str, value: Option<&str>| {
            call.argument(key)
                .is_none_or(|wanted| wanted.is_empty() || value == Some(wanted))
        };
        let bits = about.bit_length.map(|bits| bits.to_string());
        is("name", Some(&about.name))
            && is("alg", about.algorithm.as_deref())
            && is("mode", about.mode.as_deref())
            && is("secret_type", Some(&about.secret_type))
            && (call.argument("bits") == Some("0") || is("bits", bits.as_deref()))
    };
    let chosen: Vec<Value> = secrets
        .iter()
        .filter(|secret| wanted(secret))
        .map(|secret| view(&call, secret))
        .collect();
    Ok(page(&call, "secrets", chosen))
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
    let mut view = view(&call, &secret);
    let consumers = api.store().registrations(secret.id).await?;
    if let Value::Object(map) = &mut view {
        let consumers = consumers.iter().map(super::secret_consumers::view);
        map.insert("consumers".to_owned(), consumers.collect());
    }
    Ok(Json(view).into_response())
}

/// `GET /v1/secrets/{id}/payload`
pub(crate) async fn payload(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let secret = find(&api, &call, Action::SecretGetPayload).await?;
    let caller = call.caller();
    if !caller.is_admin && !secret.may_be_read_by(caller.user_id.as_deref()) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "The access list of this secret does not name you.",
        ));
    }
    let payload = api.store().secret_payload(secret.id).await?;
    let payload = payload.ok_or_else(|| {
        ApiError::router(
            StatusCode::NOT_FOUND,
            format!("Secret {} has no payload.", secret.id),
        )
    })?;
    let kind = secret.content_type.as_deref().unwrap_or(OCTET_STREAM);
    let accepted = call
        .header("accept")
        .is_none_or(|accept| accept.contains("*/*") || accept.contains(kind));
    if !accepted {
        return Err(ApiError::router(
            StatusCode::NOT_ACCEPTABLE,
            format!("The payload is {kind}."),
        ));
    }
    let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static(OCTET_STREAM));
    Ok(([(header::CONTENT_TYPE, kind)], payload.expose().to_vec()).into_response())
}

/// `DELETE /v1/secrets/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let secret = find(&api, &call, Action::SecretDelete).await?;
    api.store()
        .delete_secret(&secret.project_id, secret.id)
        .await?;
    tracing::info!(id = %secret.id, "secret deleted");
    Ok(deleted())
}

/// The project whose secrets the caller works with.
pub(super) fn own_project(api: &ApiState, call: &Call, action: Action) -> Result<String, ApiError> {
    let project = api.project_of_new(call, None)?;
    api.authorize(call, action, &project)?;
    Ok(project)
}

pub(super) async fn find(
    api: &ApiState,
    call: &Call,
    action: Action,
) -> Result<SecretRecord, ApiError> {
    let project = own_project(api, call, action)?;
    let missing = || {
        let text = format!("Secret {} not found.", call.raw_id(0));
        ApiError::router(StatusCode::NOT_FOUND, text)
    };
    let id: SecretId = call.id(0, NAME)?;
    let found = api.store().secret(&project, id).await?;
    found.ok_or_else(missing)
}

fn reference(call: &Call, id: SecretId) -> String {
    format!("{}/v1/secrets/{id}", call.key_manager_base())
}

pub(super) fn view(call: &Call, secret: &SecretRecord) -> Value {
    let about = &secret.about;
    let mut view = json!({
        "secret_ref": reference(call, secret.id),
        "name": about.name,
        "status": "ACTIVE",
        "secret_type": about.secret_type,
        "creator_id": about.creator_id,
        "algorithm": about.algorithm,
        "bit_length": about.bit_length,
        "mode": about.mode,
        "expiration": about.expires_at,
        "created": secret.created_at,
        "updated": secret.updated_at.unwrap_or(secret.created_at),
    });
    if let (Value::Object(map), Some(kind)) = (&mut view, &secret.content_type) {
        map.insert("content_types".to_owned(), json!({"default": kind}));
    }
    view
}
