//! Which copies stand for secrets that should be looked for again.
//!
//! A copy is not read anew for its content: what is under a reference does not change, and who puts
//! something else under one says so by a request. It is looked for because its owner may have taken it
//! back, which must be seen.

use lb_model::{
    id::{LoadBalancerId, SecretId},
    time::Timestamp,
};

use crate::{
    db::query,
    error::StoreError,
    sql::Reader,
    store::{Store, now},
};

/// A secret of which copies serve a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSecret {
    /// For whom.
    pub owner: LoadBalancerId,
    /// The secret, or the container.
    pub id: SecretId,
    /// Whose load balancer it is.
    pub project_id: String,
    /// It was found gone.
    pub lost: bool,
}

impl Store {
    /// Secrets that load balancers name and that were last seen before `before`, oldest first, at most
    /// `limit`.
    ///
    /// # Errors
    /// The database's.
    pub async fn secrets_to_look_for(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<KeptSecret>, StoreError> {
        let rows = query(SELECT_OLD)
            .bind(before.0)
            .bind(i64::from(limit))
            .fetch_all(&self.inner.database.read)
            .await?;
        let kept = rows.iter().map(|row| {
            let read = Reader::new("secret_copies", row);
            Ok(KeptSecret {
                owner: read.parse("load_balancer_id")?,
                id: read.parse("secret_id")?,
                project_id: read.text("project_id")?,
                lost: read.int::<i64>("lost")? > 0,
            })
        });
        kept.collect()
    }

    /// Says that a secret was looked for; `found`: it is there, so its copies serve, also when they
    /// were lost.
    ///
    /// # Errors
    /// The database's.
    pub async fn secret_looked_for(
        &self,
        owner: LoadBalancerId,
        id: SecretId,
        found: bool,
    ) -> Result<(), StoreError> {
        query(if found { FOUND } else { LOOKED_FOR })
            .bind(owner.to_string())
            .bind(id.to_string())
            .bind(now().0)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// The projects whose load balancers are served from copies.
    ///
    /// # Errors
    /// The database's.
    pub async fn projects_with_copies(&self) -> Result<Vec<String>, StoreError> {
        let rows = query(SELECT_PROJECTS)
            .fetch_all(&self.inner.database.read)
            .await?;
        let projects = rows.iter();
        let projects = projects.map(|row| Reader::new("load_balancers", row).text("project_id"));
        projects.collect()
    }
}

const SELECT_OLD: &str = "SELECT c.load_balancer_id, c.secret_id, b.project_id, \
     MAX(CASE WHEN c.lost THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END) AS lost \
     FROM secret_copies c \
     JOIN load_balancers b ON b.id = c.load_balancer_id \
     JOIN secret_consumers u \
     ON u.load_balancer_id = c.load_balancer_id AND u.secret_id = c.secret_id \
     GROUP BY c.load_balancer_id, c.secret_id, b.project_id \
     HAVING MIN(c.fetched_at) < $1 ORDER BY MIN(c.fetched_at), c.secret_id LIMIT $2";
const FOUND: &str = "UPDATE secret_copies SET fetched_at = $3, lost = FALSE \
     WHERE load_balancer_id = $1 AND secret_id = $2";
const LOOKED_FOR: &str = "UPDATE secret_copies SET fetched_at = $3 \
     WHERE load_balancer_id = $1 AND secret_id = $2";
const SELECT_PROJECTS: &str = "SELECT DISTINCT b.project_id FROM secret_copies c \
     JOIN load_balancers b ON b.id = c.load_balancer_id ORDER BY b.project_id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT_OLD, FOUND, LOOKED_FOR, SELECT_PROJECTS];
