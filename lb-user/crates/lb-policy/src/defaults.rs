//! The four sets of defaults.
//!
//! All share one table of rules below the API's; a set overrides some of it, as Octavia's sample
//! policy files do. One difference is on purpose: a system-scoped admin is admin in the scoped set,
//! as that set's description says. With a current oslo.policy `context_is_admin` is limited to
//! project scope, and nobody at all may write quotas.

use std::{fmt, str::FromStr};

use crate::action::{Access, Action};

/// The rule that says who is admin.
pub(crate) const CONTEXT_IS_ADMIN: &str = "context_is_admin";

type Rules = &'static [(&'static str, &'static str)];

/// Which defaults an operator starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicySet {
    /// `reader`, `member` and `admin` of a project: Octavia without a policy file.
    #[default]
    KeystoneDefaultRoles,
    /// The same, and `admin` and `reader` of the whole deployment (system scope).
    KeystoneDefaultRolesScoped,
    /// The `load-balancer_*` roles.
    AdvancedRbac,
    /// Whoever has a role in a project may do everything in it.
    AdminOrOwner,
}

impl PolicySet {
    /// Every set.
    pub const ALL: [Self; 4] = [
        Self::KeystoneDefaultRoles,
        Self::KeystoneDefaultRolesScoped,
        Self::AdvancedRbac,
        Self::AdminOrOwner,
    ];

    /// As configurations name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeystoneDefaultRoles => "keystone-default-roles",
            Self::KeystoneDefaultRolesScoped => "keystone-default-roles-scoped",
            Self::AdvancedRbac => "advanced-rbac",
            Self::AdminOrOwner => "admin-or-owner",
        }
    }

    /// Whether `context_is_admin` may hold for a token of the whole deployment.
    pub(crate) const fn system_admin(self) -> bool {
        matches!(self, Self::KeystoneDefaultRolesScoped)
    }

    /// Every rule with its text, as a policy file could have it.
    pub fn texts(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rules().into_iter()
    }

    /// Every rule with its text, the API's and those below them.
    pub(crate) fn rules(self) -> Vec<(&'static str, &'static str)> {
        let overrides: Rules = match self {
            Self::KeystoneDefaultRoles => &[],
            Self::KeystoneDefaultRolesScoped => SCOPED,
            Self::AdvancedRbac => ADVANCED_RBAC,
            Self::AdminOrOwner => ADMIN_OR_OWNER,
        };
        let mut rules: Vec<_> = BASE
            .iter()
            .filter(|(name, _)| overrides.iter().all(|(other, _)| other != name))
            .chain(overrides)
            .copied()
            .collect();
        rules.extend(
            Action::ALL
                .iter()
                .map(|action| (action.name(), text(*action))),
        );
        rules
    }
}

impl fmt::Display for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PolicySet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|set| set.name() == text);
        named.ok_or_else(|| format!("{text} is no set of policy defaults"))
    }
}

fn text(action: Action) -> &'static str {
    match action.access() {
        Access::Read => "rule:load-balancer:read",
        Access::ReadGlobal => "rule:load-balancer:read-global",
        Access::Write => "rule:load-balancer:write",
        Access::Admin => "rule:load-balancer:admin",
        Access::ReadQuota => "rule:load-balancer:read-quota",
        Access::ReadQuotaGlobal => "rule:load-balancer:read-quota-global",
        Access::WriteQuota => "rule:load-balancer:write-quota",
        Access::ReadOrService => "rule:load-balancer:read or rule:service",
    }
}

/// What holds where a set says nothing else.
const BASE: Rules = &[
    (
        "project-member",
        "role:member and project_id:%(project_id)s",
    ),
    (
        "project-reader",
        "role:reader and project_id:%(project_id)s",
    ),
    (CONTEXT_IS_ADMIN, "role:admin"),
    ("service", "role:service"),
    ("load-balancer:owner", "project_id:%(project_id)s"),
    ("load-balancer:admin", "is_admin:True or role:admin"),
    ("load-balancer:global_observer", "role:admin"),
    ("load-balancer:member_and_owner", "rule:project-member"),
    ("load-balancer:observer_and_owner", "rule:project-reader"),
    ("load-balancer:quota-admin", "role:admin"),
    (
        "load-balancer:read",
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or \
         rule:load-balancer:member_and_owner or rule:load-balancer:admin",
    ),
    (
        "load-balancer:read-global",
        "rule:load-balancer:global_observer or rule:load-balancer:admin",
    ),
    (
        "load-balancer:write",
        "rule:load-balancer:member_and_owner or rule:load-balancer:admin",
    ),
    (
        "load-balancer:read-quota",
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or \
         rule:load-balancer:member_and_owner or rule:load-balancer:quota-admin or \
         rule:load-balancer:admin",
    ),
    (
        "load-balancer:read-quota-global",
        "rule:load-balancer:global_observer or rule:load-balancer:quota-admin or \
         rule:load-balancer:admin",
    ),
    (
        "load-balancer:write-quota",
        "rule:load-balancer:quota-admin or rule:load-balancer:admin",
    ),
];

const SCOPED: Rules = &[
    ("system_admin", "role:admin and system_scope:all"),
    ("system_reader", "role:reader and system_scope:all"),
    (
        "project_reader",
        "role:reader and project_id:%(project_id)s",
    ),
    (
        "project_member",
        "role:member and project_id:%(project_id)s",
    ),
    (CONTEXT_IS_ADMIN, "role:admin and system_scope:all"),
    (
        "load-balancer:admin",
        "is_admin:True or rule:system_admin or role:load-balancer_admin",
    ),
    (
        "load-balancer:read",
        "is_admin:True or rule:system_reader or rule:project_reader",
    ),
    (
        "load-balancer:read-global",
        "is_admin:True or rule:system_reader",
    ),
    (
        "load-balancer:write",
        "is_admin:True or rule:project_member",
    ),
    (
        "load-balancer:read-quota",
        "is_admin:True or rule:system_reader or rule:project_reader",
    ),
    (
        "load-balancer:read-quota-global",
        "is_admin:True or rule:system_reader",
    ),
    ("load-balancer:write-quota", "is_admin:True"),
];

const ADVANCED_RBAC: Rules = &[
    (CONTEXT_IS_ADMIN, "role:admin or role:load-balancer_admin"),
    (
        "load-balancer:admin",
        "is_admin:True or role:admin or role:load-balancer_admin",
    ),
    (
        "load-balancer:observer_and_owner",
        "role:load-balancer_observer and rule:load-balancer:owner",
    ),
    (
        "load-balancer:global_observer",
        "role:load-balancer_global_observer",
    ),
    (
        "load-balancer:member_and_owner",
        "role:load-balancer_member and rule:load-balancer:owner",
    ),
    (
        "load-balancer:quota-admin",
        "role:load-balancer_quota_admin",
    ),
];

const ADMIN_OR_OWNER: Rules = &[
    (CONTEXT_IS_ADMIN, "role:admin or role:load-balancer_admin"),
    (
        "admin_or_owner",
        "is_admin:True or project_id:%(project_id)s",
    ),
    ("load-balancer:read", "rule:admin_or_owner"),
    ("load-balancer:read-global", "is_admin:True"),
    ("load-balancer:write", "rule:admin_or_owner"),
    ("load-balancer:read-quota", "rule:admin_or_owner"),
    ("load-balancer:read-quota-global", "is_admin:True"),
    ("load-balancer:write-quota", "is_admin:True"),
];
