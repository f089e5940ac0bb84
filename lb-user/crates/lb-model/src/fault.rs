//! Everything that can be wrong with a request, without HTTP.
//!
//! What: one enum that parsing, the operations on a [`crate::tree::Tree`], the store and the API
//! share. lb-api maps a fault to a status code and a body; [`Fault::public`] is the text that
//! clients show to people. Clients decide by code, never by text, with one exception: people and
//! scripts look for the word "immutable" in a 409 (contract 3.4).
//!
//! Invariant: [`Fault::Bug`] never shows its detail to a client.

use std::fmt;

use crate::{
    enums::{ProvisioningStatus, UnknownValue},
    id::{HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, MemberId, PoolId},
};

/// Kinds of objects, as faults name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A load balancer.
    LoadBalancer,
    /// A listener.
    Listener,
    /// A pool.
    Pool,
    /// A member.
    Member,
    /// A health monitor.
    HealthMonitor,
    /// An L7 policy.
    L7Policy,
    /// An L7 rule.
    L7Rule,
    /// An amphora.
    Amphora,
    /// A quota row.
    Quota,
    /// A provider.
    Provider,
    /// A flavor.
    Flavor,
    /// A flavor profile.
    FlavorProfile,
    /// An availability zone.
    AvailabilityZone,
    /// An availability zone profile.
    AvailabilityZoneProfile,
    /// A network.
    Network,
    /// A subnet.
    Subnet,
    /// A port.
    Port,
    /// A secret.
    Secret,
    /// A secret container.
    Container,
}

impl ResourceKind {
    /// The name people read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "Load Balancer",
            Self::Listener => "Listener",
            Self::Pool => "Pool",
            Self::Member => "Member",
            Self::HealthMonitor => "Health Monitor",
            Self::L7Policy => "L7Policy",
            Self::L7Rule => "L7Rule",
            Self::Amphora => "Amphora",
            Self::Quota => "Quota",
            Self::Provider => "Provider",
            Self::Flavor => "Flavor",
            Self::FlavorProfile => "Flavor Profile",
            Self::AvailabilityZone => "Availability Zone",
            Self::AvailabilityZoneProfile => "Availability Zone Profile",
            Self::Network => "Network",
            Self::Subnet => "Subnet",
            Self::Port => "Port",
            Self::Secret => "Secret",
            Self::Container => "Container",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request was not carried out. Nothing has changed when one is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The object does not exist, or no longer (404).
    #[error("{resource} {id} not found.")]
    NotFound {
        /// What was looked for.
        resource: ResourceKind,
        /// By which id or name.
        id: String,
    },
    /// The object, or one it hangs on, is not in a state that allows changes (409).
    #[error("{resource} {id} is immutable and cannot be updated{}.", .state.map(|state| format!(" in state {state}")).unwrap_or_default())]
    Immutable {
        /// The object that blocks.
        resource: ResourceKind,
        /// Its id.
        id: String,
        /// Its state; named for load balancers' own verbs.
        state: Option<ProvisioningStatus>,
    },
    /// The change collides with what exists (409).
    #[error("{0}")]
    Conflict(String),
    /// The request breaks a rule (400).
    #[error("{0}")]
    Invalid(String),
    /// A field's value breaks the field's own rule (400).
    #[error("Invalid input for field/attribute {field}. Value: '{value}'. {reason}")]
    InvalidOption {
        /// Field name as on the wire.
        field: String,
        /// What was given.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// Policy refuses (403).
    #[error("Policy does not allow this request to be performed.")]
    Forbidden,
    /// The project's quota is used up (403).
    #[error("Quota has been met for resources: {resource}")]
    QuotaReached {
        /// Of which kind.
        resource: ResourceKind,
    },
    /// A legal request that this provider cannot serve yet (501).
    #[error("The provider does not support {field} '{value}': {reason}")]
    NotImplemented {
        /// Field name as on the wire.
        field: String,
        /// What was given.
        value: String,
        /// What is missing.
        reason: String,
    },
    /// Not now, try again (503).
    #[error("{0}")]
    Unavailable(String),
    /// Ours, not the client's (500). The text is for the log.
    #[error("bug: {0}")]
    Bug(String),
}

impl Fault {
    /// What a client may read.
    #[must_use]
    pub fn public(&self) -> String {
        match self {
            Self::Bug(_) => "An unexpected error occurred.".to_owned(),
            other => other.to_string(),
        }
    }

    /// A 404.
    pub fn not_found(resource: ResourceKind, id: impl fmt::Display) -> Self {
        Self::NotFound {
            resource,
            id: id.to_string(),
        }
    }

    /// A 400: null, or a value that one kind of object does not take.
    pub fn not_an_option(value: impl fmt::Display, option: impl fmt::Display) -> Self {
        Self::Invalid(format!("{value} is not a valid option for {option}"))
    }

    /// A 400: switched off by the operator.
    pub fn disabled(option: &str, value: impl fmt::Display) -> Self {
        Self::Invalid(format!(
            "The selected {option} is not allowed in this deployment: {value}"
        ))
    }

    /// A 400: two VIPs in one subnet.
    pub(crate) fn duplicate_subnet() -> Self {
        Self::validation("Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.")
    }

    /// A 409 that names the blocking object.
    pub fn immutable(resource: ResourceKind, id: impl fmt::Display) -> Self {
        Self::Immutable {
            resource,
            id: id.to_string(),
            state: None,
        }
    }

    /// A 409 for what something else is made of.
    pub fn in_use(resource: ResourceKind, id: impl fmt::Display) -> Self {
        Self::Conflict(format!("{resource} {id} is in use and cannot be modified."))
    }

    /// A 400 in our own words.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// A 400 as Octavia words those that its own checks find.
    pub fn validation(text: impl fmt::Display) -> Self {
        Self::Invalid(format!("Validation failure: {text}"))
    }

    /// A 400 about one field.
    pub fn option(
        field: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self::InvalidOption {
            field: field.into(),
            value: value.to_string(),
            reason: reason.into(),
        }
    }

    /// A 501 about one field.
    pub fn not_implemented(
        field: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self::NotImplemented {
            field: field.into(),
            value: value.to_string(),
            reason: reason.into(),
        }
    }
}

/// An enumeration's value error, told for the field it was in.
pub(crate) fn unknown_value(field: &str, error: &UnknownValue) -> Fault {
    Fault::option(
        field,
        &error.value,
        format!("Value should be one of: {}", error.allowed),
    )
}

macro_rules! kinds {
    ($($id:ident => $kind:ident),+ $(,)?) => {$(
        impl $id {
            /// The 404 for this id.
            #[must_use]
            pub fn not_found(self) -> Fault {
                Fault::not_found(ResourceKind::$kind, self)
            }

            /// The 409 that names this object as the one that blocks.
            #[must_use]
            pub fn immutable(self) -> Fault {
                Fault::immutable(ResourceKind::$kind, self)
            }
        }
    )+};
}

kinds!(
    LoadBalancerId => LoadBalancer,
    ListenerId => Listener,
    PoolId => Pool,
    MemberId => Member,
    HealthMonitorId => HealthMonitor,
    L7PolicyId => L7Policy,
    L7RuleId => L7Rule,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_object_and_keep_the_word_immutable() {
        let id = PoolId(uuid::Uuid::nil());
        assert_eq!(id.not_found().public(), format!("Pool {id} not found."));
        assert!(id.immutable().public().contains("immutable"));
        let busy = Fault::Immutable {
            resource: ResourceKind::LoadBalancer,
            id: "x".into(),
            state: Some(ProvisioningStatus::PendingUpdate),
        };
        assert!(busy.public().contains("PENDING_UPDATE"));
    }

    #[test]
    fn a_bug_never_shows_its_detail() {
        assert!(
            !Fault::Bug("row 17 at /secret".into())
                .public()
                .contains("secret")
        );
    }
}
