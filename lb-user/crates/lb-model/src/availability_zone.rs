//! Availability zones and their profiles (contract 2.11). As flavors, but a zone is known by its
//! name, which is all the identity it has.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    fault::{Fault, ResourceKind},
    flavor::{DATA_MAX, not_null},
    id::AvailabilityZoneProfileId,
    provider::{AVAILABILITY_ZONE_KEYS, Provider, check_enabled, check_json, read_data},
    request::{
        Given,
        reader::{Reader, required},
    },
};

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZone {
    /// Unique, and never changes.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether new load balancers may use it.
    pub enabled: bool,
    /// What it stands for; never changes.
    pub availability_zone_profile_id: AvailabilityZoneProfileId,
}

/// An availability zone profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZoneProfile {
    /// Identity.
    pub id: AvailabilityZoneProfileId,
    /// Not unique.
    pub name: String,
    /// Whose data it is.
    pub provider_name: String,
    /// As it was given.
    pub availability_zone_data: String,
}

/// What a profile's data say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AvailabilityZoneData {
    /// There are no virtual machines to place.
    pub compute_zone: Option<String>,
    /// There are no volumes.
    pub volume_zone: Option<String>,
    /// The network of the amphorae's control connections.
    pub management_network: Option<String>,
    /// Networks a VIP may be in, instead of the configured ones.
    pub valid_vip_networks: Option<Vec<String>>,
}

impl AvailabilityZoneData {
    /// Reads and judges `availability_zone_data`.
    pub fn read(text: &str) -> Result<Self, Fault> {
        read_data("availability_zone_data", text, AVAILABILITY_ZONE_KEYS)
    }
}

/// A zone as a load balancer is made with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZoneFact {
    /// The zone.
    pub zone: AvailabilityZone,
    /// Its profile.
    pub profile: AvailabilityZoneProfile,
}

impl AvailabilityZoneFact {
    /// What was found under a request's `availability_zone` (contract 2.1, VIP rule 6).
    pub fn usable(found: Option<Self>, name: &str) -> Result<(Self, AvailabilityZoneData), Fault> {
        let fact = found.ok_or_else(|| Fault::validation("Invalid availability zone."))?;
        if !fact.zone.enabled {
            return Err(Fault::disabled("availability_zone", name));
        }
        let data = AvailabilityZoneData::read(&fact.profile.availability_zone_data)?;
        Ok((fact, data))
    }
}

/// `POST availabilityzones`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZoneCreate(AvailabilityZone);

impl AvailabilityZoneCreate {
    /// Reads the body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        const PROFILE: &str = "availability_zone_profile_id";
        let mut reader = Reader::envelope(body, "availability_zone")?;
        let zone = AvailabilityZone {
            name: required("name", reader.text("name")?)?,
            description: reader.text("description")?.into_value().unwrap_or_default(),
            enabled: reader.boolean("enabled")?.resolve(true, false),
            availability_zone_profile_id: required(PROFILE, reader.uuid(PROFILE)?)?,
        };
        reader.finish()?;
        Ok(Self(zone))
    }

    /// The zone.
    #[must_use]
    pub fn make(self) -> AvailabilityZone {
        self.0
    }
}

/// `PUT availabilityzones/{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZoneUpdate {
    description: Given<String>,
    enabled: Given<bool>,
}

impl AvailabilityZoneUpdate {
    /// Reads the body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "availability_zone")?;
        let request = Self {
            description: reader.text("description")?,
            enabled: reader.boolean("enabled")?,
        };
        reader.finish()?;
        Ok(request)
    }

    /// Changes a zone.
    pub fn apply(self, zone: &mut AvailabilityZone) {
        self.description.apply(&mut zone.description, String::new());
        self.enabled.apply(&mut zone.enabled, false);
    }
}

/// `POST availabilityzoneprofiles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZoneProfileCreate {
    name: String,
    provider_name: String,
    availability_zone_data: String,
}

impl AvailabilityZoneProfileCreate {
    /// Reads the body; `enabled` are the providers that may be named.
    pub fn parse(body: &Value, enabled: &[Provider]) -> Result<Self, Fault> {
        const DATA: &str = "availability_zone_data";
        let mut reader = Reader::envelope(body, "availability_zone_profile")?;
        let request = Self {
            name: required("name", reader.text("name")?)?,
            provider_name: required("provider_name", reader.text("provider_name")?)?,
            availability_zone_data: required(DATA, reader.string(DATA, DATA_MAX)?)?,
        };
        reader.finish()?;
        check_json(DATA, &request.availability_zone_data)?;
        check_enabled(&request.provider_name, enabled)?;
        AvailabilityZoneData::read(&request.availability_zone_data)?;
        Ok(request)
    }

    /// The profile.
    #[must_use]
    pub fn make(self, id: AvailabilityZoneProfileId) -> AvailabilityZoneProfile {
        AvailabilityZoneProfile {
            id,
            name: self.name,
            provider_name: self.provider_name,
            availability_zone_data: self.availability_zone_data,
        }
    }
}

/// `PUT availabilityzoneprofiles/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailabilityZoneProfileUpdate {
    name: Option<String>,
    provider_name: Option<String>,
    availability_zone_data: Option<String>,
}

impl AvailabilityZoneProfileUpdate {
    /// Reads the body.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        const DATA: &str = "availability_zone_data";
        let mut reader = Reader::envelope(body, "availability_zone_profile")?;
        let request = Self {
            name: not_null(reader.text("name")?, "name")?,
            provider_name: not_null(reader.text("provider_name")?, "provider_name")?,
            availability_zone_data: not_null(reader.string(DATA, DATA_MAX)?, DATA)?,
        };
        reader.finish()?;
        Ok(request)
    }

    /// Changes a profile; `in_use` says whether a zone is made of it.
    pub fn apply(
        self,
        profile: &mut AvailabilityZoneProfile,
        in_use: bool,
        enabled: &[Provider],
    ) -> Result<(), Fault> {
        let changes_meaning = self.provider_name.is_some() || self.availability_zone_data.is_some();
        if changes_meaning && in_use {
            let kind = ResourceKind::AvailabilityZoneProfile;
            return Err(Fault::in_use(kind, profile.id));
        }
        if let Some(name) = self.name {
            profile.name = name;
        }
        if let Some(provider) = self.provider_name {
            profile.provider_name = provider;
        }
        if let Some(data) = self.availability_zone_data {
            check_json("availability_zone_data", &data)?;
            profile.availability_zone_data = data;
        }
        if changes_meaning {
            check_enabled(&profile.provider_name, enabled)?;
            AvailabilityZoneData::read(&profile.availability_zone_data)?;
        }
        Ok(())
    }
}

/// A zone as answered.
#[must_use]
pub fn render(zone: &AvailabilityZone) -> Value {
    json!({
        "name": zone.name,
        "description": zone.description,
        "enabled": zone.enabled,
        "availability_zone_profile_id": zone.availability_zone_profile_id,
    })
}

/// A zone profile as answered.
#[must_use]
pub fn render_profile(profile: &AvailabilityZoneProfile) -> Value {
    json!({
        "id": profile.id,
        "name": profile.name,
        "provider_name": profile.provider_name,
        "availability_zone_data": profile.availability_zone_data,
    })
}
