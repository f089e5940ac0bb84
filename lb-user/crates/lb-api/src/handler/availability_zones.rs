//! `/v2/lbaas/availabilityzones`, by name, and `/v2/lbaas/availabilityzoneprofiles` (contract 2.11).

use axum::{extract::State, response::Response};
use lb_model::{
    availability_zone::{
        self, AvailabilityZoneCreate, AvailabilityZoneProfileCreate, AvailabilityZoneProfileUpdate,
        AvailabilityZoneUpdate,
    },
    fault::{Fault, ResourceKind},
    id::AvailabilityZoneProfileId,
};
use lb_policy::Action;
use lb_store::Resource;

use crate::{
    answer::{created, deleted, shown, updated},
    call::Call,
    error::ApiError,
    state::{ApiState, new_id},
};

const KEY: &str = "availability_zone";
const PROFILE_KEY: &str = "availability_zone_profile";

/// `GET /availabilityzones`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneGetAll)?;
    let (query, frame) = api.rows_query(&call, Resource::AvailabilityZone, None)?;
    let rows = api.store().list_availability_zones(&query).await?;
    let views = rows
        .items
        .iter()
        .map(|(_, it)| availability_zone::render(it));
    let keys = ["availability_zones", "availability_zones_links"];
    Ok(frame.rows(&call, &rows, keys, views))
}

/// `GET /availabilityzones/{name}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneGetOne)?;
    let name = call.raw_id(0);
    let found = api.store().availability_zone(name).await?;
    let found = found.ok_or_else(|| Fault::not_found(ResourceKind::AvailabilityZone, name))?;
    Ok(shown(&call, KEY, availability_zone::render(&found)))
}

/// `POST /availabilityzones`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZonePost)?;
    let made = AvailabilityZoneCreate::parse(&call.document()?)?.make();
    api.store().create_availability_zone(&made).await?;
    tracing::info!(name = made.name, "availability zone created");
    Ok(created(KEY, &availability_zone::render(&made)))
}

/// `PUT /availabilityzones/{name}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZonePut)?;
    let request = AvailabilityZoneUpdate::parse(&call.document()?)?;
    let changed = api
        .store()
        .change_availability_zone(call.raw_id(0), |zone| request.apply(zone))
        .await?;
    Ok(updated(KEY, &availability_zone::render(&changed)))
}

/// `DELETE /availabilityzones/{name}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneDelete)?;
    let name = call.raw_id(0);
    api.store().delete_availability_zone(name).await?;
    tracing::info!(name, "availability zone deleted");
    Ok(deleted())
}

/// `GET /availabilityzoneprofiles`
pub(crate) async fn list_profiles(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneProfileGetAll)?;
    let (query, frame) = api.rows_query(&call, Resource::AvailabilityZoneProfile, None)?;
    let rows = api.store().list_availability_zone_profiles(&query).await?;
    let views = rows
        .items
        .iter()
        .map(|(_, it)| availability_zone::render_profile(it));
    // The key of the links is Octavia's, in the singular.
    let keys = [
        "availability_zone_profiles",
        "availability_zone_profile_links",
    ];
    Ok(frame.rows(&call, &rows, keys, views))
}

/// `GET /availabilityzoneprofiles/{id}`
pub(crate) async fn show_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneProfileGetOne)?;
    let id = profile_id(&call)?;
    let found = api.store().availability_zone_profile(id).await?;
    let kind = ResourceKind::AvailabilityZoneProfile;
    let found = found.ok_or_else(|| Fault::not_found(kind, id))?;
    let view = availability_zone::render_profile(&found);
    Ok(shown(&call, PROFILE_KEY, view))
}

/// `POST /availabilityzoneprofiles`
pub(crate) async fn create_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneProfilePost)?;
    let providers = &api.config().providers;
    let request = AvailabilityZoneProfileCreate::parse(&call.document()?, providers)?;
    let made = request.make(AvailabilityZoneProfileId(new_id()));
    api.store().create_availability_zone_profile(&made).await?;
    tracing::info!(id = %made.id, "availability zone profile created");
    let view = availability_zone::render_profile(&made);
    Ok(created(PROFILE_KEY, &view))
}

/// `PUT /availabilityzoneprofiles/{id}`
pub(crate) async fn update_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneProfilePut)?;
    let request = AvailabilityZoneProfileUpdate::parse(&call.document()?)?;
    let id = profile_id(&call)?;
    let providers = &api.config().providers;
    let changed = api
        .store()
        .change_availability_zone_profile(id, |it, in_use| request.apply(it, in_use, providers))
        .await?;
    let view = availability_zone::render_profile(&changed);
    Ok(updated(PROFILE_KEY, &view))
}

/// `DELETE /availabilityzoneprofiles/{id}`
pub(crate) async fn delete_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::AvailabilityZoneProfileDelete)?;
    let id = profile_id(&call)?;
    api.store().delete_availability_zone_profile(id).await?;
    tracing::info!(%id, "availability zone profile deleted");
    Ok(deleted())
}

fn profile_id(call: &Call) -> Result<AvailabilityZoneProfileId, ApiError> {
    call.id(0, ResourceKind::AvailabilityZoneProfile.as_str())
}
