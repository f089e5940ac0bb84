//! `/v2/lbaas/l7policies` (contract 2.6).

use axum::{extract::State, response::Response};
use lb_model::{
    id::{L7PolicyId, LoadBalancerId},
    render,
    request::{L7PolicyCreate, L7PolicyUpdate},
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

const KEY: &str = "l7policy";
const NAME: &str = "L7Policy";

/// `GET /l7policies`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project =
        api.authorize_list(&call, Action::L7PolicyGetAllGlobal, Action::L7PolicyGetAll)?;
    let list = api.list(&call, Resource::L7Policy, project).await?;
    let views = list.page.l7policies().map(render::l7policy_view);
    Ok(list.answer(&call, "l7policies", views))
}

/// `GET /l7policies/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: L7PolicyId = call.id(0, NAME)?;
    let view = api.store().l7policy(id).await?;
    let view = view.ok_or_else(|| id.not_found())?;
    api.authorize(&call, Action::L7PolicyGetOne, &view.project_id)?;
    Ok(shown(&call, KEY, render::l7policy_view(&view)))
}

/// `POST /l7policies`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let request = L7PolicyCreate::parse(&call.document()?)?;
    let owner = api.store().owner_of_listener(request.listener_id).await?;
    let owner = owner.ok_or_else(|| request.listener_id.not_found())?;
    api.authorize_part(&call, Action::L7PolicyPost, owner, owner.not_found())
        .await?;
    let (tree, id) = api
        .change(owner, &Needs::nothing().counted(), |tree, ctx| {
            tree.create_l7policy(request.clone(), ctx)
        })
        .await?;
    Ok(created(KEY, &view(&tree, id)?))
}

/// `PUT /l7policies/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let _what_is_no_id_names_nothing: L7PolicyId = call.id(0, NAME)?;
    let request = L7PolicyUpdate::parse(&call.document()?)?;
    let (id, owner) = owner(&api, &call, Action::L7PolicyPut).await?;
    let (tree, ()) = api
        .change(owner, &Needs::nothing(), |tree, ctx| {
            tree.update_l7policy(id, request.clone(), ctx)
        })
        .await?;
    Ok(updated(KEY, &view(&tree, id)?))
}

/// `DELETE /l7policies/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (id, owner) = owner(&api, &call, Action::L7PolicyDelete).await?;
    api.change(owner, &Needs::nothing(), |tree, ctx| {
        tree.delete_l7policy(id, ctx)
    })
    .await?;
    Ok(deleted())
}

fn view(tree: &Tree, id: L7PolicyId) -> Result<Value, ApiError> {
    let (listener, policy) = tree.l7policy(id)?;
    Ok(render::l7policy(tree, listener, policy))
}

async fn owner(
    api: &ApiState,
    call: &Call,
    action: Action,
) -> Result<(L7PolicyId, LoadBalancerId), ApiError> {
    let id: L7PolicyId = call.id(0, NAME)?;
    let owner = api.store().owner_of_policy(id).await?;
    let owner = owner.ok_or_else(|| id.not_found())?;
    api.authorize_part(call, action, owner, id.not_found())
        .await?;
    Ok((id, owner))
}
