//! The embedded secret store: what listeners refer to for their certificates.
//!
//! What: [`Store::put_secret`] and its kin keep payloads encrypted ([`seal`]); [`bundle`] reads
//! PKCS#12 and PEM into certificate and key. Of a reference only the UUID at its end counts, so
//! references made for another key manager's address keep working after a move of the same ids.
//!
//! Left out on purpose: containers of single secrets, access lists, expiry.

mod bundle;
pub(crate) mod opened;
pub(crate) mod seal;

use std::{collections::BTreeMap, fmt, sync::Arc};

use lb_model::{ctx::CertificateFact, id::SecretId, spec::CertificateSpec, time::Timestamp};
use uuid::Uuid;

use crate::{
    db::{Row, query, query_scalar},
    error::{SecretError, StoreError},
    sql::{NewRow, Reader},
    store::{Store, now},
};

/// Largest payload, in bytes: a chain of certificates with its key takes a tenth.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

const SECRETS: &str = "secrets";

/// A secret without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// Identity; the end of every reference to it.
    pub id: SecretId,
    /// Owner.
    pub project_id: String,
    /// For people; `""` when unset.
    pub name: String,
    /// Media type, as given.
    pub content_type: String,
    /// Set once.
    pub created_at: Timestamp,
}

/// What a secret holds. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPayload(Vec<u8>);

impl SecretPayload {
    /// The content itself. Call it where it is used, not where it is carried.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPayload({} bytes, redacted)", self.0.len())
    }
}

/// The secret that a reference means: the UUID at its end.
///
/// # Errors
/// [`SecretError::BadReference`] when it does not end in one.
pub fn reference(text: &str) -> Result<SecretId, SecretError> {
    let end = text
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    end.parse()
        .map_err(|_invalid| SecretError::BadReference(text.to_owned()))
}

impl Store {
    /// Stores a secret.
    ///
    /// # Errors
    /// [`SecretError::TooLarge`], or the database's.
    pub async fn put_secret(
        &self,
        project_id: &str,
        name: &str,
        payload: &[u8],
        content_type: &str,
    ) -> Result<SecretId, StoreError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(SecretError::TooLarge(PAYLOAD_BYTES_MAX).into());
        }
        let id = SecretId(Uuid::new_v4());
        let sealed = self.inner.seal.seal(&id.to_string(), payload)?;
        let row = NewRow::new(SECRETS, id.0)
            .text("project_id", project_id)
            .text("name", name)
            .text("content_type", content_type)
            .text("sealed", sealed)
            .int("created_at", now().0);
        let mut transaction = self.begin_write().await?;
        row.upsert(&mut transaction).await?;
        self.commit(transaction).await?;
        Ok(id)
    }

    /// A secret without its payload.
    ///
    /// # Errors
    /// The database's.
    pub async fn secret(&self, id: SecretId) -> Result<Option<SecretRecord>, StoreError> {
        let row = query(SELECT_ONE)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.as_ref().map(record).transpose()
    }

    /// What a secret holds.
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
        sealed.map(open).transpose()
    }

    /// The secrets of a project, or of all, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn list_secrets(
        &self,
        project_id: Option<&str>,
    ) -> Result<Vec<SecretRecord>, StoreError> {
        let rows = query(SELECT_MANY)
            .bind(project_id)
            .fetch_all(&self.inner.database.read)
            .await?;
        rows.iter().map(record).collect()
    }

    /// Deletes a secret that nothing refers to.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::InUse`], or the database's.
    pub async fn delete_secret(&self, id: SecretId) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let consumers: i64 = query_scalar(COUNT_CONSUMERS)
            .bind(id.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        if consumers > 0 {
            return Err(SecretError::InUse(id).into());
        }
        let done = query(DELETE)
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Err(SecretError::NotFound(id).into());
        }
        self.commit(transaction).await?;
        self.inner.opened.forget(id);
        Ok(())
    }

    /// What lies behind certificate references, as the model judges them: one that cannot be served
    /// is told with the reason.
    ///
    /// # Errors
    /// The database's.
    pub async fn certificate_facts(
        &self,
        references: &[String],
    ) -> Result<BTreeMap<String, CertificateFact>, StoreError> {
        let mut facts = BTreeMap::new();
        for text in references {
            let fact = match self.bundle(text).await {
                Ok(bundle) => CertificateFact::Usable {
                    hosts: bundle.hosts.clone(),
                },
                Err(StoreError::Secret(error)) => CertificateFact::Unreadable {
                    reason: error.to_string(),
                },
                Err(error) => return Err(error),
            };
            facts.insert(text.clone(), fact);
        }
        Ok(facts)
    }

    /// Certificate and key under a reference, ready to be served.
    ///
    /// # Errors
    /// [`StoreError::Secret`] says why it cannot be served.
    pub async fn load_certificate(&self, text: &str) -> Result<CertificateSpec, StoreError> {
        let bundle = self.bundle(text).await?;
        Ok(CertificateSpec {
            id: text.to_owned(),
            chain_pem: bundle.chain_pem.clone(),
            key_pem: bundle.key_pem.clone(),
            hosts: bundle.hosts.clone(),
        })
    }

    async fn bundle(&self, text: &str) -> Result<Arc<bundle::Bundle>, StoreError> {
        let id = reference(text)?;
        let payload = self
            .secret_payload(id)
            .await?
            .ok_or(SecretError::NotFound(id))?;
        Ok(self.inner.opened.read(id, payload)?)
    }
}

const SELECT_ONE: &str =
    "SELECT id, project_id, name, content_type, created_at FROM secrets WHERE id = $1";
const SELECT_MANY: &str = "SELECT id, project_id, name, content_type, created_at FROM secrets \
     WHERE (CAST($1 AS TEXT) IS NULL OR project_id = $1) ORDER BY created_at, id";
const SELECT_SEALED: &str = "SELECT sealed FROM secrets WHERE id = $1";
const COUNT_CONSUMERS: &str = "SELECT COUNT(*) FROM secret_consumers WHERE secret_id = $1";
const DELETE: &str = "DELETE FROM secrets WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_ONE,
    SELECT_MANY,
    SELECT_SEALED,
    COUNT_CONSUMERS,
    DELETE,
];

fn record(row: &Row) -> Result<SecretRecord, StoreError> {
    let read = Reader::new(SECRETS, row);
    Ok(SecretRecord {
        id: read.parse("id")?,
        project_id: read.text("project_id")?,
        name: read.text("name")?,
        content_type: read.text("content_type")?,
        created_at: read.time("created_at")?,
    })
}
