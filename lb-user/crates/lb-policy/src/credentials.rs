//! What is known of a caller, under the names that rules use, and what of an object.

use crate::template::Attributes;

/// A caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user.
    pub user_id: Option<&'a str>,
    /// The user's domain.
    pub user_domain_id: Option<&'a str>,
    /// The project the token is for.
    pub project_id: Option<&'a str>,
    /// That project's domain.
    pub project_domain_id: Option<&'a str>,
    /// The domain the token is for.
    pub domain_id: Option<&'a str>,
    /// `all` when the token is for the whole deployment.
    pub system_scope: Option<&'a str>,
    /// Names of roles.
    pub roles: &'a [String],
    /// Nothing is refused: `noauth`, or the rule `context_is_admin` holds.
    pub is_admin: bool,
    /// The project is the deployment's admin project, or there is none.
    pub is_admin_project: bool,
    /// Roles of the service that forwards the call.
    pub service_roles: &'a [String],
}

impl Default for Credentials<'_> {
    fn default() -> Self {
        Self {
            user_id: None,
            user_domain_id: None,
            project_id: None,
            project_domain_id: None,
            domain_id: None,
            system_scope: None,
            roles: &[],
            is_admin: false,
            is_admin_project: true,
            service_roles: &[],
        }
    }
}

/// The names that may stand on the left of a check. The last ones are older words for the first.
const NAMES: &[&str] = &[
    "user_id",
    "user_domain_id",
    "project_id",
    "project_domain_id",
    "domain_id",
    "system_scope",
    "system",
    "roles",
    "is_admin_project",
    "service_roles",
    "user",
    "tenant",
    "tenant_id",
    "project",
    "domain",
    "user_domain",
    "project_domain",
];

/// Whether a check may ask for this.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

impl Credentials<'_> {
    /// Whether one of the values under `name` is `wanted`. What a caller does not have equals
    /// nothing: oslo.policy lets a caller without a project pass for the owner of what has none.
    pub(crate) fn has(&self, name: &str, wanted: &str) -> bool {
        let list = match name {
            "roles" => self.roles,
            "service_roles" => self.service_roles,
            _ => return self.single(name).is_some_and(|value| value == wanted),
        };
        list.iter().any(|value| value == wanted)
    }

    /// Whether the caller has a role, in any case.
    pub(crate) fn has_role(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        self.roles.iter().any(|role| role.to_lowercase() == wanted)
    }

    fn single(&self, name: &str) -> Option<&str> {
        match name {
            "user_id" | "user" => self.user_id,
            "user_domain_id" | "user_domain" => self.user_domain_id,
            "project_id" | "project" | "tenant" | "tenant_id" => self.project_id,
            "project_domain_id" | "project_domain" => self.project_domain_id,
            "domain_id" | "domain" => self.domain_id,
            "system_scope" | "system" => self.system_scope,
            "is_admin" => Some(python(self.is_admin)),
            "is_admin_project" => Some(python(self.is_admin_project)),
            _ => None,
        }
    }
}

fn python(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A caller is its own object when it is asked whether it is admin.
impl Attributes for Credentials<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.single(name).map(str::to_owned)
    }
}

/// An object of a project.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) project_id: Option<&'a str>,
}

impl Attributes for Target<'_> {
    fn text(&self, name: &str) -> Option<String> {
        match name {
            "project_id" | "tenant_id" => self.project_id.map(str::to_owned),
            _ => None,
        }
    }
}
