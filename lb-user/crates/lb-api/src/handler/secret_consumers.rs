//! `/v1/secrets/{id}/consumers` and `/v1/containers/{id}/consumers`: who says it uses them.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use lb_model::{
    id::SecretId,
    request::reader::{Reader, required},
};
use lb_policy::Action;
use lb_store::secret::Registration;
use serde_json::{Value, json};

use super::{secret_body::TEXT_MAX, secret_containers, secret_page::page, secrets};
use crate::{answer::deleted, call::Call, error::ApiError, state::ApiState};

/// Most characters of a consumer's URL.
const URL_MAX: usize = 500;

/// `GET /v1/secrets/{id}/consumers`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let secret = secrets::find(&api, &call, Action::SecretGetOne).await?;
    let known = api.store().registrations(secret.id).await?;
    Ok(page(&call, "consumers", known.iter().map(view).collect()))
}

/// `POST /v1/secrets/{id}/consumers`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let one = of_secret(&call.document()?)?;
    let secret = secrets::find(&api, &call, Action::SecretPost).await?;
    api.store().register(secret.id, &one).await?;
    let mut answer = secrets::view(&call, &secret);
    let known = api.store().registrations(secret.id).await?;
    insert(&mut answer, &known, view);
    Ok((StatusCode::OK, Json(answer)).into_response())
}

/// `DELETE /v1/secrets/{id}/consumers`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let one = of_secret(&call.document()?)?;
    let secret = secrets::find(&api, &call, Action::SecretDelete).await?;
    take_back(&api, secret.id, &one).await?;
    Ok(deleted())
}

/// `GET /v1/containers/{id}/consumers`
pub(crate) async fn list_of_container(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let container = secret_containers::find(&api, &call, Action::SecretGetOne).await?;
    let known = api.store().registrations(container.id).await?;
    Ok(page(
        &call,
        "consumers",
        known.iter().map(container_view).collect(),
    ))
}

/// `POST /v1/containers/{id}/consumers`
pub(crate) async fn create_of_container(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let one = of_container(&call.document()?)?;
    let container = secret_containers::find(&api, &call, Action::SecretPost).await?;
    api.store().register(container.id, &one).await?;
    let mut answer = secret_containers::view(&call, &container);
    let known = api.store().registrations(container.id).await?;
    insert(&mut answer, &known, container_view);
    Ok(Json(answer).into_response())
}

/// `DELETE /v1/containers/{id}/consumers`
pub(crate) async fn delete_of_container(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let one = of_container(&call.document()?)?;
    let container = secret_containers::find(&api, &call, Action::SecretDelete).await?;
    take_back(&api, container.id, &one).await?;
    let mut answer = secret_containers::view(&call, &container);
    let known = api.store().registrations(container.id).await?;
    insert(&mut answer, &known, container_view);
    Ok(Json(answer).into_response())
}

pub(super) fn insert(answer: &mut Value, known: &[Registration], view: fn(&Registration) -> Value) {
    if let Value::Object(map) = answer {
        map.insert("consumers".to_owned(), known.iter().map(view).collect());
    }
}

pub(super) fn view(one: &Registration) -> Value {
    json!({"service": one.service, "resource_type": one.resource_type,
        "resource_id": one.resource_id})
}

pub(super) fn container_view(one: &Registration) -> Value {
    json!({"name": one.service, "URL": one.resource_id})
}

async fn take_back(api: &ApiState, owner: SecretId, one: &Registration) -> Result<(), ApiError> {
    if api.store().unregister(owner, one).await? {
        return Ok(());
    }
    Err(ApiError::router(
        StatusCode::NOT_FOUND,
        "There is no such consumer.",
    ))
}

fn of_secret(document: &Value) -> Result<Registration, ApiError> {
    let mut reader = Reader::object(document, "consumer")?;
    let one = Registration {
        service: required("service", reader.string("service", TEXT_MAX)?)?,
        resource_type: required("resource_type", reader.string("resource_type", TEXT_MAX)?)?,
        resource_id: required("resource_id", reader.string("resource_id", TEXT_MAX)?)?,
    };
    reader.finish()?;
    Ok(one)
}

fn of_container(document: &Value) -> Result<Registration, ApiError> {
    let mut reader = Reader::object(document, "consumer")?;
    let one = Registration {
        service: required("name", reader.string("name", TEXT_MAX)?)?,
        resource_type: String::new(),
        resource_id: required("URL", reader.string("URL", URL_MAX)?)?,
    };
    reader.finish()?;
    Ok(one)
}
