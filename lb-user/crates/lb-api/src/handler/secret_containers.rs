//! `/v1/containers`: several secrets under one reference. Of a certificate container a listener's
//! reference takes certificate, key, intermediates and the key's passphrase (contract 8.1).

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use lb_model::{
    id::SecretId,
    request::reader::{Reader, required},
};
use lb_policy::Action;
use lb_store::secret::{ContainerRecord, NewContainer, Reference};
use serde_json::{Value, json};

use super::{
    secret_body::TEXT_MAX,
    secret_consumers::{container_view, insert},
    secret_page::page,
    secrets::own_project,
};
use crate::{answer::deleted, call::Call, error::ApiError, state::ApiState};

const NAME: &str = "Container";
/// Most secrets of a container.
const ITEMS_MAX: usize = 100;

/// Names that a kind of container knows, and those it cannot do without.
const KINDS: &[(&str, &[&str], &[&str])] = &[
    ("generic", &[], &[]),
    (
        "rsa",
        &["public_key", "private_key", "private_key_passphrase"],
        &["public_key", "private_key"],
    ),
    (
        "certificate",
        &[
            "certificate",
            "private_key",
            "private_key_passphrase",
            "intermediates",
        ],
        &["certificate"],
    ),
];

/// `POST /v1/containers`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let mut new = read(&call.document()?)?;
    let project = own_project(&api, &call, Action::SecretPost)?;
    new.creator_id = call.caller().user_id.clone();
    let id = api.store().create_container(&project, &new).await?;
    tracing::info!(%id, project, "secret container stored");
    let reference = reference(&call, id);
    let location = HeaderValue::from_str(&reference).unwrap_or(HeaderValue::from_static("/"));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(json!({"container_ref": reference})),
    )
        .into_response())
}

/// `GET /v1/containers`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = own_project(&api, &call, Action::SecretGetAll)?;
    let containers = api.store().list_containers(&project).await?;
    let is = |key: &str, value: &str| {
        call.argument(key)
            .is_none_or(|wanted| wanted.is_empty() || wanted == value)
    };
    let chosen = containers
        .iter()
        .filter(|it| is("name", &it.name) && is("type", &it.kind))
        .map(|it| view(&call, it));
    Ok(page(&call, "containers", chosen.collect()))
}

/// `GET /v1/containers/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let container = find(&api, &call, Action::SecretGetOne).await?;
    let mut view = view(&call, &container);
    let known = api.store().registrations(container.id).await?;
    insert(&mut view, &known, container_view);
    Ok(Json(view).into_response())
}

/// `DELETE /v1/containers/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let container = find(&api, &call, Action::SecretDelete).await?;
    api.store()
        .delete_container(&container.project_id, container.id)
        .await?;
    tracing::info!(id = %container.id, "secret container deleted");
    Ok(deleted())
}

/// `POST /v1/containers/{id}/secrets`: generic containers may grow.
pub(crate) async fn add(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (name, secret) = item(&call.document()?)?;
    let container = grows(&api, &call, Action::SecretPost).await?;
    let known = api.store().secret(&container.project_id, secret).await?;
    if known.is_none() {
        return Err(no_such_secret(secret));
    }
    if container.items.len() >= ITEMS_MAX {
        return Err(ApiError::invalid(format!(
            "A container holds at most {ITEMS_MAX} secrets."
        )));
    }
    let added = api
        .store()
        .change_container(container.id, &name, secret, true)
        .await?;
    if !added {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("The container already has a secret named '{name}'."),
        ));
    }
    let body = json!({"container_ref": reference(&call, container.id)});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `DELETE /v1/containers/{id}/secrets`
pub(crate) async fn remove(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (name, secret) = item(&call.document()?)?;
    let container = grows(&api, &call, Action::SecretDelete).await?;
    let removed = api
        .store()
        .change_container(container.id, &name, secret, false)
        .await?;
    if removed {
        Ok(deleted())
    } else {
        Err(no_such_secret(secret))
    }
}

pub(super) async fn find(
    api: &ApiState,
    call: &Call,
    action: Action,
) -> Result<ContainerRecord, ApiError> {
    let project = own_project(api, call, action)?;
    let id: SecretId = call.id(0, NAME)?;
    let found = api.store().container(&project, id).await?;
    found.ok_or_else(|| {
        let text = format!("Container {} not found.", call.raw_id(0));
        ApiError::router(StatusCode::NOT_FOUND, text)
    })
}

async fn grows(api: &ApiState, call: &Call, action: Action) -> Result<ContainerRecord, ApiError> {
    let container = find(api, call, action).await?;
    if container.kind == "generic" {
        return Ok(container);
    }
    Err(ApiError::invalid(
        "Only generic containers can be modified.",
    ))
}

fn reference(call: &Call, id: SecretId) -> String {
    format!("{}/v1/containers/{id}", call.key_manager_base())
}

pub(super) fn view(call: &Call, container: &ContainerRecord) -> Value {
    let base = call.key_manager_base();
    let items: Vec<Value> = container
        .items
        .iter()
        .map(|(name, id)| json!({"name": name, "secret_ref": format!("{base}/v1/secrets/{id}")}))
        .collect();
    json!({
        "container_ref": reference(call, container.id),
        "name": container.name,
        "type": container.kind,
        "status": "ACTIVE",
        "creator_id": container.creator_id,
        "secret_refs": items,
        "consumers": [],
        "created": container.created_at,
        "updated": container.updated_at.unwrap_or(container.created_at),
    })
}

fn read(document: &Value) -> Result<NewContainer, ApiError> {
    let mut reader = Reader::object(document, "container")?;
    let name = reader.string("name", TEXT_MAX)?.into_value();
    let kind = required("type", reader.string("type", TEXT_MAX)?)?;
    let given = reader.raw("secret_refs").into_value();
    reader.finish()?;
    let given = match given {
        None => &Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_other) => return Err(ApiError::invalid("secret_refs must be a list.")),
    };
    if given.len() > ITEMS_MAX {
        return Err(ApiError::invalid(format!(
            "A container holds at most {ITEMS_MAX} secrets."
        )));
    }
    let mut items = BTreeMap::new();
    for one in given {
        let (name, secret) = item(one)?;
        if items.values().any(|known| *known == secret) || items.insert(name, secret).is_some() {
            return Err(ApiError::invalid(
                "Names and references in secret_refs must not repeat.",
            ));
        }
    }
    let Some((_, known, needed)) = KINDS.iter().find(|(name, _, _)| *name == kind) else {
        return Err(ApiError::invalid(
            "type must be one of: generic, rsa, certificate.",
        ));
    };
    let unknown = items
        .keys()
        .find(|name| !known.is_empty() && !known.contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(ApiError::invalid(format!(
            "A {kind} container has no secret named '{name}'; it knows: {}.",
            known.join(", ")
        )));
    }
    if let Some(name) = needed.iter().find(|name| !items.contains_key(**name)) {
        return Err(ApiError::invalid(format!(
            "A {kind} container needs a secret named '{name}'."
        )));
    }
    Ok(NewContainer {
        name: name.unwrap_or_default(),
        kind,
        creator_id: None,
        items,
    })
}

fn item(document: &Value) -> Result<(String, SecretId), ApiError> {
    let mut reader = Reader::object(document, "secret_refs")?;
    let name = reader.string("name", TEXT_MAX)?.into_value();
    let text = required("secret_ref", reader.string("secret_ref", TEXT_MAX)?)?;
    reader.finish()?;
    Ok((name.unwrap_or_default(), Reference::parse(&text)?.id))
}

fn no_such_secret(id: SecretId) -> ApiError {
    ApiError::router(
        StatusCode::NOT_FOUND,
        format!("Secret {id} not found in the container or project."),
    )
}
