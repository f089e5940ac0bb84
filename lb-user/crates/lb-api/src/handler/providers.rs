//! `/v2/lbaas/providers` and what ours can be told by profiles (contract 2.9).

use axum::{Json, extract::State};
use lb_model::provider::{AVAILABILITY_ZONE_KEYS, DataKey, FLAVOR_KEYS, check_enabled};
use lb_policy::Action;
use serde_json::{Value, json};

use crate::{call::Call, error::ApiError, listing::select, state::ApiState};

/// `GET /providers`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Json<Value>, ApiError> {
    api.authorize_own(&call, Action::ProviderGetAll)?;
    let providers = api.config().providers.iter();
    let named = providers.map(|it| (it.name.as_str(), it.description.as_str()));
    Ok(Json(json!({"providers": described(&call, named)})))
}

/// `GET /providers/{name}/flavor_capabilities`
pub(crate) async fn flavor_capabilities(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    api.authorize_own(&call, Action::ProviderFlavorGetAll)?;
    check_enabled(call.raw_id(0), &api.config().providers)?;
    Ok(Json(
        json!({"flavor_capabilities": keys(&call, FLAVOR_KEYS)}),
    ))
}

/// `GET /providers/{name}/availability_zone_capabilities`
pub(crate) async fn availability_zone_capabilities(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    api.authorize_own(&call, Action::ProviderAvailabilityZoneGetAll)?;
    check_enabled(call.raw_id(0), &api.config().providers)?;
    let keys = keys(&call, AVAILABILITY_ZONE_KEYS);
    Ok(Json(json!({"availability_zone_capabilities": keys})))
}

fn keys(call: &Call, keys: &'static [DataKey]) -> Vec<Value> {
    described(call, keys.iter().map(|key| (key.name, key.description)))
}

/// Names with descriptions, filtered by either, exactly.
fn described<'a>(call: &Call, items: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Value> {
    let is = |key: &str, value: &str| call.argument(key).is_none_or(|wanted| wanted == value);
    items
        .filter(|(name, description)| is("name", name) && is("description", description))
        .map(|(name, description)| select(call, json!({"name": name, "description": description})))
        .collect()
}
