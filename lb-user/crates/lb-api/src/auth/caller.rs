//! Who asks.
//!
//! What the caller showed is not kept here: who asks another service in its name takes it from the
//! request (`X-Auth-Token`).

use axum::http::HeaderMap;
use lb_openstack::Token;
use lb_policy::Credentials;

/// The user behind a request, as the identity service or, without one, the headers tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) user_id: Option<String>,
    pub(crate) user_domain_id: Option<String>,
    /// The project the token is for.
    pub(crate) project_id: Option<String>,
    pub(crate) project_domain_id: Option<String>,
    /// The domain the token is for.
    pub(crate) domain_id: Option<String>,
    /// `all`: the token is for the whole deployment.
    pub(crate) system_scope: Option<String>,
    pub(crate) roles: Vec<String>,
    /// `noauth`, or the rule `context_is_admin` holds.
    pub(crate) is_admin: bool,
    /// The deployment has an admin project and this is another.
    pub(crate) is_not_admin_project: bool,
}

impl Caller {
    /// The caller that the headers name, as Octavia's context reads them.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| headers.get(*name)?.to_str().ok())
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let roles = text(&["x-roles", "x-role"]).unwrap_or_default();
        let roles = roles.split(',').map(str::trim);
        Self {
            user_id: text(&["x-user-id", "x-user"]),
            user_domain_id: text(&["x-user-domain-id"]),
            project_id: text(&["x-project-id", "x-tenant-id", "x-tenant"]),
            project_domain_id: text(&["x-project-domain-id"]),
            domain_id: text(&["x-domain-id"]),
            system_scope: text(&["openstack-system-scope"]),
            roles: roles
                .filter(|role| !role.is_empty())
                .map(str::to_owned)
                .collect(),
            is_admin: false,
            is_not_admin_project: false,
        }
    }

    /// The caller that a token tells of.
    pub(crate) fn from_token(token: &Token) -> Self {
        Self {
            user_id: Some(token.user_id.clone()),
            user_domain_id: token.user_domain_id.clone(),
            project_id: token.project_id.clone(),
            project_domain_id: token.project_domain_id.clone(),
            domain_id: token.domain_id.clone(),
            system_scope: token.is_system.then(|| "all".to_owned()),
            roles: token.roles.clone(),
            is_admin: false,
            is_not_admin_project: !token.is_admin_project,
        }
    }

    /// The caller under the names that rules use.
    pub(crate) fn credentials(&self) -> Credentials<'_> {
        Credentials {
            user_id: self.user_id.as_deref(),
            user_domain_id: self.user_domain_id.as_deref(),
            project_id: self.project_id.as_deref(),
            project_domain_id: self.project_domain_id.as_deref(),
            domain_id: self.domain_id.as_deref(),
            system_scope: self.system_scope.as_deref(),
            roles: &self.roles,
            is_admin: self.is_admin,
            is_admin_project: !self.is_not_admin_project,
            service_roles: &[],
        }
    }
}
