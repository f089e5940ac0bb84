//! Named values of the installation as a whole, such as the epoch that orders desired state across
//! restored backups.

use crate::{
    db::{query, query_scalar},
    error::StoreError,
    store::Store,
};

impl Store {
    /// A setting, when it was ever set.
    ///
    /// # Errors
    /// The database's.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let value = query_scalar(SELECT)
            .bind(name)
            .fetch_optional(&self.inner.database.read)
            .await?;
        Ok(value)
    }

    /// A setting; sets it when it was never set. Of several that set it at once, one does.
    ///
    /// # Errors
    /// The database's.
    pub async fn setting_or(&self, name: &str, value: &str) -> Result<String, StoreError> {
        query(INSERT)
            .bind(name)
            .bind(value)
            .execute(&self.inner.database.write)
            .await?;
        // From a connection that has seen the writing one's commit.
        query_scalar(SELECT)
            .bind(name)
            .fetch_one(&self.inner.database.write)
            .await
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        query(UPSERT)
            .bind(name)
            .bind(value)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }
}

const SELECT: &str = "SELECT value FROM settings WHERE name = $1";
const INSERT: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
     ON CONFLICT (name) DO NOTHING";
const UPSERT: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT, INSERT, UPSERT];
