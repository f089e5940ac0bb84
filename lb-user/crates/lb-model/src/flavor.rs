//! Flavors and their profiles (contract 2.10): what an operator offers, and what a load balancer of
//! a flavor is made with.
//!
//! A profile belongs to a provider and holds its data, a JSON document in a string; a flavor is a
//! name for a profile that tenants may use. Neither belongs to a project.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    enums::{ForwardingMode, L4Path, Topology, VnicType},
    fault::{Fault, ResourceKind},
    id::{FlavorId, FlavorProfileId},
    provider::{FLAVOR_KEYS, Provider, check_enabled, check_json, read_data},
    request::{
        Given,
        reader::{Reader, required},
    },
};

/// Characters in a profile's data.
pub const DATA_MAX: usize = 4096;

/// A flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// Identity.
    pub id: FlavorId,
    /// Unique among flavors.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether new load balancers may use it.
    pub enabled: bool,
    /// What it stands for; never changes.
    pub flavor_profile_id: FlavorProfileId,
}

/// A flavor profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorProfile {
    /// Identity.
    pub id: FlavorProfileId,
    /// Not unique.
    pub name: String,
    /// Whose data it is.
    pub provider_name: String,
    /// As it was given.
    pub flavor_data: String,
}

/// What a profile's data say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FlavorData {
    /// How many amphorae.
    pub loadbalancer_topology: Option<Topology>,
    /// There are no virtual machines to have it.
    pub compute_flavor: Option<String>,
    /// There are no images to choose from.
    pub amp_image_tag: Option<String>,
    /// The VIP's port is an SR-IOV virtual function.
    pub sriov_vip: bool,
    /// Members may ask for SR-IOV ports.
    pub allow_member_sriov: bool,
    /// How the data path hands packets to members.
    pub forwarding_mode: ForwardingMode,
    /// Who may handle listeners that the data path could serve.
    pub l4_path: L4Path,
}

impl FlavorData {
    /// Reads and judges `flavor_data`.
    pub fn read(text: &str) -> Result<Self, Fault> {
        read_data("flavor_data", text, FLAVOR_KEYS)
    }

    /// What the VIP's port is to be.
    #[must_use]
    pub const fn vip_vnic_type(&self) -> VnicType {
        if self.sriov_vip {
            VnicType::Direct
        } else {
            VnicType::Normal
        }
    }
}

/// A flavor as a load balancer is made with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorFact {
    /// The flavor.
    pub flavor: Flavor,
    /// Its profile.
    pub profile: FlavorProfile,
}

impl FlavorFact {
    /// What was found under a request's `flavor_id` (contract 2.1, VIP rule 6). Judged anew: the
    /// provider may have changed its mind since the profile was written.
    pub fn usable(found: Option<Self>, id: FlavorId) -> Result<(Self, FlavorData), Fault> {
        let fact = found.ok_or_else(|| Fault::validation("Invalid flavor_id."))?;
        if !fact.flavor.enabled {
            return Err(Fault::disabled("flavor", id));
        }
        let data = FlavorData::read(&fact.profile.flavor_data)?;
        Ok((fact, data))
    }
}

/// `POST flavors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorCreate {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Whether it may be used.
    pub enabled: bool,
    /// Its profile.
    pub flavor_profile_id: FlavorProfileId,
}

impl FlavorCreate {
    /// Reads the body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "flavor")?;
        let request = Self {
            name: required("name", reader.text("name")?)?,
            description: reader.text("description")?.into_value().unwrap_or_default(),
            enabled: reader.boolean("enabled")?.resolve(true, false),
            flavor_profile_id: required("flavor_profile_id", reader.uuid("flavor_profile_id")?)?,
        };
        reader.finish()?;
        Ok(request)
    }

    /// The flavor.
    #[must_use]
    pub fn make(self, id: FlavorId) -> Flavor {
        Flavor {
            id,
            name: self.name,
            description: self.description,
            enabled: self.enabled,
            flavor_profile_id: self.flavor_profile_id,
        }
    }
}

/// `PUT flavors/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorUpdate {
    name: Option<String>,
    description: Given<String>,
    enabled: Given<bool>,
}

impl FlavorUpdate {
    /// Reads the body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "flavor")?;
        let request = Self {
            name: not_null(reader.text("name")?, "name")?,
            description: reader.text("description")?,
            enabled: reader.boolean("enabled")?,
        };
        reader.finish()?;
        Ok(request)
    }

    /// Changes a flavor.
    pub fn apply(self, flavor: &mut Flavor) {
        if let Some(name) = self.name {
            flavor.name = name;
        }
        self.description
            .apply(&mut flavor.description, String::new());
        self.enabled.apply(&mut flavor.enabled, false);
    }
}

/// `POST flavorprofiles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorProfileCreate {
    name: String,
    provider_name: String,
    flavor_data: String,
}

impl FlavorProfileCreate {
    /// Reads the body; `enabled` are the providers that may be named.
    pub fn parse(body: &Value, enabled: &[Provider]) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "flavorprofile")?;
        let request = Self {
            name: required("name", reader.text("name")?)?,
            provider_name: required("provider_name", reader.text("provider_name")?)?,
            flavor_data: required("flavor_data", reader.string("flavor_data", DATA_MAX)?)?,
        };
        reader.finish()?;
        check_json("flavor_data", &request.flavor_data)?;
        check_enabled(&request.provider_name, enabled)?;
        FlavorData::read(&request.flavor_data)?;
        Ok(request)
    }

    /// The profile.
    #[must_use]
    pub fn make(self, id: FlavorProfileId) -> FlavorProfile {
        FlavorProfile {
            id,
            name: self.name,
            provider_name: self.provider_name,
            flavor_data: self.flavor_data,
        }
    }
}

/// `PUT flavorprofiles/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorProfileUpdate {
    name: Option<String>,
    provider_name: Option<String>,
    flavor_data: Option<String>,
}

impl FlavorProfileUpdate {
    /// Reads the body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "flavorprofile")?;
        let request = Self {
            name: not_null(reader.text("name")?, "name")?,
            provider_name: not_null(reader.text("provider_name")?, "provider_name")?,
            flavor_data: not_null(reader.string("flavor_data", DATA_MAX)?, "flavor_data")?,
        };
        reader.finish()?;
        Ok(request)
    }

    /// Changes a profile; `in_use` says whether a flavor is made of it.
    pub fn apply(
        self,
        profile: &mut FlavorProfile,
        in_use: bool,
        enabled: &[Provider],
    ) -> Result<(), Fault> {
        let changes_meaning = self.provider_name.is_some() || self.flavor_data.is_some();
        if changes_meaning && in_use {
            return Err(Fault::in_use(ResourceKind::FlavorProfile, profile.id));
        }
        if let Some(name) = self.name {
            profile.name = name;
        }
        if let Some(provider) = self.provider_name {
            profile.provider_name = provider;
        }
        if let Some(data) = self.flavor_data {
            check_json("flavor_data", &data)?;
            profile.flavor_data = data;
        }
        if changes_meaning {
            check_enabled(&profile.provider_name, enabled)?;
            FlavorData::read(&profile.flavor_data)?;
        }
        Ok(())
    }
}

/// A flavor as answered.
#[must_use]
pub fn render(flavor: &Flavor) -> Value {
    json!({
        "id": flavor.id,
        "name": flavor.name,
        "description": flavor.description,
        "enabled": flavor.enabled,
        "flavor_profile_id": flavor.flavor_profile_id,
    })
}

/// A flavor profile as answered.
#[must_use]
pub fn render_profile(profile: &FlavorProfile) -> Value {
    json!({
        "id": profile.id,
        "name": profile.name,
        "provider_name": profile.provider_name,
        "flavor_data": profile.flavor_data,
    })
}

/// What may be left out, but not be null.
pub(crate) fn not_null<T>(given: Given<T>, field: &'static str) -> Result<Option<T>, Fault> {
    match given {
        Given::Absent => Ok(None),
        Given::Null => Err(Fault::option(field, "null", "Value should not be null.")),
        Given::Value(value) => Ok(Some(value)),
    }
}
