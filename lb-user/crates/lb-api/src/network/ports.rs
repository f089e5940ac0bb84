//! `/v2/ports`: the load balancers' own, and those that users make for VIPs to come.
//!
//! Left out on purpose: PUT, and every field beside name, network, addresses and project.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use lb_model::{
    id::{LoadBalancerId, PortId},
    request::{
        Given,
        reader::{Reader, required},
    },
};
use lb_policy::Action;
use lb_store::{Near, NewPort, Port, Which};
use serde_json::{Value, json};

use super::{
    list::Offer,
    one,
    view::{port_view, user_port_view},
};
use crate::{answer::deleted, call::Call, error::ApiError, state::ApiState};

/// Rows read at a time while filters look for what was asked.
const ROWS: u32 = 500;
/// Characters in a port's name.
const NAME_MAX: usize = 255;
/// Addresses of one port.
const ADDRESSES_MAX: usize = 16;

/// `GET /v2/ports`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let project = super::only_project(&call)?;
    let mut offer = Offer::new(&call, api.config().page_items_max)?;
    for port in api.store().user_ports(project).await? {
        if !offer.take(user_port_view(&port)) {
            return offer.answer("ports");
        }
    }
    let is_theirs = |port: &Port| project.is_none_or(|project| project == port.project_id);
    if let Some(ports) = narrowed(&api, &call).await? {
        for port in &ports {
            if is_theirs(port) && !offer.take(port_view(port)) {
                break;
            }
        }
        return offer.answer("ports");
    }
    let mut after = None;
    loop {
        let ports = api.store().port_page(after.as_ref(), ROWS).await?;
        for port in &ports {
            if is_theirs(port) && !offer.take(port_view(port)) {
                return offer.answer("ports");
            }
        }
        match ports.into_iter().last() {
            Some(last) => after = Some(last),
            None => return offer.answer("ports"),
        }
    }
}

/// The ports that a filter names directly; `None`: all have to be looked through.
async fn narrowed(api: &ApiState, call: &Call) -> Result<Option<Vec<Port>>, ApiError> {
    if call.argument("id").is_some() {
        let mut found = Vec::new();
        for id in super::wanted(call) {
            if let Which::Id(id) = id {
                found.extend(api.store().port(id).await?);
            }
        }
        return Ok(Some(found));
    }
    let device = call.argument("device_id");
    let owner = device.and_then(|text| text.strip_prefix("lb-"));
    let owner: Option<LoadBalancerId> = owner.and_then(|text| text.parse().ok());
    match owner {
        Some(owner) => Ok(Some(api.store().ports(owner).await?)),
        None => Ok(None),
    }
}

/// `GET /v2/ports/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: PortId = call.id(0, "Port")?;
    let project = super::only_project(&call)?;
    let is_theirs = |owner: &str| project.is_none_or(|project| project == owner);
    if let Some(port) = api.store().user_port(id).await? {
        let view = is_theirs(&port.project_id).then(|| user_port_view(&port));
        return one(&call, "port", view);
    }
    if let Some(port) = api.store().port(id).await? {
        let view = is_theirs(&port.project_id).then(|| port_view(&port));
        return one(&call, "port", view);
    }
    let made_up = super::asked(api.store().networks().port(id, Near::default()).await)?;
    let view = made_up.map(|port| {
        let fixed_ips = port
            .fixed_ips
            .iter()
            .map(|(subnet_id, address)| json!({"subnet_id": subnet_id, "ip_address": address}));
        json!({
            "id": id,
            "name": id,
            "network_id": port.network_id,
            "fixed_ips": fixed_ips.collect::<Vec<Value>>(),
            "device_id": port.device_id,
            "device_owner": "",
            "status": "DOWN",
            "admin_state_up": true,
        })
    });
    one(&call, "port", view)
}

/// `POST /v2/ports`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let body = call.document()?;
    let mut reader = Reader::envelope(&body, "port")?;
    let network_id = required("network_id", reader.uuid("network_id")?)?;
    let name = reader.string("name", NAME_MAX)?.into_value();
    let project = reader.string("project_id", NAME_MAX)?.into_value();
    let tenant = reader.string("tenant_id", NAME_MAX)?.into_value();
    if reader.boolean("admin_state_up")?.value() == Some(&false) {
        return Err(ApiError::invalid("A port cannot be switched off."));
    }
    let mut fixed_ips = Vec::new();
    if let Given::Value(items) = reader.list("fixed_ips")? {
        if items.len() > ADDRESSES_MAX {
            return Err(ApiError::invalid(format!(
                "A port has at most {ADDRESSES_MAX} fixed_ips."
            )));
        }
        for item in items {
            let mut item = Reader::object(item, "fixed_ips")?;
            fixed_ips.push((
                item.uuid("subnet_id")?.into_value(),
                item.address("ip_address")?.into_value(),
            ));
            item.finish()?;
        }
    }
    reader.finish()?;
    let project_id = api.project_of_new(&call, tenant.or(project).as_deref())?;
    api.authorize(&call, Action::LoadBalancerPost, &project_id)?;
    let port = api
        .store()
        .create_port(&NewPort {
            project_id,
            name: name.unwrap_or_default(),
            network_id,
            fixed_ips,
        })
        .await?;
    tracing::info!(id = %port.id, project = port.project_id, "port made");
    let answer = Json(json!({"port": user_port_view(&port)}));
    Ok((StatusCode::CREATED, answer).into_response())
}

/// `DELETE /v2/ports/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id: PortId = call.id(0, "Port")?;
    let project = super::only_project(&call)?;
    if let Some(port) = api.store().user_port(id).await? {
        api.authorize(&call, Action::LoadBalancerDelete, &port.project_id)?;
    }
    if api.store().delete_port(id, project).await? {
        tracing::info!(%id, "port removed");
        return Ok(deleted());
    }
    match api.store().port(id).await? {
        Some(port) if project.is_none_or(|project| project == port.project_id) => {
            Err(ApiError::new(
                StatusCode::CONFLICT,
                format!("Port {id} is a load balancer's and goes with it."),
            ))
        }
        _ => Err(ApiError::not_found("Port", call.raw_id(0))),
    }
}
