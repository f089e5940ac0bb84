//! Quotas: a project's own limits, and what they leave.
//!
//! What is used is counted, not kept: live rows, in the transaction that creates more of them, under a
//! lock on the project's row. So nothing leaks, whatever way an object went, and of two creates that
//! reach for the last one exactly one gets it. A class without a limit is not counted, and a project
//! without any is not locked.

use lb_model::quota::{Allowance, PerClass, QuotaClass};

use crate::{
    boxed::Boxed,
    db::{Transaction, query, query_scalar},
    error::StoreError,
    lock::Attempts,
    sql::Reader,
    store::Store,
};

const TABLE: &str = "quotas";

const INSERT: &str =
    "INSERT INTO quotas (project_id) VALUES ($1) ON CONFLICT (project_id) DO NOTHING";
/// Makes the row or takes the one there is; either way it is this transaction's.
const TAKE: &str = "INSERT INTO quotas (project_id) VALUES ($1) \
     ON CONFLICT (project_id) DO UPDATE SET project_id = excluded.project_id \
     RETURNING project_id, loadbalancer, listener, pool, member, healthmonitor, l7policy, l7rule";
const SELECT: &str = "SELECT project_id, loadbalancer, listener, pool, member, healthmonitor, \
     l7policy, l7rule FROM quotas WHERE project_id = $1";
const UPDATE: &str = "UPDATE quotas SET loadbalancer = $2, listener = $3, pool = $4, member = $5, \
     healthmonitor = $6, l7policy = $7, l7rule = $8 WHERE project_id = $1";
const DELETE: &str = "DELETE FROM quotas WHERE project_id = $1";
const COUNT_LOAD_BALANCERS: &str = "SELECT COUNT(*) FROM load_balancers WHERE project_id = $1";
const COUNT_LISTENERS: &str = "SELECT COUNT(*) FROM listeners WHERE project_id = $1";
const COUNT_POOLS: &str = "SELECT COUNT(*) FROM pools WHERE project_id = $1";
const COUNT_MEMBERS: &str = "SELECT COUNT(*) FROM members WHERE project_id = $1";
const COUNT_HEALTH_MONITORS: &str = "SELECT COUNT(*) FROM health_monitors WHERE project_id = $1";
const COUNT_L7POLICIES: &str = "SELECT COUNT(*) FROM l7policies WHERE project_id = $1";
const COUNT_L7RULES: &str = "SELECT COUNT(*) FROM l7rules WHERE project_id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    INSERT,
    TAKE,
    SELECT,
    UPDATE,
    DELETE,
    COUNT_LOAD_BALANCERS,
    COUNT_LISTENERS,
    COUNT_POOLS,
    COUNT_MEMBERS,
    COUNT_HEALTH_MONITORS,
    COUNT_L7POLICIES,
    COUNT_L7RULES,
];

/// A project's own limits; an item that is `None` takes the default.
pub type OwnLimits = PerClass<Option<i64>>;

impl Store {
    /// A project's own limits, when it has a row.
    ///
    /// # Errors
    /// The database's.
    pub async fn quota(&self, project_id: &str) -> Result<Option<OwnLimits>, StoreError> {
        let row = query(SELECT)
            .bind(project_id)
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.map(|row| own(&Reader::new(TABLE, &row))).transpose()
    }

    /// Changes a project's own limits; they may be below what it has.
    ///
    /// # Errors
    /// The database's.
    pub async fn change_quota(
        &self,
        project_id: &str,
        change: impl Fn(&mut OwnLimits) + Send + Sync,
    ) -> Result<OwnLimits, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_change_quota(project_id, &change).await {
                Err(error) if attempts.again(&error) => {}
                done => return done,
            }
        }
    }

    async fn try_change_quota(
        &self,
        project_id: &str,
        change: &(impl Fn(&mut OwnLimits) + Send + Sync),
    ) -> Result<OwnLimits, StoreError> {
        let mut transaction = self.begin_write().await?;
        let mut own = locked(&mut transaction, project_id).await?;
        change(&mut own);
        let update = QuotaClass::ALL
            .iter()
            .fold(query(UPDATE).bind(project_id), |update, class| {
                update.bind(*own.get(*class))
            });
        update.execute(&mut transaction).await?;
        self.commit(transaction).await?;
        Ok(own)
    }

    /// Takes a project back to the defaults. Says whether it had a row.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_quota(&self, project_id: &str) -> Result<bool, StoreError> {
        let done = query(DELETE)
            .bind(project_id)
            .execute(&self.inner.database.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

/// What a project may still create, for the rest of this transaction. Without `defaults` quotas are
/// not in force.
pub(crate) fn allowance<'f>(
    transaction: &'f mut Transaction,
    project_id: &'f str,
    defaults: Option<&'f PerClass<i64>>,
) -> Boxed<'f, Result<Allowance, StoreError>> {
    Box::pin(async move {
        let Some(defaults) = defaults else {
            return Ok(Allowance::unlimited());
        };
        let row = query(SELECT)
            .bind(project_id)
            .fetch_optional(&mut *transaction)
            .await?;
        let own_limits = match row {
            Some(row) => own(&Reader::new(TABLE, &row))?,
            None => {
                insert(transaction, project_id).await?;
                OwnLimits::default()
            }
        };
        if defaults.with(&own_limits).finite().next().is_none() {
            return Ok(Allowance::unlimited());
        }
        let limits = defaults.with(&locked(transaction, project_id).await?);
        let mut used = PerClass::default();
        for (class, _limit) in limits.finite() {
            let count: i64 = query_scalar(count(class))
                .bind(project_id)
                .fetch_one(&mut *transaction)
                .await?;
            *used.get_mut(class) = u64::try_from(count).unwrap_or(0);
        }
        Ok(Allowance::left(&limits, &used))
    })
}

async fn insert(transaction: &mut Transaction, project_id: &str) -> Result<(), StoreError> {
    query(INSERT).bind(project_id).execute(transaction).await?;
    Ok(())
}

/// The row as it stays until the transaction ends.
async fn locked(transaction: &mut Transaction, project_id: &str) -> Result<OwnLimits, StoreError> {
    let found = query(SELECT)
        .bind(project_id)
        .locking()
        .fetch_optional(&mut *transaction)
        .await?;
    let row = match found {
        Some(row) => row,
        None => query(TAKE).bind(project_id).fetch_one(transaction).await?,
    };
    own(&Reader::new(TABLE, &row))
}

const fn count(class: QuotaClass) -> &'static str {
    match class {
        QuotaClass::LoadBalancer => COUNT_LOAD_BALANCERS,
        QuotaClass::Listener => COUNT_LISTENERS,
        QuotaClass::Pool => COUNT_POOLS,
        QuotaClass::Member => COUNT_MEMBERS,
        QuotaClass::HealthMonitor => COUNT_HEALTH_MONITORS,
        QuotaClass::L7Policy => COUNT_L7POLICIES,
        QuotaClass::L7Rule => COUNT_L7RULES,
    }
}

pub(crate) fn own(read: &Reader<'_>) -> Result<OwnLimits, StoreError> {
    let mut own = OwnLimits::default();
    for class in QuotaClass::ALL {
        *own.get_mut(class) = read.opt_int(class.as_str())?;
    }
    Ok(own)
}
