//! Leases: work that one server at a time does for all, such as looking for overdue changes.
//!
//! A lease is a row with its holder, an epoch that rises with every change of hands, and an end by the
//! database's clock, so that servers' clocks need not agree. A holder that dies is followed by another
//! when its lease ends. What is done under a lease must bear being done twice all the same: a process
//! that stood still may wake up behind its lease's end. On SQLite there is one process, which always
//! has it.

use std::time::Duration;

use crate::{
    db::{self, query_scalar},
    error::StoreError,
    store::Store,
};

impl Store {
    /// Takes or renews a lease for `duration`. `Some` epoch: this process has it; `None`: another
    /// has.
    ///
    /// # Errors
    /// The database's.
    pub async fn lease(&self, name: &str, duration: Duration) -> Result<Option<i64>, StoreError> {
        let mut transaction = self.begin_write().await?;
        // No clock but the database's; with one process alone every lease of another has ended.
        let now = db::clock(&mut transaction).await?;
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let epoch = query_scalar(TAKE)
            .bind(name)
            .bind(self.inner.feed.origin())
            .bind(now.unwrap_or(0).saturating_add(micros))
            .bind(now.unwrap_or(i64::MAX))
            .fetch_optional(&mut transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(epoch)
    }

    /// Lets go of a lease, so that another need not wait for its end.
    ///
    /// # Errors
    /// The database's.
    pub async fn release(&self, name: &str) -> Result<(), StoreError> {
        db::query(RELEASE)
            .bind(name)
            .bind(self.inner.feed.origin())
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }
}

const TAKE: &str = "INSERT INTO leases (name, holder, epoch, expires_at) VALUES ($1, $2, 1, $3) \
     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
     epoch = CASE WHEN leases.holder = excluded.holder THEN leases.epoch ELSE leases.epoch + 1 END \
     WHERE leases.holder = excluded.holder OR leases.expires_at <= $4 RETURNING epoch";
const RELEASE: &str = "UPDATE leases SET expires_at = 0 WHERE name = $1 AND holder = $2";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[TAKE, RELEASE];
