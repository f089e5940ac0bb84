//! The read-only subset of the Network API that clients of the load balancer ask to turn names into
//! ids: networks, subnets and ports in Neutron's field names, out of the configuration and our own
//! tables.
//!
//! Left out on purpose: every write. Security groups and QoS policies do not exist here; their lists
//! are empty, so that a client which looks one up by name is told "not found" and not "no such URL".

use std::str::FromStr;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use lb_store::{Near, Network, Place, Port, PortPurpose, StoreError, Which};
use serde_json::{Value, json};

use crate::{
    answer::shown,
    call::{Call, loose_bool},
    error::ApiError,
    listing::{ARGUMENTS, select},
    state::ApiState,
};

/// `GET /v2/networks`
pub(crate) async fn networks(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let found = api.store().networks().networks(which(&call)).await;
    let found = found.map_err(StoreError::from)?;
    let views = found.iter().map(|network| network_view(network));
    Ok(answer(&call, "networks", views))
}

/// `GET /v2/networks/{id}`
pub(crate) async fn network(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id = call.id(0, "Network")?;
    let found = api.store().networks().network(id, Near::default()).await;
    let found = found.map_err(StoreError::from)?;
    one(&call, "network", found.as_deref().map(network_view))
}

/// `GET /v2/subnets`
pub(crate) async fn subnets(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let found = api.store().networks().subnets(which(&call)).await;
    let found = found.map_err(StoreError::from)?;
    Ok(answer(&call, "subnets", found.iter().map(subnet_view)))
}

/// `GET /v2/subnets/{id}`
pub(crate) async fn subnet(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id = call.id(0, "Subnet")?;
    let found = api.store().networks().subnet(id, Near::default()).await;
    let found = found.map_err(StoreError::from)?;
    one(&call, "subnet", found.as_ref().map(subnet_view))
}

/// What a list is about, for drivers that cannot list everything.
fn which<T: FromStr>(call: &Call) -> Which<'_, T> {
    let id = call.argument("id").and_then(|id| id.parse().ok());
    id.map_or_else(
        || call.argument("name").map_or(Which::All, Which::Named),
        Which::Id,
    )
}

/// `GET /v2/ports`
pub(crate) async fn ports(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let ports = api.store().all_ports().await?;
    Ok(answer(&call, "ports", ports.iter().map(port_view)))
}

/// `GET /v2/ports/{id}`
pub(crate) async fn port(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id = call.id(0, "Port")?;
    let found = api.store().port(id).await?;
    one(&call, "port", found.as_ref().map(port_view))
}

/// `GET` of a list that is always empty.
pub(crate) async fn security_groups() -> Json<Value> {
    Json(json!({"security_groups": []}))
}

/// `GET` of a list that is always empty.
pub(crate) async fn qos_policies() -> Json<Value> {
    Json(json!({"policies": []}))
}

/// A list, filtered. There are few of these objects, so they come in one page.
fn answer(call: &Call, plural: &str, views: impl Iterator<Item = Value>) -> Response {
    let filters: Vec<_> = call
        .query()
        .iter()
        .filter(|(key, _)| !ARGUMENTS.contains(&key.as_str()))
        .collect();
    let wanted = |view: &Value| {
        // As in Neutron, a key given twice means either value.
        filters.iter().all(|(key, _)| {
            filters
                .iter()
                .any(|(other, value)| other == key && matches(view.get(key), value))
        })
    };
    let items: Vec<Value> = views
        .filter(wanted)
        .map(|view| select(call, view))
        .collect();
    Json(json!({plural: items})).into_response()
}

/// Whether a field is as a filter wants it; lists match by any element, `k=v` by its keys.
fn matches(field: Option<&Value>, wanted: &str) -> bool {
    match field {
        Some(Value::String(text)) => text.eq_ignore_ascii_case(wanted),
        Some(Value::Bool(value)) => loose_bool(wanted) == Some(*value),
        Some(Value::Number(number)) => number.to_string() == wanted,
        Some(Value::Array(items)) => items.iter().any(|item| matches(Some(item), wanted)),
        Some(Value::Object(map)) => wanted
            .split_once('=')
            .is_some_and(|(key, value)| matches(map.get(key), value)),
        Some(Value::Null) | None => false,
    }
}

fn one(call: &Call, kind: &'static str, found: Option<Value>) -> Result<Response, ApiError> {
    let view = found.ok_or_else(|| ApiError::not_found(kind, call.raw_id(0)))?;
    Ok(shown(call, kind, view))
}

fn network_view(network: &Network) -> Value {
    json!({
        "id": network.id,
        "name": network.name,
        "description": "",
        "project_id": "",
        "tenant_id": "",
        "status": "ACTIVE",
        "admin_state_up": true,
        "shared": true,
        "router:external": false,
        "port_security_enabled": true,
        "availability_zones": [],
        "availability_zone_hints": [],
        "subnets": network.subnets.iter().map(|subnet| subnet.id).collect::<Vec<_>>(),
        "tags": [],
    })
}

fn subnet_view(place: &Place) -> Value {
    let Place { network, subnet } = place;
    json!({
        "id": subnet.id,
        "name": subnet.name,
        "description": "",
        "project_id": "",
        "tenant_id": "",
        "network_id": network.id,
        "ip_version": if subnet.is_ipv6() { 6 } else { 4 },
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "allocation_pools": subnet.allocation_pools,
        "enable_dhcp": false,
        "dns_nameservers": [],
        "host_routes": [],
        "ipv6_address_mode": null,
        "ipv6_ra_mode": null,
        "subnetpool_id": null,
        "tags": [],
    })
}

fn port_view(port: &Port) -> Value {
    let owner = port.load_balancer_id;
    let name = match port.purpose {
        PortPurpose::Vip | PortPurpose::AdditionalVip => format!("octavia-lb-{owner}"),
        PortPurpose::Amphora | PortPurpose::Snat => {
            format!("octavia-lb-{}-{}", port.purpose, port.id)
        }
    };
    json!({
        "id": port.id,
        "name": name,
        "description": "",
        "project_id": port.project_id,
        "tenant_id": port.project_id,
        "network_id": port.network_id,
        "fixed_ips": [{"subnet_id": port.subnet_id, "ip_address": port.address}],
        "device_id": format!("lb-{owner}"),
        "device_owner": "Octavia",
        "status": "ACTIVE",
        "admin_state_up": true,
        "security_groups": [],
        "allowed_address_pairs": [],
        "created_at": port.created_at,
        "tags": [],
    })
}
