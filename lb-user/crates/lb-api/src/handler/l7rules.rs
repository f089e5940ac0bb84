//! `/v2/lbaas/l7policies/{l7policy_id}/rules` (contract 2.7).

use axum::{extract::State, http::StatusCode, response::Response};
use lb_model::{
    id::{L7PolicyId, L7RuleId, LoadBalancerId},
    render,
    request::{L7RuleCreate, L7RuleUpdate},
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

const KEY: &str = "rule";
const NAME: &str = "L7Rule";

/// `GET /l7policies/{l7policy_id}/rules`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (policy_id, owner) = policy(&api, &call).await?;
    api.authorize_part(&call, Action::L7RuleGetAll, owner, policy_id.not_found())
        .await?;
    let list = api.list(&call, Resource::L7Rule(policy_id), None).await?;
    let views = list.page.l7rules().map(render::l7rule_view);
    Ok(list.answer(&call, "rules", views))
}

/// `GET /l7policies/{l7policy_id}/rules/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let view = match (call.raw_id(0).parse(), call.raw_id(1).parse()) {
        (Ok(policy_id), Ok(id)) => api.store().l7rule(policy_id, id).await?,
        _no_ids => None,
    };
    let Some(view) = view else {
        policy(&api, &call).await?;
        return Err(ApiError::not_found(NAME, call.raw_id(1)));
    };
    api.authorize(&call, Action::L7RuleGetOne, &view.project_id)?;
    Ok(shown(&call, KEY, render::l7rule_view(&view)))
}

/// `POST /l7policies/{l7policy_id}/rules`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (policy_id, owner) = policy(&api, &call).await?;
    let request = L7RuleCreate::parse(&call.document()?)?;
    api.authorize_part(&call, Action::L7RulePost, owner, policy_id.not_found())
        .await?;
    let (tree, id) = api
        .change(owner, &Needs::nothing().counted(), |tree, ctx| {
            tree.create_l7rule(policy_id, request.clone(), ctx)
        })
        .await?;
    Ok(created(KEY, &view(&tree, policy_id, id)?))
}

/// `PUT /l7policies/{l7policy_id}/rules/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (policy_id, owner) = policy(&api, &call).await?;
    let id: L7RuleId = call.id(1, NAME)?;
    let request = L7RuleUpdate::parse(&call.document()?)?;
    api.authorize_part(&call, Action::L7RulePut, owner, policy_id.not_found())
        .await?;
    let (tree, ()) = api
        .change(owner, &Needs::nothing(), |tree, ctx| {
            tree.update_l7rule(policy_id, id, request.clone(), ctx)
        })
        .await?;
    Ok(updated(KEY, &view(&tree, policy_id, id)?))
}

/// `DELETE /l7policies/{l7policy_id}/rules/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let (policy_id, owner) = policy(&api, &call).await?;
    let id: L7RuleId = call.id(1, NAME)?;
    api.authorize_part(&call, Action::L7RuleDelete, owner, policy_id.not_found())
        .await?;
    api.change(owner, &Needs::nothing(), |tree, ctx| {
        tree.delete_l7rule(policy_id, id, ctx)
    })
    .await?;
    Ok(deleted())
}

fn view(tree: &Tree, policy_id: L7PolicyId, id: L7RuleId) -> Result<Value, ApiError> {
    Ok(render::l7rule(tree, tree.l7rule(policy_id, id)?))
}

/// An unknown parent in the path is the router's 404, not a handler's (contract 3.3).
async fn policy(api: &ApiState, call: &Call) -> Result<(L7PolicyId, LoadBalancerId), ApiError> {
    let missing = || {
        ApiError::router(
            StatusCode::NOT_FOUND,
            format!("L7Policy {} not found.", call.raw_id(0)),
        )
    };
    let id: L7PolicyId = call.raw_id(0).parse().map_err(|_no_uuid| missing())?;
    let owner = api.store().owner_of_policy(id).await?;
    Ok((id, owner.ok_or_else(missing)?))
}
