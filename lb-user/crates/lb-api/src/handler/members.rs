//! `/v2/lbaas/pools/{pool_id}/members`, single and batch (contract 2.4).

use axum::{extract::State, http::StatusCode, response::Response};
use lb_model::{
    id::{LoadBalancerId, MemberId, PoolId},
    render,
    request::{MemberBatch, MemberCreate, MemberUpdate},
    tree::Tree,
};
use lb_policy::Action;
use lb_store::Resource;
use serde_json::Value;

use crate::{
    answer::{accepted, created, deleted, shown, updated},
    call::Call,
    error::ApiError,
    state::{ApiState, Needs},
};

const KEY: &str = "member";
const NAME: &str = "Member";

/// `GET /pools/{pool_id}/members`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (pool_id, owner) = pool(&api, &call).await?;
    api.authorize_part(&call, Action::MemberGetAll, owner, pool_id.not_found())
        .await?;
    let list = api.list(&call, Resource::Member(pool_id), None).await?;
    let views = list.page.members().map(render::member_view);
    Ok(list.answer(&call, "members", views))
}

/// `GET /pools/{pool_id}/members/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let view = match (call.raw_id(0).parse(), call.raw_id(1).parse()) {
        (Ok(pool_id), Ok(id)) => api.store().member(pool_id, id).await?,
        _no_ids => None,
    };
    let Some(view) = view else {
        pool(&api, &call).await?;
        return Err(ApiError::not_found(NAME, call.raw_id(1)));
    };
    api.authorize(&call, Action::MemberGetOne, &view.project_id)?;
    Ok(shown(&call, KEY, render::member_view(&view)))
}

/// `POST /pools/{pool_id}/members`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (pool_id, owner) = pool(&api, &call).await?;
    let request = MemberCreate::parse(&call.document()?)?;
    api.authorize_part(&call, Action::MemberPost, owner, pool_id.not_found())
        .await?;
    let (tree, id) = api
        .change(
            owner,
            &Needs::addresses(request.addresses()).counted(),
            |tree, ctx| tree.create_member(pool_id, request.clone(), ctx),
        )
        .await?;
    Ok(created(KEY, &view(&tree, pool_id, id)?))
}

/// `PUT /pools/{pool_id}/members`: the whole set at once, or with `additive_only` a part of it.
pub(crate) async fn batch(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (pool_id, owner) = pool(&api, &call).await?;
    let request = MemberBatch::parse(&call.document()?)?;
    let additive = call.flag("additive_only");
    api.authorize_part(&call, Action::MemberPut, owner, pool_id.not_found())
        .await?;
    api.change(
        owner,
        &Needs::addresses(request.addresses()).counted(),
        |tree, ctx| tree.batch_members(pool_id, request.clone(), additive, ctx),
    )
    .await?;
    Ok(accepted())
}

/// `PUT /pools/{pool_id}/members/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (pool_id, owner) = pool(&api, &call).await?;
    let id: MemberId = call.id(1, NAME)?;
    let request = MemberUpdate::parse(&call.document()?)?;
    api.authorize_part(&call, Action::MemberPut, owner, pool_id.not_found())
        .await?;
    let (tree, ()) = api
        .change(
            owner,
            &Needs::addresses(request.addresses()),
            |tree, ctx| tree.update_member(pool_id, id, request.clone(), ctx),
        )
        .await?;
    Ok(updated(KEY, &view(&tree, pool_id, id)?))
}

/// `DELETE /pools/{pool_id}/members/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (pool_id, owner) = pool(&api, &call).await?;
    let id: MemberId = call.id(1, NAME)?;
    api.authorize_part(&call, Action::MemberDelete, owner, pool_id.not_found())
        .await?;
    api.change(owner, &Needs::nothing(), |tree, ctx| {
        tree.delete_member(pool_id, id, ctx)
    })
    .await?;
    Ok(deleted())
}

fn view(tree: &Tree, pool_id: PoolId, id: MemberId) -> Result<Value, ApiError> {
    Ok(render::member(tree, tree.member(pool_id, id)?))
}

/// An unknown parent in the path is the router's 404, not a handler's (contract 2.4).
async fn pool(api: &ApiState, call: &Call) -> Result<(PoolId, LoadBalancerId), ApiError> {
    let missing = || {
        ApiError::router(
            StatusCode::NOT_FOUND,
            format!("Pool {} not found.", call.raw_id(0)),
        )
    };
    let id: PoolId = call.raw_id(0).parse().map_err(|_no_uuid| missing())?;
    let owner = api.store().owner_of_pool(id).await?;
    Ok((id, owner.ok_or_else(missing)?))
}
