//! `/v2/octavia/amphorae` (contract 2.12): the user-space proxies of each load balancer, as an
//! operator sees them.
//!
//! What dies is started again by its agent. What an operator asks for is a change of the load
//! balancer: a failover replaces its amphorae without a gap, `config` has them configured anew, and one
//! in ERROR can be taken away for another.

use axum::{Json, extract::State, response::Response};
use lb_model::{
    enums::AmphoraRole,
    id::{AmphoraId, LoadBalancerId},
    render,
    resource::{Amphora, Vip},
};
use lb_policy::Action;
use lb_store::{EventKind, NewEvent, Resource, Stats};
use serde_json::{Value, json};

use crate::{
    answer::{accepted, deleted, shown},
    call::Call,
    error::ApiError,
    state::{ApiState, Needs},
};

const KEY: &str = "amphora";
const NAME: &str = "Amphora";

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
    let amphora = find(&api, &call, Action::AmphoraGetOne).await?;
    let vip = vip(&api, amphora.load_balancer_id).await?;
    Ok(shown(&call, KEY, render::amphora(&amphora, vip.as_ref())))
}

/// `GET /v2/octavia/amphorae/{id}/stats`: one entry a listener. The one that carries the traffic has
/// the counters; a standby has carried none.
pub(crate) async fn stats(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    let amphora = find(&api, &call, Action::AmphoraGetStats).await?;
    let owner = amphora.load_balancer_id;
    let tree = api.store().read_tree(owner).await?;
    let listeners = tree.map(|tree| tree.listeners).unwrap_or_default();
    if listeners.is_empty() {
        return Err(ApiError::not_found("Amphora stats", call.raw_id(0)));
    }
    let counted = if amphora.role == AmphoraRole::Backup {
        Default::default()
    } else {
        api.store().listener_stats(owner).await?
    };
    let entries = listeners.iter().map(|listener| {
        let stats = counted.get(&listener.id).copied().unwrap_or_default();
        entry(&amphora, &listener.id.to_string(), stats)
    });
    Ok(Json(
        json!({"amphora_stats": entries.collect::<Vec<Value>>()}),
    ))
}

/// `PUT /v2/octavia/amphorae/{id}/failover`
pub(crate) async fn failover(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let amphora = find(&api, &call, Action::AmphoraPutFailover).await?;
    let owner = amphora.load_balancer_id;
    let (tree, ()) = api
        .change(owner, &Needs::nothing(), |tree, ctx| {
            tree.failover_amphora(ctx)
        })
        .await?;
    tracing::info!(
        amphora = %amphora.shown_id, place = %amphora.id, load_balancer = %owner,
        "amphora's failover asked for"
    );
    let event = NewEvent {
        project_id: tree.project_id().to_owned(),
        kind: EventKind::Amphora,
        load_balancer_id: Some(owner),
        message: "An operator has asked for the failover of an amphora.".to_owned(),
        data: json!({"amphora_id": amphora.shown_id, "role": amphora.role}),
    };
    api.store().record_event(&event).await?;
    Ok(accepted())
}

/// `PUT /v2/octavia/amphorae/{id}/config`
pub(crate) async fn configure(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let amphora = find(&api, &call, Action::AmphoraPutConfig).await?;
    api.change(amphora.load_balancer_id, &Needs::nothing(), |tree, _ctx| {
        tree.configure_amphorae();
        Ok(())
    })
    .await?;
    tracing::info!(amphora = %amphora.shown_id, place = %amphora.id, "amphora's configuration asked for");
    Ok(accepted())
}

/// `DELETE /v2/octavia/amphorae/{id}`: one in ERROR.
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let amphora = find(&api, &call, Action::AmphoraDelete).await?;
    api.store().delete_amphora(amphora.shown_id).await?;
    tracing::info!(amphora = %amphora.shown_id, place = %amphora.id, "amphora deleted");
    Ok(deleted())
}

fn entry(amphora: &Amphora, listener: &str, stats: Stats) -> Value {
    json!({
        "id": amphora.shown_id,
        "listener_id": listener,
        "loadbalancer_id": amphora.load_balancer_id,
        "active_connections": stats.active_connections,
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "request_errors": stats.request_errors,
        "total_connections": stats.total_connections,
    })
}

/// Amphorae belong to the operator: whether there is one is told to nobody else.
async fn find(api: &ApiState, call: &Call, action: Action) -> Result<Amphora, ApiError> {
    api.authorize_own(call, action)?;
    let id: AmphoraId = call.id(0, NAME)?;
    let row = api.store().amphora(id).await?;
    row.map(|row| row.amphora)
        .ok_or_else(|| ApiError::not_found(NAME, call.raw_id(0)))
}

async fn vip(api: &ApiState, owner: LoadBalancerId) -> Result<Option<Vip>, ApiError> {
    let tree = api.store().read_tree(owner).await?;
    Ok(tree.map(|tree| tree.load_balancer.vip))
}
