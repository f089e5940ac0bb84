//! Embedded containers: several secrets under one reference, by name.

use std::collections::BTreeMap;

use lb_model::{id::SecretId, time::Timestamp};
use uuid::Uuid;

use super::{SECRETS_PER_PROJECT_MAX, deletion::Deletion, embedded::Acl};
use crate::{
    db::{Row, query, query_scalar},
    error::{SecretError, StoreError},
    sql::{NewRow, Reader, to_json},
    store::{Store, now},
};

const CONTAINERS: &str = "secret_containers";

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Identity; the end of every reference to it.
    pub id: SecretId,
    /// Owner.
    pub project_id: String,
    /// For people; `""` when unset.
    pub name: String,
    /// `generic`, `rsa` or `certificate`.
    pub kind: String,
    /// The user who made it.
    pub creator_id: Option<String>,
    /// Its secrets by the names they have in it.
    pub items: BTreeMap<String, SecretId>,
    /// `None`: the project's.
    pub acl: Option<Acl>,
    /// Set once.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Option<Timestamp>,
}

/// What a new container is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewContainer {
    /// For people.
    pub name: String,
    /// `generic`, `rsa` or `certificate`.
    pub kind: String,
    /// The user who makes it.
    pub creator_id: Option<String>,
    /// Secrets of the same project by name.
    pub items: BTreeMap<String, SecretId>,
}

impl ContainerRecord {
    /// Whether the access list lets this user see what it holds.
    #[must_use]
    pub fn may_be_read_by(&self, user: Option<&str>) -> bool {
        super::embedded::may_read(self.acl.as_ref(), self.creator_id.as_deref(), user)
    }
}

impl Store {
    /// Makes a container of secrets of its project.
    ///
    /// # Errors
    /// [`SecretError::NotFound`] names a secret that is not there; [`SecretError::TooMany`]; the
    /// database's.
    pub async fn create_container(
        &self,
        project_id: &str,
        new: &NewContainer,
    ) -> Result<SecretId, StoreError> {
        for secret in new.items.values() {
            self.secret(project_id, *secret)
                .await?
                .ok_or(SecretError::NotFound(*secret))?;
        }
        let id = SecretId(Uuid::new_v4());
        let row = NewRow::new(CONTAINERS, id.0)
            .text("project_id", project_id)
            .text("name", &new.name)
            .text("kind", &new.kind)
            .opt_text("creator_id", new.creator_id.as_ref())
            .int("created_at", now().0);
        let mut transaction = self.begin_write().await?;
        let count: i64 = query_scalar(COUNT)
            .bind(project_id)
            .fetch_one(&mut transaction)
            .await?;
        if count >= SECRETS_PER_PROJECT_MAX {
            return Err(SecretError::TooMany("containers").into());
        }
        row.upsert(&mut transaction).await?;
        for (name, secret) in &new.items {
            query(INSERT_ITEM)
                .bind(id.to_string())
                .bind(name)
                .bind(secret.to_string())
                .execute(&mut transaction)
                .await?;
        }
        self.commit(transaction).await?;
        Ok(id)
    }

    /// A container of a project.
    ///
    /// # Errors
    /// The database's.
    pub async fn container(
        &self,
        project_id: &str,
        id: SecretId,
    ) -> Result<Option<ContainerRecord>, StoreError> {
        let row = query(SELECT_ONE)
            .bind(id.to_string())
            .bind(project_id)
            .fetch_optional(&self.inner.database.read)
            .await?;
        let Some(mut found) = row.as_ref().map(record).transpose()? else {
            return Ok(None);
        };
        let items = query(SELECT_ITEMS)
            .bind(id.to_string())
            .fetch_all(&self.inner.database.read)
            .await?;
        for row in &items {
            let (_, name, secret) = item(row)?;
            found.items.insert(name, secret);
        }
        Ok(Some(found))
    }

    /// The containers of a project, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn list_containers(
        &self,
        project_id: &str,
    ) -> Result<Vec<ContainerRecord>, StoreError> {
        let rows = query(SELECT_MANY)
            .bind(project_id)
            .fetch_all(&self.inner.database.read)
            .await?;
        let mut found = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let items = query(SELECT_ALL_ITEMS)
            .bind(project_id)
            .fetch_all(&self.inner.database.read)
            .await?;
        let mut by_container: BTreeMap<SecretId, BTreeMap<String, SecretId>> = BTreeMap::new();
        for row in &items {
            let (container, name, secret) = item(row)?;
            by_container
                .entry(container)
                .or_default()
                .insert(name, secret);
        }
        for container in &mut found {
            container.items = by_container.remove(&container.id).unwrap_or_default();
        }
        Ok(found)
    }

    /// Puts a secret into a container, or takes it out (`put` false). Says whether that changed
    /// anything.
    ///
    /// # Errors
    /// The database's.
    pub async fn change_container(
        &self,
        id: SecretId,
        name: &str,
        secret: SecretId,
        put: bool,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let done = query(if put { INSERT_ITEM } else { DELETE_ITEM })
            .bind(id.to_string())
            .bind(name)
            .bind(secret.to_string())
            .execute(&mut transaction)
            .await?;
        query(TOUCH)
            .bind(id.to_string())
            .bind(now().0)
            .execute(&mut transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Sets or clears who may read a container.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_container_acl(
        &self,
        id: SecretId,
        acl: Option<&Acl>,
    ) -> Result<(), StoreError> {
        query(SET_ACL)
            .bind(id.to_string())
            .bind(acl.map(to_json).transpose()?)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// Deletes a container that nothing refers to; its secrets stay.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::InUse`], or the database's.
    pub async fn delete_container(&self, project_id: &str, id: SecretId) -> Result<(), StoreError> {
        let deletion = Deletion {
            lock: LOCK,
            consumers: COUNT_CONSUMERS,
            delete: DELETE,
        };
        self.delete_unreferenced(project_id, id, &deletion).await
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, project_id, name, kind, creator_id, acl, created_at, updated_at \
             FROM secret_containers WHERE ",
            $rest
        )
    };
}

const SELECT_ONE: &str = select!("id = $1 AND project_id = $2");
const SELECT_MANY: &str = select!("project_id = $1 ORDER BY created_at, id");
const SELECT_ITEMS: &str = "SELECT container_id, name, secret_id FROM secret_container_items \
     WHERE container_id = $1";
const SELECT_ALL_ITEMS: &str = "SELECT i.container_id, i.name, i.secret_id \
     FROM secret_container_items i JOIN secret_containers c ON c.id = i.container_id \
     WHERE c.project_id = $1";
const COUNT: &str = "SELECT COUNT(*) FROM secret_containers WHERE project_id = $1";
const INSERT_ITEM: &str = "INSERT INTO secret_container_items (container_id, name, secret_id) \
     VALUES ($1, $2, $3) ON CONFLICT (container_id, name) DO NOTHING";
const DELETE_ITEM: &str = "DELETE FROM secret_container_items \
     WHERE container_id = $1 AND name = $2 AND secret_id = $3";
const TOUCH: &str = "UPDATE secret_containers SET updated_at = $2 WHERE id = $1";
const SET_ACL: &str = "UPDATE secret_containers SET acl = $2 WHERE id = $1";
const LOCK: &str = "SELECT id FROM secret_containers WHERE id = $1 AND project_id = $2";
const COUNT_CONSUMERS: &str = "SELECT COUNT(*) FROM secret_consumers WHERE secret_id = $1";
const DELETE: &str = "DELETE FROM secret_containers WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_ONE,
    SELECT_MANY,
    SELECT_ITEMS,
    SELECT_ALL_ITEMS,
    COUNT,
    INSERT_ITEM,
    DELETE_ITEM,
    TOUCH,
    SET_ACL,
    LOCK,
    COUNT_CONSUMERS,
    DELETE,
];

fn record(row: &Row) -> Result<ContainerRecord, StoreError> {
    let read = Reader::new(CONTAINERS, row);
    Ok(ContainerRecord {
        id: read.parse("id")?,
        project_id: read.text("project_id")?,
        name: read.text("name")?,
        kind: read.text("kind")?,
        creator_id: read.opt_text("creator_id")?,
        items: BTreeMap::new(),
        acl: read.opt_json("acl")?,
        created_at: read.time("created_at")?,
        updated_at: read.opt_time("updated_at")?,
    })
}

fn item(row: &Row) -> Result<(SecretId, String, SecretId), StoreError> {
    let read = Reader::new("secret_container_items", row);
    Ok((
        read.parse("container_id")?,
        read.text("name")?,
        read.parse("secret_id")?,
    ))
}
