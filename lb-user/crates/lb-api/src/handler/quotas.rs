//! `/v2/lbaas/quotas` (contract 2.8). A project that has no limits of its own is shown the defaults,
//! which are also what `defaults` and `default` name.

use axum::{extract::State, response::Response};
use lb_model::{
    fault::{Fault, ResourceKind},
    quota::{self, QuotaUpdate},
};
use lb_policy::Action;
use lb_store::{OwnLimits, Resource};

use crate::{
    answer::{accepted, accepted_with, shown},
    call::Call,
    error::ApiError,
    state::ApiState,
};

const KEY: &str = "quota";
/// Names of no project, but of the defaults.
const DEFAULTS: &[&str] = &["defaults", "default"];
/// Characters in a project id.
const PROJECT_MAX: usize = 36;

/// `GET /quotas`: projects with a row; what they do not set is null.
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = api.authorize_list(&call, Action::QuotaGetAllGlobal, Action::QuotaGetAll)?;
    let (query, frame) = api.rows_query(&call, Resource::Quota, project)?;
    let rows = api.store().list_quotas(&query).await?;
    let views = rows
        .items
        .iter()
        .map(|(_, (project, own))| quota::render(project, own));
    Ok(frame.rows(&call, &rows, ["quotas", "quotas_links"], views))
}

/// `GET /quotas/{project_id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = call.raw_id(0);
    if DEFAULTS.contains(&project) {
        api.authorize_own(&call, Action::QuotaGetDefaults)?;
        return Ok(show_defaults(&api, &call));
    }
    api.authorize(&call, Action::QuotaGetOne, project)?;
    let own = api.store().quota(project).await?.unwrap_or_default();
    let limits = api.config().quota_defaults.with(&own);
    Ok(shown(&call, KEY, quota::render_limits(project, &limits)))
}

/// `GET /quotas/{project_id}/default`
pub(crate) async fn defaults(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize(&call, Action::QuotaGetDefaults, call.raw_id(0))?;
    Ok(show_defaults(&api, &call))
}

/// `PUT /quotas/{project_id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let request = QuotaUpdate::parse(&call.document()?)?;
    let project = project(&call)?;
    api.authorize(&call, Action::QuotaPut, project)?;
    let change = |own: &mut OwnLimits| request.apply(own);
    let own = api.store().change_quota(project, change).await?;
    let limits = api.config().quota_defaults.with(&own);
    tracing::info!(project, "quota changed");
    Ok(accepted_with(KEY, &quota::render_limits(project, &limits)))
}

/// `DELETE /quotas/{project_id}`: back to the defaults.
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = project(&call)?;
    api.authorize(&call, Action::QuotaDelete, project)?;
    if !api.store().delete_quota(project).await? {
        return Err(Fault::not_found(ResourceKind::Quota, project).into());
    }
    tracing::info!(project, "quota deleted");
    Ok(accepted())
}

fn show_defaults(api: &ApiState, call: &Call) -> Response {
    let view = quota::render_limits(call.raw_id(0), &api.config().quota_defaults);
    shown(call, KEY, view)
}

fn project(call: &Call) -> Result<&str, ApiError> {
    let project = call.raw_id(0);
    if project.chars().count() > PROJECT_MAX || DEFAULTS.contains(&project) {
        return Err(ApiError::invalid(format!(
            "'{project}' is not the id of a project."
        )));
    }
    Ok(project)
}
