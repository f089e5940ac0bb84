//! The subset of the Network API that clients of the load balancer ask to turn names into ids:
//! networks, subnets and ports in Neutron's field names, out of the network driver and our own tables;
//! and the making of ports, for VIPs on addresses that are kept.
//!
//! Callers see shared networks and their project's own; administrators see all.
//!
//! Left out on purpose: every other write. Where the driver knows no security groups and QoS policies
//! their lists are empty, so that a client which looks one up by name is told "not found" and not "no
//! such URL".

mod list;
pub(crate) mod ports;
mod view;

use std::str::FromStr;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use lb_store::{Near, Network, NetworkError, StoreError, Which};
use serde_json::{Value, json};
use uuid::Uuid;

use self::{
    list::Offer,
    view::{made_up_view, network_view, subnet_view},
};
use crate::{answer::shown, call::Call, error::ApiError, state::ApiState};

/// `GET /v2/networks`
pub(crate) async fn networks(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    let mut offer = Offer::new(&call, api.config().page_items_max)?;
    for which in wanted(&call) {
        for network in asked(api.store().networks().networks(which).await)? {
            if is_visible(&call, &network)? && !offer.take(network_view(&network)) {
                break;
            }
        }
    }
    offer.answer("networks")
}

/// `GET /v2/networks/{id}`
pub(crate) async fn network(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id = call.id(0, "Network")?;
    let network = asked(api.store().networks().network(id, Near::default()).await)?;
    let view = match network {
        Some(network) if is_visible(&call, &network)? => Some(network_view(&network)),
        _ => None,
    };
    one(&call, "network", view)
}

/// `GET /v2/subnets`
pub(crate) async fn subnets(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let mut offer = Offer::new(&call, api.config().page_items_max)?;
    for which in wanted(&call) {
        for place in asked(api.store().networks().subnets(which).await)? {
            if is_visible(&call, &place.network)? && !offer.take(subnet_view(&place)) {
                break;
            }
        }
    }
    offer.answer("subnets")
}

/// `GET /v2/subnets/{id}`
pub(crate) async fn subnet(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    let id = call.id(0, "Subnet")?;
    let place = asked(api.store().networks().subnet(id, Near::default()).await)?;
    let view = match place {
        Some(place) if is_visible(&call, &place.network)? => Some(subnet_view(&place)),
        _ => None,
    };
    one(&call, "subnet", view)
}

/// `GET /v2/security-groups`
pub(crate) async fn security_groups(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    made_up(&api, &call, "security_groups")
}

/// `GET /v2/security-groups/{id}`
pub(crate) async fn security_group(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    made_up_one(&api, &call, "security_group")
}

/// `GET /v2/qos/policies`
pub(crate) async fn qos_policies(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    made_up(&api, &call, "policies")
}

/// `GET /v2/qos/policies/{id}`
pub(crate) async fn qos_policy(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    made_up_one(&api, &call, "policy")
}

/// `GET /v2/extensions`: none.
pub(crate) async fn extensions() -> Json<Value> {
    Json(json!({"extensions": []}))
}

/// What is asked for by id exists, where the driver says that everything does.
fn made_up(api: &ApiState, call: &Call, plural: &str) -> Result<Response, ApiError> {
    let mut offer = Offer::new(call, api.config().page_items_max)?;
    if api.store().networks().makes_everything_up() {
        for which in wanted::<Uuid>(call) {
            if let Which::Id(id) = which {
                offer.take(made_up_view(id));
            }
        }
    }
    offer.answer(plural)
}

fn made_up_one(api: &ApiState, call: &Call, kind: &'static str) -> Result<Response, ApiError> {
    let exists = api.store().networks().makes_everything_up();
    let id = call.raw_id(0).parse().ok().filter(|_| exists);
    one(call, kind, id.map(made_up_view))
}

/// What a list is about: drivers that make things up cannot list everything.
fn wanted<T: FromStr>(call: &Call) -> Vec<Which<'_, T>> {
    let given = |wanted: &str| {
        let query = call.query().iter().filter(move |(key, _)| key == wanted);
        query.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let (ids, names) = (given("id"), given("name"));
    if !ids.is_empty() {
        let ids = ids.into_iter().filter_map(|id| id.parse().ok());
        return ids.map(Which::Id).collect();
    }
    if names.is_empty() {
        return vec![Which::All];
    }
    names.into_iter().map(Which::Named).collect()
}

fn asked<T>(answer: Result<T, NetworkError>) -> Result<T, ApiError> {
    Ok(answer.map_err(StoreError::from)?)
}

/// The project whose objects the caller sees; `None`: all.
fn only_project(call: &Call) -> Result<Option<&str>, ApiError> {
    let caller = call.caller();
    if caller.is_admin {
        return Ok(None);
    }
    match caller.project_id.as_deref() {
        Some(project) => Ok(Some(project)),
        None => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "A project is needed to see networks.",
        )),
    }
}

fn is_visible(call: &Call, network: &Network) -> Result<bool, ApiError> {
    let project = only_project(call)?;
    Ok(project.is_none_or(|project| network.is_visible_to(project)))
}

fn one(call: &Call, kind: &'static str, found: Option<Value>) -> Result<Response, ApiError> {
    let view = found.ok_or_else(|| ApiError::not_found(kind, call.raw_id(0)))?;
    Ok(shown(call, kind, view))
}
