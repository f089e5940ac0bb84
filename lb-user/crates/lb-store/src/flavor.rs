//! Flavors and flavor profiles.
//!
//! What is made of what is the database's to keep: a profile with a flavor, and a flavor with a load
//! balancer, cannot be removed, whoever tries at the same time.

use lb_model::{
    fault::{Fault, ResourceKind},
    flavor::{Flavor, FlavorFact, FlavorProfile},
    id::{FlavorId, FlavorProfileId},
};

use crate::{db::query, error::StoreError, lock::Attempts, sql::Reader, store::Store};

const FLAVORS: &str = "flavors";
const PROFILES: &str = "flavor_profiles";

const INSERT: &str = "INSERT INTO flavors (id, name, description, enabled, flavor_profile_id) \
     VALUES ($1, $2, $3, $4, $5)";
const SELECT: &str =
    "SELECT id, name, description, enabled, flavor_profile_id FROM flavors WHERE id = $1";
const UPDATE: &str = "UPDATE flavors SET name = $2, description = $3, enabled = $4 WHERE id = $1";
const DELETE: &str = "DELETE FROM flavors WHERE id = $1";
const INSERT_PROFILE: &str = "INSERT INTO flavor_profiles (id, name, provider_name, flavor_data) \
     VALUES ($1, $2, $3, $4)";
const SELECT_PROFILE: &str =
    "SELECT id, name, provider_name, flavor_data FROM flavor_profiles WHERE id = $1";
const UPDATE_PROFILE: &str = "UPDATE flavor_profiles SET name = $2, provider_name = $3, \
     flavor_data = $4 WHERE id = $1";
const DELETE_PROFILE: &str = "DELETE FROM flavor_profiles WHERE id = $1";
const SELECT_USER: &str = "SELECT id FROM flavors WHERE flavor_profile_id = $1 LIMIT 1";

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
    /// Adds a flavor.
    ///
    /// # Errors
    /// 409 when the name is taken, 400 when there is no such profile; the database's.
    pub async fn create_flavor(&self, flavor: &Flavor) -> Result<(), StoreError> {
        let done = query(INSERT)
            .bind(flavor.id.to_string())
            .bind(flavor.name.clone())
            .bind(flavor.description.clone())
            .bind(flavor.enabled)
            .bind(flavor.flavor_profile_id.to_string())
            .execute(&self.inner.database.write)
            .await;
        done.map(drop).map_err(|error| {
            if error.is_unique_violation() {
                name_taken(&flavor.name)
            } else if error.is_foreign_key_violation() {
                let profile = flavor.flavor_profile_id;
                Fault::invalid(format!("Flavor Profile {profile} not found.")).into()
            } else {
                error
            }
        })
    }

    /// The flavor with this id.
    ///
    /// # Errors
    /// The database's.
    pub async fn flavor(&self, id: FlavorId) -> Result<Option<Flavor>, StoreError> {
        let row = query(SELECT)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.map(|row| flavor(&Reader::new(FLAVORS, &row)))
            .transpose()
    }

    /// A flavor and its profile.
    ///
    /// # Errors
    /// The database's.
    pub async fn flavor_fact(&self, id: FlavorId) -> Result<Option<FlavorFact>, StoreError> {
        let Some(flavor) = self.flavor(id).await? else {
            return Ok(None);
        };
        let profile = self.flavor_profile(flavor.flavor_profile_id).await?;
        Ok(profile.map(|profile| FlavorFact { flavor, profile }))
    }

    /// Changes a flavor.
    ///
    /// # Errors
    /// 404, 409 when the new name is taken; the database's.
    pub async fn change_flavor(
        &self,
        id: FlavorId,
        change: impl FnOnce(&mut Flavor) + Send,
    ) -> Result<Flavor, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = query(SELECT)
            .bind(id.to_string())
            .locking()
            .fetch_optional(&mut transaction)
            .await?;
        let row = row.ok_or_else(|| Fault::not_found(ResourceKind::Flavor, id))?;
        let mut flavor = flavor(&Reader::new(FLAVORS, &row))?;
        change(&mut flavor);
        let done = query(UPDATE)
            .bind(id.to_string())
            .bind(flavor.name.clone())
            .bind(flavor.description.clone())
            .bind(flavor.enabled)
            .execute(&mut transaction)
            .await;
        done.map_err(|error| {
            if error.is_unique_violation() {
                name_taken(&flavor.name)
            } else {
                error
            }
        })?;
        self.commit(transaction).await?;
        Ok(flavor)
    }

    /// Removes a flavor.
    ///
    /// # Errors
    /// 404, 409 when a load balancer has it; the database's.
    pub async fn delete_flavor(&self, id: FlavorId) -> Result<(), StoreError> {
        self.delete_unused(DELETE, ResourceKind::Flavor, &id.to_string())
            .await
    }

    /// Adds a flavor profile.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_flavor_profile(&self, profile: &FlavorProfile) -> Result<(), StoreError> {
        query(INSERT_PROFILE)
            .bind(profile.id.to_string())
            .bind(profile.name.clone())
            .bind(profile.provider_name.clone())
            .bind(profile.flavor_data.clone())
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// The flavor profile with this id.
    ///
    /// # Errors
    /// The database's.
    pub async fn flavor_profile(
        &self,
        id: FlavorProfileId,
    ) -> Result<Option<FlavorProfile>, StoreError> {
        let row = query(SELECT_PROFILE)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.map(|row| profile(&Reader::new(PROFILES, &row)))
            .transpose()
    }

    /// Changes a flavor profile; `change` is told whether a flavor is made of it.
    ///
    /// # Errors
    /// 404, the fault of `change`; the database's.
    pub async fn change_flavor_profile(
        &self,
        id: FlavorProfileId,
        change: impl FnOnce(&mut FlavorProfile, bool) -> Result<(), Fault> + Send,
    ) -> Result<FlavorProfile, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row = query(SELECT_PROFILE)
            .bind(id.to_string())
            .locking()
            .fetch_optional(&mut transaction)
            .await?;
        let row = row.ok_or_else(|| Fault::not_found(ResourceKind::FlavorProfile, id))?;
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
            .bind(profile.flavor_data.clone())
            .execute(&mut transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(profile)
    }

    /// Removes a flavor profile.
    ///
    /// # Errors
    /// 404, 409 when a flavor is made of it; the database's.
    pub async fn delete_flavor_profile(&self, id: FlavorProfileId) -> Result<(), StoreError> {
        let kind = ResourceKind::FlavorProfile;
        self.delete_unused(DELETE_PROFILE, kind, &id.to_string())
            .await
    }

    /// Removes a row that others may refer to.
    pub(crate) async fn delete_unused(
        &self,
        sql: &'static str,
        kind: ResourceKind,
        id: &str,
    ) -> Result<(), StoreError> {
        let mut attempts = Attempts::default();
        loop {
            let done = query(sql)
                .bind(id)
                .execute(&self.inner.database.write)
                .await;
            return match done {
                Err(error) if attempts.again(&error) => continue,
                Err(error) if error.is_foreign_key_violation() => {
                    Err(Fault::in_use(kind, id).into())
                }
                Ok(done) if done.rows_affected() == 0 => Err(Fault::not_found(kind, id).into()),
                done => done.map(drop),
            };
        }
    }
}

fn name_taken(name: &str) -> StoreError {
    Fault::Conflict(format!("A flavor of {name} already exists.")).into()
}

pub(crate) fn flavor(read: &Reader<'_>) -> Result<Flavor, StoreError> {
    Ok(Flavor {
        id: read.parse("id")?,
        name: read.text("name")?,
        description: read.text("description")?,
        enabled: read.bool("enabled")?,
        flavor_profile_id: read.parse("flavor_profile_id")?,
    })
}

pub(crate) fn profile(read: &Reader<'_>) -> Result<FlavorProfile, StoreError> {
    Ok(FlavorProfile {
        id: read.parse("id")?,
        name: read.text("name")?,
        provider_name: read.text("provider_name")?,
        flavor_data: read.text("flavor_data")?,
    })
}
