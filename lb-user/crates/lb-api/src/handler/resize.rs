//! `PUT /loadbalancers/{id}/resize` with `{"new_flavor_id": …}` (Octavia's specification
//! `version15.0/resize`), also below the key `loadbalancer`.

use axum::{extract::State, response::Response};
use lb_model::{
    fault::Fault,
    id::{FlavorId, LoadBalancerId},
    request::{
        LoadBalancerCreate,
        reader::{Reader, required},
    },
};
use lb_policy::Action;
use lb_store::{EventKind, NewEvent};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    answer::accepted,
    call::Call,
    error::ApiError,
    state::{ApiState, Needs},
};

/// `PUT /loadbalancers/{id}/resize`
pub(crate) async fn resize(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: LoadBalancerId = call.id(0, "Load Balancer")?;
    let flavor = requested(&call.document()?)?;
    api.authorize_part(&call, Action::LoadBalancerPutResize, id, id.not_found())
        .await?;
    let before = api.tree_of(Some(id), id.not_found()).await?;
    // Judged as a create with this flavor, zone and provider would be, in a create's words.
    let owner = &before.load_balancer;
    let as_created = LoadBalancerCreate::parse(&json!({"loadbalancer": {
        "vip_subnet_id": Uuid::nil(),
        "flavor_id": flavor,
        "availability_zone": owner.placement.availability_zone,
        "provider": owner.provider,
    }}))?;
    let made = api.placement(&as_created).await?;
    let (tree, was) = api
        .change(id, &Needs::nothing(), |tree, ctx| {
            let was = tree.load_balancer.placement.flavor_id;
            tree.resize(made.placement.clone(), made.topology, ctx)?;
            Ok(was)
        })
        .await?;
    tracing::info!(load_balancer = %id, %flavor, "resize asked for");
    let event = NewEvent {
        project_id: tree.project_id().to_owned(),
        kind: EventKind::Operator,
        load_balancer_id: Some(id),
        message: "The load balancer is being resized.".to_owned(),
        data: json!({"flavor_id": flavor, "former_flavor_id": was}),
    };
    api.store().record_event(&event).await?;
    Ok(accepted())
}

fn requested(body: &Value) -> Result<FlavorId, Fault> {
    let mut reader = if body.get("loadbalancer").is_some() {
        Reader::envelope(body, "loadbalancer")?
    } else {
        Reader::object(body, "the request body")?
    };
    let flavor = required("new_flavor_id", reader.uuid("new_flavor_id")?)?;
    reader.finish()?;
    Ok(flavor)
}
