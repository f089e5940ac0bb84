//! `PUT /loadbalancers/{id}/status`: an operator says where a load balancer stands that does not get
//! there by itself. Octavia has no such call; its operators write to the database.

use axum::{extract::State, response::Response};
use lb_model::{
    enums::ProvisioningStatus,
    fault::Fault,
    id::LoadBalancerId,
    render,
    request::reader::{Reader, required},
};
use lb_policy::Action;
use lb_store::{EventKind, NewEvent};
use serde_json::{Value, json};

use crate::{
    answer::updated,
    call::Call,
    error::ApiError,
    state::{ApiState, Needs},
};

/// `PUT /loadbalancers/{id}/status` with `{"status": {"provisioning_status": "ACTIVE"}}`, or ERROR.
///
/// What is PENDING_* below the load balancer is taken along, and with ACTIVE also what is in ERROR. The
/// hosts are asked again: when one reports that the change cannot be done, that is what is shown.
pub(crate) async fn reset_status(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    let status = requested(&call.document()?)?;
    api.authorize_part(&call, Action::LoadBalancerPutStatus, id, id.not_found())
        .await?;
    let (tree, before) = api
        .change(id, &Needs::nothing(), |tree, ctx| {
            let before = tree.load_balancer.common.provisioning_status;
            tree.reset_status(status, ctx)?;
            Ok(before)
        })
        .await?;
    tracing::info!(load_balancer = %id, %before, after = %status, "status reset by an operator");
    let event = NewEvent {
        project_id: tree.project_id().to_owned(),
        kind: EventKind::Operator,
        load_balancer_id: Some(id),
        message: format!("An operator has reset the status from {before} to {status}."),
        data: json!({"before": before, "after": status}),
    };
    api.store().record_event(&event).await?;
    Ok(updated("loadbalancer", &render::load_balancer(&tree)))
}

fn requested(body: &Value) -> Result<ProvisioningStatus, Fault> {
    let mut reader = Reader::envelope(body, "status")?;
    let status = required("provisioning_status", reader.choice("provisioning_status")?)?;
    reader.finish()?;
    Ok(status)
}
