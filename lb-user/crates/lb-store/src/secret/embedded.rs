//! The embedded secrets: what the Key Manager API shows of them, and their payloads, sealed.
//!
//! Invariants: a secret is found under its project only; one that has expired is not found at all; a
//! payload is written once; what a load balancer uses is not deleted.

use lb_model::{id::SecretId, time::Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PAYLOAD_BYTES_MAX, SECRETS_PER_PROJECT_MAX, SecretPayload, deletion::Deletion};
use crate::{
    db::{Row, query, query_scalar},
    error::{SecretError, StoreError},
    sql::{NewRow, Reader, to_json},
    store::{Store, now},
};

const SECRETS: &str = "secrets";

/// Who may read beside those of the project, or instead of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// Users named one by one.
    pub users: Vec<String>,
    /// Whether everyone of the project with the role for it may.
    pub project_access: bool,
    /// Last change.
    pub updated_at: Timestamp,
    /// First change.
    pub created_at: Timestamp,
}

/// A secret without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// Identity; the end of every reference to it.
    pub id: SecretId,
    /// Owner.
    pub project_id: String,
    /// What its maker told of it.
    pub about: SecretAbout,
    /// Media type of the payload; `None` while there is none.
    pub content_type: Option<String>,
    /// Set once.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Option<Timestamp>,
    /// `None`: the project's.
    pub acl: Option<Acl>,
}

/// What the maker of a secret tells of it. Only the expiry has consequences here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretAbout {
    /// For people; `""` when unset.
    pub name: String,
    /// `symmetric`, `public`, `private`, `certificate`, `passphrase` or `opaque`.
    pub secret_type: String,
    /// What the payload is a key for.
    pub algorithm: Option<String>,
    /// Mode of that algorithm.
    pub mode: Option<String>,
    /// Length of that key.
    pub bit_length: Option<i64>,
    /// From when on it is not there any more.
    pub expires_at: Option<Timestamp>,
    /// The user who made it.
    pub creator_id: Option<String>,
}

impl SecretRecord {
    /// Whether the access list lets this user read the payload.
    #[must_use]
    pub fn may_be_read_by(&self, user: Option<&str>) -> bool {
        may_read(self.acl.as_ref(), self.about.creator_id.as_deref(), user)
    }
}

/// Whether an access list lets a user of the project in.
pub(super) fn may_read(acl: Option<&Acl>, creator: Option<&str>, user: Option<&str>) -> bool {
    acl.is_none_or(|acl| {
        let named = |user: &str| acl.users.iter().any(|one| one == user);
        acl.project_access || user.is_some_and(|user| creator == Some(user) || named(user))
    })
}

impl Store {
    /// Stores a secret, with its payload or without one yet.
    ///
    /// # Errors
    /// [`SecretError::TooLarge`], [`SecretError::TooMany`], or the database's.
    pub async fn create_secret(
        &self,
        project_id: &str,
        about: &SecretAbout,
        payload: Option<(&[u8], &str)>,
    ) -> Result<SecretId, StoreError> {
        self.inner.seal.prove(&self.inner.database).await?;
        let id = SecretId(Uuid::new_v4());
        let (sealed, content_type) = match payload {
            Some((payload, content_type)) => (self.sealed(id, payload)?, content_type),
            None => (String::new(), ""),
        };
        let row = NewRow::new(SECRETS, id.0)
            .text("project_id", project_id)
            .text("name", &about.name)
            .text("content_type", content_type)
            .text("sealed", sealed)
            .int("created_at", now().0)
            .opt_int("updated_at", None::<i64>)
            .opt_int("expires_at", about.expires_at.map(|time| time.0))
            .opt_text("creator_id", about.creator_id.as_ref())
            .opt_text("algorithm", about.algorithm.as_ref())
            .opt_text("mode", about.mode.as_ref())
            .opt_int("bit_length", about.bit_length)
            .text("secret_type", &about.secret_type);
        let mut transaction = self.begin_write().await?;
        let count: i64 = query_scalar(COUNT)
            .bind(project_id)
            .fetch_one(&mut transaction)
            .await?;
        if count >= SECRETS_PER_PROJECT_MAX {
            return Err(SecretError::TooMany("secrets").into());
        }
        row.upsert(&mut transaction).await?;
        self.commit(transaction).await?;
        Ok(id)
    }

    /// Stores a secret of a name and payload, nothing else.
    ///
    /// # Errors
    /// As [`Store::create_secret`].
    pub async fn put_secret(
        &self,
        project_id: &str,
        name: &str,
        payload: &[u8],
        content_type: &str,
    ) -> Result<SecretId, StoreError> {
        let about = SecretAbout {
            name: name.to_owned(),
            secret_type: "opaque".to_owned(),
            ..SecretAbout::default()
        };
        self.create_secret(project_id, &about, Some((payload, content_type)))
            .await
    }

    /// Gives a secret without payload its payload.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::HasPayload`], [`SecretError::TooLarge`], or the
    /// database's.
    pub async fn fill_secret(
        &self,
        project_id: &str,
        id: SecretId,
        payload: &[u8],
        content_type: &str,
    ) -> Result<(), StoreError> {
        let sealed = self.sealed(id, payload)?;
        self.secret(project_id, id)
            .await?
            .ok_or(SecretError::NotFound(id))?;
        let done = query(FILL)
            .bind(id.to_string())
            .bind(sealed)
            .bind(content_type)
            .bind(now().0)
            .execute(&self.inner.database.write)
            .await?;
        if done.rows_affected() == 0 {
            return Err(SecretError::HasPayload(id).into());
        }
        Ok(())
    }

    /// A secret of a project without its payload; `None` also when it has expired.
    ///
    /// # Errors
    /// The database's.
    pub async fn secret(
        &self,
        project_id: &str,
        id: SecretId,
    ) -> Result<Option<SecretRecord>, StoreError> {
        let row = query(SELECT_ONE)
            .bind(id.to_string())
            .bind(project_id)
            .bind(now().0)
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.as_ref().map(record).transpose()
    }

    /// What a secret holds; who may read it was asked before.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it was encrypted with another key; the database's.
    pub async fn secret_payload(&self, id: SecretId) -> Result<Option<SecretPayload>, StoreError> {
        let id = id.to_string();
        let sealed: Option<String> = query_scalar(SELECT_SEALED)
            .bind(&id)
            .fetch_optional(&self.inner.database.read)
            .await?;
        let open = |sealed: String| self.inner.seal.open(&id, &sealed).map(SecretPayload);
        sealed.filter(|it| !it.is_empty()).map(open).transpose()
    }

    /// The secrets of a project, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn list_secrets(&self, project_id: &str) -> Result<Vec<SecretRecord>, StoreError> {
        let rows = query(SELECT_MANY)
            .bind(project_id)
            .bind(now().0)
            .fetch_all(&self.inner.database.read)
            .await?;
        rows.iter().map(record).collect()
    }

    /// Sets or clears who may read a secret.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_secret_acl(&self, id: SecretId, acl: Option<&Acl>) -> Result<(), StoreError> {
        query(SET_ACL)
            .bind(id.to_string())
            .bind(acl.map(to_json).transpose()?)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// Deletes a secret that nothing refers to.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::InUse`], or the database's.
    pub async fn delete_secret(&self, project_id: &str, id: SecretId) -> Result<(), StoreError> {
        let deletion = Deletion {
            lock: LOCK,
            consumers: COUNT_CONSUMERS,
            delete: DELETE,
        };
        self.delete_unreferenced(project_id, id, &deletion).await
    }

    fn sealed(&self, id: SecretId, payload: &[u8]) -> Result<String, StoreError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(SecretError::TooLarge(PAYLOAD_BYTES_MAX).into());
        }
        self.inner.seal.seal(&id.to_string(), payload)
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, project_id, name, content_type, created_at, updated_at, expires_at, \
             creator_id, algorithm, mode, bit_length, secret_type, acl FROM secrets WHERE ",
            $rest
        )
    };
}

const SELECT_ONE: &str =
    select!("id = $1 AND project_id = $2 AND (expires_at IS NULL OR expires_at > $3)");
const SELECT_MANY: &str =
    select!("project_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY created_at, id");
const SELECT_SEALED: &str = "SELECT sealed FROM secrets WHERE id = $1";
const COUNT: &str = "SELECT COUNT(*) FROM secrets WHERE project_id = $1";
const FILL: &str = "UPDATE secrets SET sealed = $2, content_type = $3, updated_at = $4 \
     WHERE id = $1 AND sealed = ''";
const SET_ACL: &str = "UPDATE secrets SET acl = $2 WHERE id = $1";
const LOCK: &str = "SELECT id FROM secrets WHERE id = $1 AND project_id = $2";
const COUNT_CONSUMERS: &str = "SELECT COUNT(*) FROM secret_consumers WHERE secret_id = $1 \
     OR secret_id IN (SELECT container_id FROM secret_container_items WHERE secret_id = $1)";
const DELETE: &str = "DELETE FROM secrets WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_ONE,
    SELECT_MANY,
    SELECT_SEALED,
    COUNT,
    FILL,
    SET_ACL,
    LOCK,
    COUNT_CONSUMERS,
    DELETE,
];

fn record(row: &Row) -> Result<SecretRecord, StoreError> {
    let read = Reader::new(SECRETS, row);
    Ok(SecretRecord {
        id: read.parse("id")?,
        project_id: read.text("project_id")?,
        about: SecretAbout {
            name: read.text("name")?,
            secret_type: read.text("secret_type")?,
            algorithm: read.opt_text("algorithm")?,
            mode: read.opt_text("mode")?,
            bit_length: read.opt_int("bit_length")?,
            expires_at: read.opt_time("expires_at")?,
            creator_id: read.opt_text("creator_id")?,
        },
        content_type: Some(read.text("content_type")?).filter(|it| !it.is_empty()),
        created_at: read.time("created_at")?,
        updated_at: read.opt_time("updated_at")?,
        acl: read.opt_json("acl")?,
    })
}
