//! Availability zones, by name, and their profiles. As with flavors, the database keeps what is made
//! of what.

use lb_model::{
    availability_zone::{AvailabilityZone, AvailabilityZoneFact, AvailabilityZoneProfile},
    fault::{Fault, ResourceKind},
    id::AvailabilityZoneProfileId,
};

use crate::{db::query, error::StoreError, sql::Reader, store::Store};

const ZONES: &str = "availability_zones";
const PROFILES: &str = "availability_zone_profiles";

const INSERT: &str = "INSERT INTO availability_zones \
     (name, description, enabled, availability_zone_profile_id) VALUES ($1, $2, $3, $4)";
const SELECT: &str = "SELECT name, description, enabled, availability_zone_profile_id \
     FROM availability_zones WHERE name = $1";
const UPDATE: &str = "UPDATE availability_zones SET description = $2, enabled = $3 WHERE name = $1";
const DELETE: &str = "DELETE FROM availability_zones WHERE name = $1";
const INSERT_PROFILE: &str = "INSERT INTO availability_zone_profiles \
     (id, name, provider_name, availability_zone_data) VALUES ($1, $2, $3, $4)";
const SELECT_PROFILE: &str = "SELECT id, name, provider_name, availability_zone_data \
     FROM availability_zone_profiles WHERE id = $1";
const UPDATE_PROFILE: &str = "UPDATE availability_zone_profiles SET name = $2, \
     provider_name = $3, availability_zone_data = $4 WHERE id = $1";
const DELETE_PROFILE: &str = "DELETE FROM availability_zone_profiles WHERE id = $1";
const SELECT_USER: &str = "SELECT name FROM availability_zones \
     WHERE availability_zone_profile_id = $1 LIMIT 1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    INSERT,
    SELECT,
    UPDATE,
    DELETE,
    INSERT_PROFILE,
    SELECT_PROFILE,
    UPDATE_PROFILE,
    DELETE_PROFILE,
    SELECT_USER,
];

impl Store {
    /// Adds an availability zone.
    ///
    /// # Errors
    /// 409 when the name is taken, 400 when there is no such profile; the database's.
    pub async fn create_availability_zone(
        &self,
        zone: &AvailabilityZone,
    ) -> Result<(), StoreError> {
        let done = query(INSERT)
            .bind(zone.name.clone())
            .bind(zone.description.clone())
            .bind(zone.enabled)
            .bind(zone.availability_zone_profile_id.to_string())
            .execute(&self.inner.database.write)
            .await;
        done.map(drop).map_err(|error| {
            if error.is_unique_violation() {
                let name = &zone.name;
                Fault::Conflict(format!("A availability zone of {name} already exists.")).into()
            } else if error.is_foreign_key_violation() {
                let profile = zone.availability_zone_profile_id;
                Fault::invalid(format!("Availability Zone Profile {profile} not found.")).into()
            } else {
                error
            }
        })
    }

    /// The zone of this name.
    ///
    /// # Errors
    /// The database's.
    pub async fn availability_zone(
        &self,
        name: &str,
    ) -> Result<Option<AvailabilityZone>, StoreError> {
        let row = query(SELECT)
            .bind(name)
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.map(|row| zone(&Reader::new(ZONES, &row))).transpose()
    }

    /// A zone and its profile.
    ///
    /// # Errors
    /// The database's.
    pub async fn availability_zone_fact(
        &self,
        name: &str,
    ) -> Result<Option<AvailabilityZoneFact>, StoreError> {
        let Some(zone) = self.availability_zone(name).await? else {
            return Ok(None);
        };
        let profile = self
            .availability_zone_profile(zone.availability_zone_profile_id)
            .await?;
        Ok(profile.map(|profile| AvailabilityZoneFact { zone, profile }))
    }

    /// Changes a zone.
    ///
    /// # Errors
    /// 404; the database's.
    pub async fn change_availability_zone(
        &self,
        name: &str,
        change: impl FnOnce(&mut AvailabilityZone) + Send,
    ) -> Result<AvailabilityZone, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = query(SELECT)
            .bind(name)
            .locking()
            .fetch_optional(&mut transaction)
            .await?;
        let row = row.ok_or_else(|| Fault::not_found(ResourceKind::AvailabilityZone, name))?;
        let mut zone = zone(&Reader::new(ZONES, &row))?;
        change(&mut zone);
        query(UPDATE)
            .bind(name)
            .bind(zone.description.clone())
            .bind(zone.enabled)
            .execute(&mut transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(zone)
    }

    /// Removes a zone.
    ///
    /// # Errors
    /// 404, 409 when a load balancer is in it; the database's.
    pub async fn delete_availability_zone(&self, name: &str) -> Result<(), StoreError> {
        self.delete_unused(DELETE, ResourceKind::AvailabilityZone, name)
            .await
    }

    /// Adds a zone profile.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_availability_zone_profile(
        &self,
        profile: &AvailabilityZoneProfile,
    ) -> Result<(), StoreError> {
        query(INSERT_PROFILE)
            .bind(profile.id.to_string())
            .bind(profile.name.clone())
            .bind(profile.provider_name.clone())
            .bind(profile.availability_zone_data.clone())
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// The zone profile with this id.
    ///
    /// # Errors
    /// The database's.
    pub async fn availability_zone_profile(
        &self,
        id: AvailabilityZoneProfileId,
    ) -> Result<Option<AvailabilityZoneProfile>, StoreError> {
        let row = query(SELECT_PROFILE)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.map(|row| profile(&Reader::new(PROFILES, &row)))
            .transpose()
    }

    /// Changes a zone profile; `change` is told whether a zone is made of it.
    ///
    /// # Errors
    /// 404, the fault of `change`; the database's.
    pub async fn change_availability_zone_profile(
        &self,
        id: AvailabilityZoneProfileId,
        change: impl FnOnce(&mut AvailabilityZoneProfile, bool) -> Result<(), Fault> + Send,
    ) -> Result<AvailabilityZoneProfile, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = query(SELECT_PROFILE)
            .bind(id.to_string())
            .locking()
            .fetch_optional(&mut transaction)
            .await?;
        let row = row.ok_or_else(|| Fault::not_found(ResourceKind::AvailabilityZoneProfile, id))?;
        let mut profile = profile(&Reader::new(PROFILES, &row))?;
        let user = query(SELECT_USER)
            .bind(id.to_string())
            .fetch_optional(&mut transaction)
            .await?;
        change(&mut profile, user.is_some())?;
        query(UPDATE_PROFILE)
            .bind(id.to_string())
            .bind(profile.name.clone())
            .bind(profile.provider_name.clone())
            .bind(profile.availability_zone_data.clone())
            .execute(&mut transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(profile)
    }

    /// Removes a zone profile.
    ///
    /// # Errors
    /// 404, 409 when a zone is made of it; the database's.
    pub async fn delete_availability_zone_profile(
        &self,
        id: AvailabilityZoneProfileId,
    ) -> Result<(), StoreError> {
        let kind = ResourceKind::AvailabilityZoneProfile;
        self.delete_unused(DELETE_PROFILE, kind, &id.to_string())
            .await
    }
}

pub(crate) fn zone(read: &Reader<'_>) -> Result<AvailabilityZone, StoreError> {
    Ok(AvailabilityZone {
        name: read.text("name")?,
        description: read.text("description")?,
        enabled: read.bool("enabled")?,
        availability_zone_profile_id: read.parse("availability_zone_profile_id")?,
    })
}

pub(crate) fn profile(read: &Reader<'_>) -> Result<AvailabilityZoneProfile, StoreError> {
    Ok(AvailabilityZoneProfile {
        id: read.parse("id")?,
        name: read.text("name")?,
        provider_name: read.text("provider_name")?,
        availability_zone_data: read.text("availability_zone_data")?,
    })
}
