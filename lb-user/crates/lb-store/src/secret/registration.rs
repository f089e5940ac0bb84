//! Consumers that clients register with a secret or a container. They are told, and bind nothing:
//! what a load balancer uses is known from the load balancer itself.

use lb_model::id::SecretId;

use crate::{
    db::query,
    error::{SecretError, StoreError},
    sql::Reader,
    store::{Store, now},
};

/// Most registrations of one secret or container.
const REGISTRATIONS_MAX: usize = 100;
const REGISTRATIONS: &str = "secret_registrations";

/// Who says it uses a secret. Of a container's consumer the name is `service` and the URL
/// `resource_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Which service.
    pub service: String,
    /// What of it.
    pub resource_type: String,
    /// Which one.
    pub resource_id: String,
}

impl Store {
    /// Who registered with a secret or container, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn registrations(&self, owner: SecretId) -> Result<Vec<Registration>, StoreError> {
        let rows = query(SELECT)
            .bind(owner.to_string())
            .fetch_all(&self.inner.database.read)
            .await?;
        let read = rows.iter().map(|row| {
            let read = Reader::new(REGISTRATIONS, row);
            Ok(Registration {
                service: read.text("service")?,
                resource_type: read.text("resource_type")?,
                resource_id: read.text("resource_id")?,
            })
        });
        read.collect()
    }

    /// Registers; once more changes nothing.
    ///
    /// # Errors
    /// [`SecretError::TooMany`], or the database's.
    pub async fn register(&self, owner: SecretId, one: &Registration) -> Result<(), StoreError> {
        let known = self.registrations(owner).await?;
        if known.contains(one) {
            return Ok(());
        }
        if known.len() >= REGISTRATIONS_MAX {
            return Err(SecretError::TooMany("consumers").into());
        }
        query(INSERT)
            .bind(owner.to_string())
            .bind(&one.service)
            .bind(&one.resource_type)
            .bind(&one.resource_id)
            .bind(now().0)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// Takes a registration back; says whether there was one.
    ///
    /// # Errors
    /// The database's.
    pub async fn unregister(
        &self,
        owner: SecretId,
        one: &Registration,
    ) -> Result<bool, StoreError> {
        let done = query(DELETE)
            .bind(owner.to_string())
            .bind(&one.service)
            .bind(&one.resource_type)
            .bind(&one.resource_id)
            .execute(&self.inner.database.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

const SELECT: &str = "SELECT service, resource_type, resource_id FROM secret_registrations \
     WHERE owner_id = $1 ORDER BY created_at, service, resource_type, resource_id";
const INSERT: &str = "INSERT INTO secret_registrations \
     (owner_id, service, resource_type, resource_id, created_at) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (owner_id, service, resource_type, resource_id) DO NOTHING";
const DELETE: &str = "DELETE FROM secret_registrations \
     WHERE owner_id = $1 AND service = $2 AND resource_type = $3 AND resource_id = $4";
pub(super) const DELETE_ALL: &str = "DELETE FROM secret_registrations WHERE owner_id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT, INSERT, DELETE, DELETE_ALL];
