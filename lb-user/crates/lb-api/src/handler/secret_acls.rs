//! `/v1/secrets/{id}/acl` and `/v1/containers/{id}/acl`: who may read them.
//!
//! Left out on purpose: users of other projects. A list names them and they are shown, but a secret
//! is found under its own project only.

use axum::{
    Json,
    extract::State,
    http::Method,
    response::{IntoResponse as _, Response},
};
use lb_model::{id::SecretId, request::reader::Reader, time::Timestamp};
use lb_policy::Action;
use lb_store::secret::Acl;
use serde_json::{Value, json};

use super::{secret_containers, secrets};
use crate::{call::Call, error::ApiError, state::ApiState};

/// Most users on one list, and most characters of a user's id.
const USERS_MAX: usize = 1_000;

/// Any verb on a secret's list.
pub(crate) async fn of_secret(
    State(api): State<ApiState>,
    verb: Method,
    call: Call,
) -> Result<Response, ApiError> {
    let secret = secrets::find(&api, &call, action(&verb)).await?;
    let change = change(&verb, &call, secret.acl.as_ref(), api.now())?;
    if let Some(acl) = &change {
        let acl = acl.as_ref();
        api.store().set_secret_acl(secret.id, acl).await?;
    }
    Ok(answer(
        &call,
        &verb,
        secret.acl.as_ref(),
        secret.id,
        "secrets",
    ))
}

/// Any verb on a container's list.
pub(crate) async fn of_container(
    State(api): State<ApiState>,
    verb: Method,
    call: Call,
) -> Result<Response, ApiError> {
    let container = secret_containers::find(&api, &call, action(&verb)).await?;
    let change = change(&verb, &call, container.acl.as_ref(), api.now())?;
    if let Some(acl) = &change {
        let acl = acl.as_ref();
        api.store().set_container_acl(container.id, acl).await?;
    }
    Ok(answer(
        &call,
        &verb,
        container.acl.as_ref(),
        container.id,
        "containers",
    ))
}

fn action(verb: &Method) -> Action {
    if *verb == Method::GET {
        Action::SecretGetOne
    } else {
        Action::SecretPost
    }
}

fn answer(call: &Call, verb: &Method, known: Option<&Acl>, id: SecretId, kind: &str) -> Response {
    match *verb {
        Method::GET => Json(view(known)).into_response(),
        Method::DELETE => ().into_response(),
        ref _put => {
            let reference = format!("{}/v1/{kind}/{id}/acl", call.key_manager_base());
            Json(json!({"acl_ref": reference})).into_response()
        }
    }
}

fn view(acl: Option<&Acl>) -> Value {
    match acl {
        None => json!({"read": {"project-access": true}}),
        Some(acl) => json!({"read": {
            "project-access": acl.project_access,
            "users": acl.users,
            "created": acl.created_at,
            "updated": acl.updated_at,
        }}),
    }
}

/// What the list becomes: `None` as it is, `Some(None)` none.
fn change(
    verb: &Method,
    call: &Call,
    known: Option<&Acl>,
    now: Timestamp,
) -> Result<Option<Option<Acl>>, ApiError> {
    match *verb {
        Method::GET => return Ok(None),
        Method::DELETE => return Ok(Some(None)),
        ref _put_or_patch => {}
    }
    let document = call.document()?;
    let mut outer = Reader::object(&document, "acl")?;
    let Some(read) = outer.raw("read").into_value() else {
        outer.finish()?;
        return Err(ApiError::invalid("An access list needs 'read'."));
    };
    outer.finish()?;
    let mut reader = Reader::object(read, "read")?;
    let users = reader.texts("users")?.into_value();
    let project_access = reader.boolean("project-access")?.into_value();
    reader.finish()?;
    if users.as_ref().is_some_and(|users| users.len() > USERS_MAX) {
        return Err(ApiError::invalid(format!(
            "An access list names at most {USERS_MAX} users."
        )));
    }
    // PATCH keeps what it does not name, PUT does not.
    let kept = known.filter(|_| *verb == Method::PATCH);
    Ok(Some(Some(Acl {
        users: users.unwrap_or_else(|| kept.map(|acl| acl.users.clone()).unwrap_or_default()),
        project_access: project_access.unwrap_or(kept.is_none_or(|acl| acl.project_access)),
        updated_at: now,
        created_at: known.map_or(now, |acl| acl.created_at),
    })))
}
