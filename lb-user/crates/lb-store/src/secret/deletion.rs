//! Deleting a secret or a container that nothing refers to: the row is locked, its consumers are
//! counted, and what is registered with it goes along, all in one transaction.

use lb_model::id::SecretId;

use super::registration;
use crate::{
    db::{query, query_scalar},
    error::{SecretError, StoreError},
    store::Store,
};

/// The statements that differ between the two.
pub(super) struct Deletion {
    /// Locks the row of an id in a project.
    pub(super) lock: &'static str,
    /// Counts who refers to the id.
    pub(super) consumers: &'static str,
    /// Deletes the row of an id.
    pub(super) delete: &'static str,
}

impl Store {
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::InUse`], or the database's.
    pub(super) async fn delete_unreferenced(
        &self,
        project_id: &str,
        id: SecretId,
        deletion: &Deletion,
    ) -> Result<(), StoreError> {
        let text = id.to_string();
        let mut transaction = self.begin_write().await?;
        let known = query(deletion.lock)
            .bind(&text)
            .bind(project_id)
            .locking()
            .fetch_optional(&mut transaction)
            .await?;
        if known.is_none() {
            return Err(SecretError::NotFound(id).into());
        }
        let consumers: i64 = query_scalar(deletion.consumers)
            .bind(&text)
            .fetch_one(&mut transaction)
            .await?;
        if consumers > 0 {
            return Err(SecretError::InUse(id).into());
        }
        for statement in [deletion.delete, registration::DELETE_ALL] {
            query(statement)
                .bind(&text)
                .execute(&mut transaction)
                .await?;
        }
        self.commit(transaction).await
    }
}
