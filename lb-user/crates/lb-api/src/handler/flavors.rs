//! `/v2/lbaas/flavors` and `/v2/lbaas/flavorprofiles` (contract 2.10). They belong to no project, and
//! the policy is asked before the body is looked at.

use axum::{extract::State, response::Response};
use lb_model::{
    fault::{Fault, ResourceKind},
    flavor::{self, FlavorCreate, FlavorProfileCreate, FlavorProfileUpdate, FlavorUpdate},
    id::{FlavorId, FlavorProfileId},
};
use lb_policy::Action;
use lb_store::Resource;

use crate::{
    answer::{created, deleted, shown, updated},
    call::Call,
    error::ApiError,
    state::{ApiState, new_id},
};

const KEY: &str = "flavor";
const PROFILE_KEY: &str = "flavorprofile";

/// `GET /flavors`
pub(crate) async fn list(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorGetAll)?;
    let (query, frame) = api.rows_query(&call, Resource::Flavor, None)?;
    let rows = api.store().list_flavors(&query).await?;
    let views = rows.items.iter().map(|(_, it)| flavor::render(it));
    Ok(frame.rows(&call, &rows, ["flavors", "flavors_links"], views))
}

/// `GET /flavors/{id}`
pub(crate) async fn show(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorGetOne)?;
    let id = flavor_id(&call)?;
    let found = api.store().flavor(id).await?;
    let found = found.ok_or_else(|| Fault::not_found(ResourceKind::Flavor, id))?;
    Ok(shown(&call, KEY, flavor::render(&found)))
}

/// `POST /flavors`
pub(crate) async fn create(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorPost)?;
    let made = FlavorCreate::parse(&call.document()?)?.make(FlavorId(new_id()));
    api.store().create_flavor(&made).await?;
    tracing::info!(id = %made.id, name = made.name, "flavor created");
    Ok(created(KEY, &flavor::render(&made)))
}

/// `PUT /flavors/{id}`
pub(crate) async fn update(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorPut)?;
    let request = FlavorUpdate::parse(&call.document()?)?;
    let id = flavor_id(&call)?;
    let changed = api
        .store()
        .change_flavor(id, |flavor| request.apply(flavor))
        .await?;
    Ok(updated(KEY, &flavor::render(&changed)))
}

/// `DELETE /flavors/{id}`
pub(crate) async fn delete(State(api): State<ApiState>, call: Call) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorDelete)?;
    let id = flavor_id(&call)?;
    api.store().delete_flavor(id).await?;
    tracing::info!(%id, "flavor deleted");
    Ok(deleted())
}

/// `GET /flavorprofiles`
pub(crate) async fn list_profiles(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorProfileGetAll)?;
    let (query, frame) = api.rows_query(&call, Resource::FlavorProfile, None)?;
    let rows = api.store().list_flavor_profiles(&query).await?;
    let views = rows.items.iter().map(|(_, it)| flavor::render_profile(it));
    // The key of the links is Octavia's, in the singular.
    let keys = ["flavorprofiles", "flavorprofile_links"];
    Ok(frame.rows(&call, &rows, keys, views))
}

/// `GET /flavorprofiles/{id}`
pub(crate) async fn show_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorProfileGetOne)?;
    let id = profile_id(&call)?;
    let found = api.store().flavor_profile(id).await?;
    let found = found.ok_or_else(|| Fault::not_found(ResourceKind::FlavorProfile, id))?;
    Ok(shown(&call, PROFILE_KEY, flavor::render_profile(&found)))
}

/// `POST /flavorprofiles`
pub(crate) async fn create_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorProfilePost)?;
    let request = FlavorProfileCreate::parse(&call.document()?, &api.config().providers)?;
    let made = request.make(FlavorProfileId(new_id()));
    api.store().create_flavor_profile(&made).await?;
    tracing::info!(id = %made.id, "flavor profile created");
    Ok(created(PROFILE_KEY, &flavor::render_profile(&made)))
}

/// `PUT /flavorprofiles/{id}`
pub(crate) async fn update_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorProfilePut)?;
    let request = FlavorProfileUpdate::parse(&call.document()?)?;
    let id = profile_id(&call)?;
    let providers = &api.config().providers;
    let changed = api
        .store()
        .change_flavor_profile(id, |it, in_use| request.apply(it, in_use, providers))
        .await?;
    Ok(updated(PROFILE_KEY, &flavor::render_profile(&changed)))
}

/// `DELETE /flavorprofiles/{id}`
pub(crate) async fn delete_profile(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Response, ApiError> {
    api.authorize_own(&call, Action::FlavorProfileDelete)?;
    let id = profile_id(&call)?;
    api.store().delete_flavor_profile(id).await?;
    tracing::info!(%id, "flavor profile deleted");
    Ok(deleted())
}

fn flavor_id(call: &Call) -> Result<FlavorId, ApiError> {
    call.id(0, ResourceKind::Flavor.as_str())
}

fn profile_id(call: &Call) -> Result<FlavorProfileId, ApiError> {
    call.id(0, ResourceKind::FlavorProfile.as_str())
}
