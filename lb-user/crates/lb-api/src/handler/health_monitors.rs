//! `/v2/lbaas/healthmonitors` (contract 2.5).

use axum::{extract::State, response::Response};
use lb_model::{
    id::{HealthMonitorId, LoadBalancerId},
    render,
    request::{HealthMonitorCreate, HealthMonitorUpdate},
    tree::Tree,
};
use lb_policy::Action;
use lb_store::Resource;
use serde_json::Value;

use crate::{
    answer::{created, deleted, shown, updated},
    call::Call,
    error::ApiError,
    state::{ApiState, Needs},
};

const KEY: &str = "healthmonitor";
const NAME: &str = "Health Monitor";

/// `GET /healthmonitors`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = api.authorize_list(
        &call,
        Action::HealthMonitorGetAllGlobal,
        Action::HealthMonitorGetAll,
    )?;
    let list = api.list(&call, Resource::HealthMonitor, project).await?;
    let views = list.page.health_monitors().map(render::health_monitor_view);
    Ok(list.answer(&call, "healthmonitors", views))
}

/// `GET /healthmonitors/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: HealthMonitorId = call.id(0, NAME)?;
    let view = api.store().health_monitor(id).await?;
    let view = view.ok_or_else(|| id.not_found())?;
    api.authorize(&call, Action::HealthMonitorGetOne, &view.project_id)?;
    Ok(shown(&call, KEY, render::health_monitor_view(&view)))
}

/// `POST /healthmonitors`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let request = HealthMonitorCreate::parse(&call.document()?)?;
    let owner = api.store().owner_of_pool(request.pool_id).await?;
    let owner = owner.ok_or_else(|| request.pool_id.not_found())?;
    api.authorize_part(&call, Action::HealthMonitorPost, owner, owner.not_found())
        .await?;
    let (tree, id) = api
        .change(owner, &Needs::nothing().counted(), |tree, ctx| {
            tree.create_health_monitor(request.clone(), ctx)
        })
        .await?;
    Ok(created(KEY, &view(&tree, id)?))
}

/// `PUT /healthmonitors/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let _what_is_no_id_names_nothing: HealthMonitorId = call.id(0, NAME)?;
    let request = HealthMonitorUpdate::parse(&call.document()?)?;
    let (id, owner) = owner(&api, &call, Action::HealthMonitorPut).await?;
    let (tree, ()) = api
        .change(owner, &Needs::nothing(), |tree, ctx| {
            tree.update_health_monitor(id, request.clone(), ctx)
        })
        .await?;
    Ok(updated(KEY, &view(&tree, id)?))
}

/// `DELETE /healthmonitors/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (id, owner) = owner(&api, &call, Action::HealthMonitorDelete).await?;
    api.change(owner, &Needs::nothing(), |tree, ctx| {
        tree.delete_health_monitor(id, ctx)
    })
    .await?;
    Ok(deleted())
}

fn view(tree: &Tree, id: HealthMonitorId) -> Result<Value, ApiError> {
    let (pool, monitor) = tree.health_monitor(id)?;
    Ok(render::health_monitor(tree, pool, monitor))
}

async fn owner(
    api: &ApiState,
    call: &Call,
    action: Action,
) -> Result<(HealthMonitorId, LoadBalancerId), ApiError> {
    let id: HealthMonitorId = call.id(0, NAME)?;
    let owner = api.store().owner_of_monitor(id).await?;
    let owner = owner.ok_or_else(|| id.not_found())?;
    api.authorize_part(call, action, owner, id.not_found())
        .await?;
    Ok((id, owner))
}
