//! What the service says of itself: providers, quotas, and the kinds of objects it has none of yet
//! (contract 2.8 to 2.11).
//!
//! `noauth` checks no quota, so every limit reads -1 and none can be set.

use axum::{Json, extract::State, response::Response};
use lb_policy::Action;
use serde_json::{Value, json};

use crate::{answer::shown, call::Call, error::ApiError, state::ApiState};

/// Keys of a quota, Octavia's deprecated duplicates included.
const QUOTA_KEYS: &[&str] = &[
    "loadbalancer",
    "load_balancer",
    "listener",
    "member",
    "pool",
    "healthmonitor",
    "health_monitor",
    "l7policy",
    "l7rule",
];

/// `GET /providers`
pub(crate) async fn providers(
    State(api): State<ApiState>,
    call: Call,
) -> Result<Json<Value>, ApiError> {
    api.authorize_own(&call, Action::ProviderGetAll)?;
    let wanted = call.argument("name");
    let named = api
        .config()
        .providers
        .iter()
        .filter(|provider| wanted.is_none_or(|wanted| wanted == provider.name));
    let providers: Vec<Value> = named
        .map(|provider| json!({"name": provider.name, "description": provider.description}))
        .collect();
    Ok(Json(json!({"providers": providers})))
}

/// `GET /quotas`: only projects with limits of their own are listed, and there are none.
pub(crate) async fn quotas() -> Json<Value> {
    Json(json!({"quotas": [], "quotas_links": []}))
}

/// `GET /quotas/{project_id}` (also `defaults`), `GET /quotas/{project_id}/default`
pub(crate) async fn quota(call: Call) -> Response {
    let project = call.raw_id(0);
    let mut quota = json!({"project_id": project, "tenant_id": project});
    if let Value::Object(map) = &mut quota {
        map.extend(QUOTA_KEYS.iter().map(|key| ((*key).to_owned(), json!(-1))));
    }
    shown(&call, "quota", quota)
}

/// A kind of object of which there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Absent {
    /// Path segment.
    pub(crate) path: &'static str,
    kind: &'static str,
    /// Keys of the list and of its links.
    keys: [&'static str; 2],
}

/// The links' names are Octavia's, singular ones included.
pub(crate) const ABSENT: [Absent; 4] = [
    Absent {
        path: "flavors",
        kind: "Flavor",
        keys: ["flavors", "flavors_links"],
    },
    Absent {
        path: "flavorprofiles",
        kind: "Flavor Profile",
        keys: ["flavorprofiles", "flavorprofile_links"],
    },
    Absent {
        path: "availabilityzones",
        kind: "Availability Zone",
        keys: ["availability_zones", "availability_zones_links"],
    },
    Absent {
        path: "availabilityzoneprofiles",
        kind: "Availability Zone Profile",
        keys: [
            "availability_zone_profiles",
            "availability_zone_profile_links",
        ],
    },
];

impl Absent {
    /// `GET` of the list.
    pub(crate) fn list(self) -> Json<Value> {
        let [list, links] = self.keys;
        Json(json!({list: [], links: []}))
    }

    /// `GET` of one.
    pub(crate) fn show(self, call: &Call) -> ApiError {
        ApiError::not_found(self.kind, call.raw_id(0))
    }

    /// Every write.
    pub(crate) fn write(self) -> ApiError {
        ApiError::unsupported(format!("{} objects are not supported.", self.kind))
    }
}

/// Writes of quotas, amphora verbs, capability lists.
pub(crate) async fn not_implemented(call: Call) -> ApiError {
    ApiError::unsupported(format!("'{}' is not supported.", call.url()))
}
