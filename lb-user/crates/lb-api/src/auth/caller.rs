//! Who asks.

use axum::http::HeaderMap;

/// The user behind a request, as the identity service or, without one, the headers tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user_id: Option<String>,
    /// The project the token is for.
    pub(crate) project_id: Option<String>,
    pub(crate) roles: Vec<String>,
    /// Every policy check passes: `noauth`, or the rule `context_is_admin`.
    pub(crate) is_admin: bool,
}

impl Caller {
    /// The caller that the headers name, as Octavia's context reads them.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| headers.get(*name)?.to_str().ok())
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let roles = text(&["x-roles", "x-role"]).unwrap_or_default();
        let roles = roles.split(',').map(str::trim);
        Self {
            user_id: text(&["x-user-id", "x-user"]),
            project_id: text(&["x-project-id", "x-tenant-id", "x-tenant"]),
            roles: roles
                .filter(|role| !role.is_empty())
                .map(str::to_owned)
                .collect(),
            is_admin: false,
        }
    }
}
