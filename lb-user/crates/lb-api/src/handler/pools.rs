//! `/v2/lbaas/pools` (contract 2.3).

use axum::{extract::State, response::Response};
use lb_model::{
    id::{LoadBalancerId, PoolId},
    render,
    request::{PoolCreate, PoolUpdate},
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

const KEY: &str = "pool";
const NAME: &str = "Pool";

/// `GET /pools`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = api.authorize_list(&call, Action::PoolGetAllGlobal, Action::PoolGetAll)?;
    let list = api.list(&call, Resource::Pool, project).await?;
    let views = list.page.pools().map(render::pool_view);
    Ok(list.answer(&call, "pools", views))
}

/// `GET /pools/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: PoolId = call.id(0, NAME)?;
    let view = api.store().pool(id).await?;
    let view = view.ok_or_else(|| id.not_found())?;
    api.authorize(&call, Action::PoolGetOne, &view.project_id)?;
    Ok(shown(&call, KEY, render::pool_view(&view)))
}

/// `POST /pools`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let request = PoolCreate::parse(&call.document()?)?;
    let owner = match (request.loadbalancer_id, request.listener_id) {
        (Some(owner), _) => owner,
        (None, Some(listener)) => {
            let owner = api.store().owner_of_listener(listener).await?;
            owner.ok_or_else(|| listener.not_found())?
        }
        (None, None) => {
            return Err(ApiError::invalid(
                "Must provide at least one of: loadbalancer_id, listener_id.",
            ));
        }
    };
    api.authorize_part(&call, Action::PoolPost, owner, owner.not_found())
        .await?;
    let refs = request.secret_refs();
    let needs = Needs::secrets(api.judge(&call, owner, &refs, |_| None).await?).counted();
    let (tree, id) = api
        .change(owner, &needs, |tree, ctx| {
            tree.create_pool(request.clone(), ctx)
        })
        .await?;
    Ok(created(KEY, &view(&tree, id)?))
}

/// `PUT /pools/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let _what_is_no_id_names_nothing: PoolId = call.id(0, NAME)?;
    let request = PoolUpdate::parse(&call.document()?)?;
    let (id, owner) = owner(&api, &call, Action::PoolPut).await?;
    let stored = |tree: &Tree| Some(tree.pool(id).ok()?.secret_refs());
    let refs = request.secret_refs();
    let needs = Needs::secrets(api.judge(&call, owner, &refs, stored).await?);
    let (tree, ()) = api
        .change(owner, &needs, |tree, ctx| {
            tree.update_pool(id, request.clone(), ctx)
        })
        .await?;
    Ok(updated(KEY, &view(&tree, id)?))
}

/// `DELETE /pools/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (id, owner) = owner(&api, &call, Action::PoolDelete).await?;
    api.change(owner, &Needs::nothing(), |tree, ctx| {
        tree.delete_pool(id, ctx)
    })
    .await?;
    Ok(deleted())
}

fn view(tree: &Tree, id: PoolId) -> Result<Value, ApiError> {
    Ok(render::pool(tree, tree.pool(id)?))
}

async fn owner(
    api: &ApiState,
    call: &Call,
    action: Action,
) -> Result<(PoolId, LoadBalancerId), ApiError> {
    let id: PoolId = call.id(0, NAME)?;
    let owner = api.store().owner_of_pool(id).await?;
    let owner = owner.ok_or_else(|| id.not_found())?;
    api.authorize_part(call, action, owner, id.not_found())
        .await?;
    Ok((id, owner))
}
