//! `/v2/octavia/amphorae` (contract 2.12): the user-space proxies of each load balancer, as an
//! operator sees them. Read-only here: the agent restarts what dies, and a load balancer's failover
//! replaces its amphorae.

use axum::{extract::State, response::Response};
use lb_model::{
    id::{AmphoraId, LoadBalancerId},
    render,
    resource::Vip,
};
use lb_policy::Action;
use lb_store::Resource;

use crate::{answer::shown, call::Call, error::ApiError, state::ApiState};

const KEY: &str = "amphora";

/// `GET /v2/octavia/amphorae`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AmphoraGetAll)?;
    let list = api.list(&call, Resource::Amphora, None).await?;
    let views = list.page.amphorae.iter().map(|row| {
        let tree = list.page.trees.get(&row.amphora.load_balancer_id);
        render::amphora(&row.amphora, tree.map(|tree| &tree.load_balancer.vip))
    });
    Ok(list.answer(&call, "amphorae", views))
}

/// `GET /v2/octavia/amphorae/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: AmphoraId = call.id(0, "Amphora")?;
    let row = api.store().amphora(id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("Amphora", call.raw_id(0)))?;
    api.authorize_own(&call, Action::AmphoraGetOne)?;
    let vip = vip(&api, row.amphora.load_balancer_id).await?;
    Ok(shown(
        &call,
        KEY,
        render::amphora(&row.amphora, vip.as_ref()),
    ))
}

async fn vip(api: &ApiState, owner: LoadBalancerId) -> Result<Option<Vip>, ApiError> {
    let tree = api.store().read_tree(owner).await?;
    Ok(tree.map(|tree| tree.load_balancer.vip))
}
