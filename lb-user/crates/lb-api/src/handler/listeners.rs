//! `/v2/lbaas/listeners` (contract 2.2).

use axum::{Json, extract::State, response::Response};
use lb_model::{
    id::{ListenerId, LoadBalancerId},
    render,
    request::{ListenerCreate, ListenerUpdate},
    tree::Tree,
};
use lb_policy::Action;
use lb_store::Resource;
use serde_json::Value;

use crate::{
    answer::{counters, created, deleted, shown, updated},
    call::Call,
    error::ApiError,
    state::{ApiState, Needs},
};

const KEY: &str = "listener";
const NAME: &str = "Listener";

/// `GET /listeners`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project =
        api.authorize_list(&call, Action::ListenerGetAllGlobal, Action::ListenerGetAll)?;
    let list = api.list(&call, Resource::Listener, project).await?;
    let views = list.page.listeners().map(render::listener_view);
    Ok(list.answer(&call, "listeners", views))
}

/// `GET /listeners/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: ListenerId = call.id(0, NAME)?;
    let view = api.store().listener(id).await?;
    let view = view.ok_or_else(|| id.not_found())?;
    api.authorize(&call, Action::ListenerGetOne, &view.project_id)?;
    Ok(shown(&call, KEY, render::listener_view(&view)))
}

/// `GET /listeners/{id}/stats`
pub(crate) async fn stats(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    let (id, tree) = find(&api, &call, Action::ListenerGetStats).await?;
    let stats = api.store().listener_stats(tree.id()).await?;
    let own = stats.get(&id).copied().unwrap_or_default();
    Ok(Json(counters(own)))
}

/// `POST /listeners`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let request = ListenerCreate::parse(&call.document()?)?;
    let owner = request.loadbalancer_id;
    api.authorize_part(&call, Action::ListenerPost, owner, owner.not_found())
        .await?;
    let refs = request.secret_refs();
    let needs = Needs::secrets(api.judge(&call, owner, &refs, |_| None).await?).counted();
    let (tree, id) = api
        .change(owner, &needs, |tree, ctx| {
            tree.create_listener(request.clone(), ctx)
        })
        .await?;
    Ok(created(KEY, &view(&tree, id)?))
}

/// `PUT /listeners/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let _what_is_no_id_names_nothing: ListenerId = call.id(0, NAME)?;
    let request = ListenerUpdate::parse(&call.document()?)?;
    let (id, owner) = owner(&api, &call, Action::ListenerPut).await?;
    let stored = |tree: &Tree| Some(tree.listener(id).ok()?.secret_refs());
    let refs = request.secret_refs();
    let needs = Needs::secrets(api.judge(&call, owner, &refs, stored).await?);
    let (tree, ()) = api
        .change(owner, &needs, |tree, ctx| {
            tree.update_listener(id, request.clone(), ctx)
        })
        .await?;
    Ok(updated(KEY, &view(&tree, id)?))
}

/// `DELETE /listeners/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (id, owner) = owner(&api, &call, Action::ListenerDelete).await?;
    api.change(owner, &Needs::nothing(), |tree, ctx| {
        tree.delete_listener(id, ctx)
    })
    .await?;
    Ok(deleted())
}

fn view(tree: &Tree, id: ListenerId) -> Result<Value, ApiError> {
    Ok(render::listener(tree, tree.listener(id)?))
}

async fn find(api: &ApiState, call: &Call, action: Action) -> Result<(ListenerId, Tree), ApiError> {
    let id: ListenerId = call.id(0, NAME)?;
    let owner = api.store().owner_of_listener(id).await?;
    let tree = api.tree_of(owner, id.not_found()).await?;
    tree.listener(id)?;
    api.authorize(call, action, tree.project_id())?;
    Ok((id, tree))
}

async fn owner(
    api: &ApiState,
    call: &Call,
    action: Action,
) -> Result<(ListenerId, LoadBalancerId), ApiError> {
    let id: ListenerId = call.id(0, NAME)?;
    let owner = api.store().owner_of_listener(id).await?;
    let owner = owner.ok_or_else(|| id.not_found())?;
    api.authorize_part(call, action, owner, id.not_found())
        .await?;
    Ok((id, owner))
}
