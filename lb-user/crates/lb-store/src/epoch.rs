//! Desired state is ordered by (epoch, generation). Both are in one number: the generation of a load
//! balancer has its epoch in the upper bits, so that whoever compares two of them, an agent of any
//! version included, orders them rightly.
//!
//! An epoch begins when a database is restored from a backup: what hosts were sent after the backup
//! was made was another history's, and must not win over the restored one. It is the time of the
//! restore, and above every epoch that is known of, so that a backup may be restored any number of
//! times.
//!
//! A database that was put back by other means has no new epoch. Where a host turns out to be ahead
//! of it, that load balancer is lifted above the host ([`Store::outlive`]).

use lb_model::id::LoadBalancerId;

use crate::{
    db::{Transaction, query, query_scalar},
    error::StoreError,
    store::{Store, now},
};

/// Setting that holds the epoch; none: the first.
const EPOCH: &str = "epoch";
/// Bits of a generation below the epoch: two thousand million changes of one load balancer.
const GENERATION_BITS: u32 = 31;
/// 2020-01-01, in seconds since the Unix epoch. Until 2156 the seconds since then fit.
const BEGINNING: i64 = 1_577_836_800;
/// The last epoch there is.
const LAST: i64 = (1 << 32) - 1;
const _: () = assert!(LAST << GENERATION_BITS > 0, "it fits a BIGINT");
/// Events of one project in a second that an epoch leaves room for: numbers go on above any that was
/// given in another history.
const EVENT_BITS: u32 = 12;

/// The epoch of a restore at this moment, above those that are known of.
pub(crate) fn next(known: &[i64]) -> i64 {
    let above = known
        .iter()
        .max()
        .map_or(1, |epoch| epoch.saturating_add(1));
    let seconds = now().0.div_euclid(1_000_000).saturating_sub(BEGINNING);
    seconds.max(above).clamp(1, LAST)
}

/// Begins an epoch in a database that was just filled.
pub(crate) async fn begin(transaction: &mut Transaction, epoch: i64) -> Result<(), StoreError> {
    query(SET)
        .bind(EPOCH)
        .bind(epoch.to_string())
        .execute(&mut *transaction)
        .await?;
    query(LIFT)
        .bind(1_i64 << GENERATION_BITS)
        .bind(epoch << GENERATION_BITS)
        .execute(&mut *transaction)
        .await?;
    query(LIFT_EVENTS)
        .bind(epoch << EVENT_BITS)
        .execute(&mut *transaction)
        .await?;
    // What is pending has its time from now on.
    query(POSTPONE)
        .bind(now().0)
        .execute(&mut *transaction)
        .await?;
    query(END_LEASES).execute(transaction).await?;
    Ok(())
}

/// The epoch of a database.
pub(crate) async fn current(connection: &mut crate::db::Connection) -> Result<i64, StoreError> {
    let value: Option<String> = query_scalar(SELECT)
        .bind(EPOCH)
        .fetch_optional(connection)
        .await?;
    Ok(value.and_then(|text| text.parse().ok()).unwrap_or(0))
}

impl Store {
    /// Lifts a load balancer above a generation that a host has and the database never gave out. Says
    /// whether it was behind.
    ///
    /// # Errors
    /// The database's.
    pub async fn outlive(&self, id: LoadBalancerId, generation: u64) -> Result<bool, StoreError> {
        let Some(above) = generation
            .checked_add(1)
            .and_then(|it| i64::try_from(it).ok())
        else {
            return Ok(false);
        };
        let mut transaction = self.begin_write().await?;
        let done = query(OUTLIVE)
            .bind(above)
            .bind(id.to_string())
            .execute(&mut transaction)
            .await?;
        self.commit_change(transaction, id).await?;
        Ok(done.rows_affected() > 0)
    }
}

const SELECT: &str = "SELECT value FROM settings WHERE name = $1";
const SET: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const LIFT: &str = "UPDATE load_balancers SET generation = generation % $1 + $2";
const LIFT_EVENTS: &str = "UPDATE event_sequences SET last = $1 WHERE last < $1";
const POSTPONE: &str = "UPDATE load_balancers SET updated_at = $1 \
     WHERE provisioning_status LIKE 'PENDING_%'";
const END_LEASES: &str = "UPDATE leases SET expires_at = 0";
const OUTLIVE: &str = "UPDATE load_balancers SET generation = $1 WHERE id = $2 AND generation < $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT,
    SET,
    LIFT,
    LIFT_EVENTS,
    POSTPONE,
    END_LEASES,
    OUTLIVE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_restore_is_above_all_that_came_before() {
        let first = next(&[0]);
        assert!(first > 0);
        assert!(next(&[0, first]) > first);
        assert_eq!(next(&[LAST - 1]), LAST);
    }
}
