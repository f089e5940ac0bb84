//! Providers, and what the keys of a flavor's or an availability zone's data mean to ours
//! (contract 2.9).
//!
//! The names and descriptions are Octavia's, so that profiles written for its amphora provider are
//! understood. What a key asks for may still be refused when a load balancer is created with it
//! ([`crate::capability`]).

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{fault::Fault, request::reader::shorten};

/// A provider as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The name that requests use.
    pub name: String,
    /// For people.
    pub description: String,
}

impl Provider {
    /// A provider of this name.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
        }
    }

    /// The names that every deployment knows: scripts hard-code them.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        vec![
            Self::new("amphora", "The Octavia Amphora driver."),
            Self::new("octavia", "Deprecated alias of the Octavia Amphora driver."),
        ]
    }
}

/// The provider of a new load balancer (contract 2.1, VIP rule 6): the one that is asked for, which
/// must be the flavor's when there is a flavor, else the flavor's, else the default.
pub fn choose(
    asked: Option<&str>,
    flavor: Option<&str>,
    default: &str,
    enabled: &[Provider],
) -> Result<String, Fault> {
    let name = match (asked, flavor) {
        (Some(asked), Some(flavor)) if asked != flavor => {
            return Err(Fault::invalid(format!(
                "The flavor is of provider '{flavor}', not of '{asked}'."
            )));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => default,
    };
    check_enabled(name, enabled)?;
    Ok(name.to_owned())
}

/// Refuses a provider that is not enabled.
pub fn check_enabled(name: &str, enabled: &[Provider]) -> Result<(), Fault> {
    if enabled.iter().any(|provider| provider.name == name) {
        Ok(())
    } else {
        Err(Fault::invalid(format!("Provider '{name}' is not enabled.")))
    }
}

/// One key that a profile's data may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataKey {
    /// The key.
    pub name: &'static str,
    /// What it does, for people.
    pub description: &'static str,
    kind: DataKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataKind {
    Text,
    OneOf(&'static [&'static str]),
    Bool,
    Texts,
}

/// Keys of `flavor_data`.
pub const FLAVOR_KEYS: &[DataKey] = &[
    DataKey {
        name: "loadbalancer_topology",
        description: "The load balancer topology. One of: SINGLE - One amphora per load balancer. \
                      ACTIVE_STANDBY - Two amphora per load balancer.",
        kind: DataKind::OneOf(&["SINGLE", "ACTIVE_STANDBY"]),
    },
    DataKey {
        name: "compute_flavor",
        description: "The compute driver flavor ID.",
        kind: DataKind::Text,
    },
    DataKey {
        name: "amp_image_tag",
        description: "The amphora image tag.",
        kind: DataKind::Text,
    },
    DataKey {
        name: "sriov_vip",
        description: "When true, the VIP port will be created using an SR-IOV VF port.",
        kind: DataKind::Bool,
    },
    DataKey {
        name: "allow_member_sriov",
        description: "When true, users can request a member port be SR-IOV enabled at member \
                      creation time.",
        kind: DataKind::Bool,
    },
    DataKey {
        name: "forwarding_mode",
        description: "How TCP, UDP and SCTP packets reach members. One of: nat - Both ways \
                      through the load balancer, members need nothing. dsr-l2 - Answers go \
                      straight to clients, members are on the same link and have the VIP on a \
                      loopback. dsr-ipip - As dsr-l2, members take IPIP tunnels.",
        kind: DataKind::OneOf(&["nat", "dsr-l2", "dsr-ipip"]),
    },
    DataKey {
        name: "l4_path",
        description: "Who serves TCP, UDP and SCTP listeners. One of: auto - The data path where \
                      it can, else an amphora. xdp - The data path. proxy - An amphora.",
        kind: DataKind::OneOf(&["auto", "xdp", "proxy"]),
    },
];

/// Keys of `availability_zone_data`.
pub const AVAILABILITY_ZONE_KEYS: &[DataKey] = &[
    DataKey {
        name: "compute_zone",
        description: "The compute availability zone.",
        kind: DataKind::Text,
    },
    DataKey {
        name: "volume_zone",
        description: "The volume availability zone.",
        kind: DataKind::Text,
    },
    DataKey {
        name: "management_network",
        description: "The management network ID for the amphora.",
        kind: DataKind::Text,
    },
    DataKey {
        name: "valid_vip_networks",
        description: "List of network IDs that are allowed for VIP use. This overrides/replaces \
                      the list of allowed networks configured in the configuration file.",
        kind: DataKind::Texts,
    },
];

/// Reads a profile's data, which is a JSON document in a string: 400 when it is none, 501 for a key
/// or a value that the provider does not know.
pub(crate) fn read_data<T: DeserializeOwned>(
    field: &'static str,
    text: &str,
    keys: &[DataKey],
) -> Result<T, Fault> {
    let value: Value = serde_json::from_str(text).map_err(|error| not_json(field, text, &error))?;
    let Value::Object(map) = value else {
        return Err(Fault::not_implemented(
            field,
            value,
            "it should be an object",
        ));
    };
    check_keys(&map, keys)?;
    serde_json::from_value(Value::Object(map))
        .map_err(|error| Fault::Bug(format!("{field} was checked, but cannot be read: {error}")))
}

/// That it is JSON at all is asked before the provider is.
pub(crate) fn check_json(field: &'static str, text: &str) -> Result<(), Fault> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(drop)
        .map_err(|error| not_json(field, text, &error))
}

fn not_json(field: &'static str, text: &str, error: &serde_json::Error) -> Fault {
    Fault::option(
        field,
        shorten(text),
        format!("Value should be a JSON document: {error}."),
    )
}

fn check_keys(map: &Map<String, Value>, keys: &[DataKey]) -> Result<(), Fault> {
    for (name, value) in map {
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            return Err(Fault::not_implemented(
                name,
                value,
                format!("the keys are {}", known.join(", ")),
            ));
        };
        if let Some(wanted) = key.kind.refuses(value) {
            return Err(Fault::not_implemented(name, value, wanted));
        }
    }
    Ok(())
}

impl DataKind {
    /// What the value should have been.
    fn refuses(self, value: &Value) -> Option<String> {
        let (fits, wanted) = match self {
            Self::Text => (value.is_string(), "it should be a string".to_owned()),
            Self::OneOf(allowed) => (
                value.as_str().is_some_and(|text| allowed.contains(&text)),
                format!("it should be one of: {}", allowed.join(", ")),
            ),
            Self::Bool => (value.is_boolean(), "it should be a boolean".to_owned()),
            Self::Texts => (
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(Value::is_string)),
                "it should be a list of strings".to_owned(),
            ),
        };
        (!fits).then_some(wanted)
    }
}
