//! Orphans: load balancers that a host carries and the database does not know.
//!
//! They come from a database that was restored from a backup older than they are. A host keeps them,
//! for they may serve somebody; they are listed until an operator confirms that they may go. Meanwhile
//! nobody else is given their addresses.
//!
//! Invariant: a row is no more than what a host said last; nothing is taken down that no operator
//! has confirmed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use lb_model::{
    id::{LoadBalancerId, NetworkId, SubnetId},
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    DatabaseSettings,
    db::{self, Connection, Database, Pool, Transaction, query},
    error::StoreError,
    sql::Reader,
    store::{Store, now},
};

/// As an orphan's addresses are marked in the table of ports.
const PURPOSE: &str = "orphan";

/// What servers are told of that no load balancer changed by: somebody who is none of them.
const HINT: &str = "tool -";

/// A load balancer that a host carries and the database does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Which.
    pub id: LoadBalancerId,
    /// Who carries it.
    pub host: String,
    /// As the host knows it.
    pub generation: u64,
    /// Whose it was, once the host has told.
    pub project_id: Option<String>,
    /// Its addresses that are kept from others, once the host has told. One that is missing was
    /// somebody else's already.
    pub addresses: Vec<IpAddr>,
    /// When it was noticed.
    pub found_at: Timestamp,
    /// When an operator confirmed that it may go.
    pub confirmed_at: Option<Timestamp>,
}

/// What a host tells of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanFacts {
    /// Which.
    pub id: LoadBalancerId,
    /// Whose it was.
    pub project_id: String,
    /// All its addresses.
    pub addresses: Vec<(NetworkId, SubnetId, IpAddr)>,
}

impl Store {
    /// Every orphan.
    ///
    /// # Errors
    /// The database's.
    pub async fn orphans(&self) -> Result<Vec<Orphan>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        load(&mut connection).await
    }

    /// Notes what orphans a host has: these and no others.
    ///
    /// # Errors
    /// The database's.
    pub async fn note_orphans(
        &self,
        host: &str,
        orphans: &BTreeMap<LoadBalancerId, u64>,
    ) -> Result<(), StoreError> {
        let before: BTreeSet<LoadBalancerId> = self
            .orphans()
            .await?
            .into_iter()
            .filter_map(|orphan| (orphan.host == host).then_some(orphan.id))
            .collect();
        if orphans.is_empty() && before.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin_write().await?;
        for (id, generation) in orphans {
            query(UPSERT)
                .bind(id.to_string())
                .bind(host)
                .bind(i64::try_from(*generation).unwrap_or(i64::MAX))
                .bind(now().0)
                .execute(&mut transaction)
                .await?;
        }
        for id in before.iter().filter(|id| !orphans.contains_key(id)) {
            forget(&mut transaction, host, *id).await?;
        }
        self.commit(transaction).await
    }

    /// Nothing is left of these on a host.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_orphans(
        &self,
        host: &str,
        ids: &[LoadBalancerId],
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        for id in ids {
            forget(&mut transaction, host, *id).await?;
        }
        self.commit(transaction).await
    }

    /// Notes whose an orphan was, and keeps its addresses from others.
    ///
    /// # Errors
    /// The database's.
    pub async fn describe_orphan(&self, facts: &OrphanFacts) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        let done = query(DESCRIBE)
            .bind(facts.project_id.as_str())
            .bind(facts.id.to_string())
            .execute(&mut transaction)
            .await?;
        if done.rows_affected() == 0 {
            return transaction.rollback().await;
        }
        for (network, subnet, address) in &facts.addresses {
            let id = Uuid::new_v4().to_string();
            let kept = query(KEEP)
                .bind(id.as_str())
                .bind(facts.project_id.as_str())
                .bind(PURPOSE)
                .bind(network.to_string())
                .bind(subnet.to_string())
                .bind(address.to_string())
                .bind(now().0)
                .execute(&mut transaction)
                .await?;
            if kept.rows_affected() > 0 {
                query(KEEP_FOR)
                    .bind(id)
                    .bind(facts.id.to_string())
                    .execute(&mut transaction)
                    .await?;
            }
        }
        self.commit(transaction).await
    }

    /// The orphans of a host that may go.
    ///
    /// # Errors
    /// The database's.
    pub async fn confirmed_orphans(&self, host: &str) -> Result<Vec<LoadBalancerId>, StoreError> {
        let rows = query(SELECT_CONFIRMED)
            .bind(host)
            .fetch_all(&self.inner.database.read)
            .await?;
        let ids = rows
            .iter()
            .map(|row| Reader::new("orphans", row).parse("load_balancer_id"));
        ids.collect()
    }

    /// An operator confirms that an orphan may go; says whether there is one.
    ///
    /// # Errors
    /// The database's.
    pub async fn confirm_orphan(&self, id: LoadBalancerId) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let there = confirm(&mut transaction, id).await?;
        self.commit_and_wake(transaction).await?;
        Ok(there)
    }
}

/// Orphans as a tool sees them, beside the servers that work on the database.
#[derive(Debug)]
pub struct OrphanRegistry(Pool);

impl OrphanRegistry {
    /// Opens the database as it is.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(settings: &DatabaseSettings, state_dir: &Path) -> Result<Self, StoreError> {
        Ok(Self(Database::attach(settings, state_dir, false).await?))
    }

    /// Every orphan.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self) -> Result<Vec<Orphan>, StoreError> {
        let mut connection = self.0.acquire().await?;
        load(&mut connection).await
    }

    /// [`Store::confirm_orphan`], which servers hear of.
    ///
    /// # Errors
    /// The database's.
    pub async fn confirm(&self, id: LoadBalancerId) -> Result<bool, StoreError> {
        let mut transaction = self.0.begin().await?;
        let there = confirm(&mut transaction, id).await?;
        transaction.commit().await?;
        db::notify(&self.0, &[HINT.to_owned()]).await?;
        Ok(there)
    }

    /// Ends.
    pub async fn close(self) {
        self.0.close().await;
    }
}

async fn forget(
    transaction: &mut Transaction,
    host: &str,
    id: LoadBalancerId,
) -> Result<(), StoreError> {
    query(DELETE)
        .bind(id.to_string())
        .bind(host)
        .execute(&mut *transaction)
        .await?;
    query(FREE)
        .bind(id.to_string())
        .execute(transaction)
        .await?;
    Ok(())
}

async fn confirm(transaction: &mut Transaction, id: LoadBalancerId) -> Result<bool, StoreError> {
    let done = query(CONFIRM)
        .bind(now().0)
        .bind(id.to_string())
        .execute(transaction)
        .await?;
    Ok(done.rows_affected() > 0)
}

const SELECT: &str = "SELECT o.load_balancer_id, o.host, o.generation, o.project_id, o.found_at, \
     o.confirmed_at, p.address FROM orphans o \
     LEFT JOIN orphan_addresses a ON a.load_balancer_id = o.load_balancer_id \
     LEFT JOIN ports p ON p.id = a.address_id \
     ORDER BY o.found_at, o.load_balancer_id, o.host, p.address";
const SELECT_CONFIRMED: &str =
    "SELECT load_balancer_id FROM orphans WHERE host = $1 AND confirmed_at IS NOT NULL";
const UPSERT: &str = "INSERT INTO orphans (load_balancer_id, host, generation, found_at) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (load_balancer_id, host) \
     DO UPDATE SET generation = excluded.generation";
const DELETE: &str = "DELETE FROM orphans WHERE load_balancer_id = $1 AND host = $2";
const FREE: &str = "DELETE FROM ports WHERE id IN (SELECT address_id FROM orphan_addresses \
     WHERE load_balancer_id = $1 AND NOT EXISTS \
     (SELECT 1 FROM orphans WHERE orphans.load_balancer_id = orphan_addresses.load_balancer_id))";
const DESCRIBE: &str = "UPDATE orphans SET project_id = $1 WHERE load_balancer_id = $2";
const KEEP: &str = "INSERT INTO ports (id, project_id, purpose, network_id, subnet_id, address, \
     created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (network_id, address) DO NOTHING";
const KEEP_FOR: &str =
    "INSERT INTO orphan_addresses (address_id, load_balancer_id) VALUES ($1, $2)";
const CONFIRM: &str = "UPDATE orphans SET confirmed_at = $1 WHERE load_balancer_id = $2";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT,
    SELECT_CONFIRMED,
    UPSERT,
    DELETE,
    FREE,
    DESCRIBE,
    KEEP,
    KEEP_FOR,
    CONFIRM,
];

/// One row an address; an orphan's follow each other.
async fn load(connection: &mut Connection) -> Result<Vec<Orphan>, StoreError> {
    let rows = query(SELECT).fetch_all(connection).await?;
    let mut orphans: Vec<Orphan> = Vec::new();
    for row in &rows {
        let read = Reader::new("orphans", row);
        let (id, host) = (read.parse("load_balancer_id")?, read.text("host")?);
        let address: Option<IpAddr> = read.opt_parse("address")?;
        match orphans.last_mut() {
            Some(last) if last.id == id && last.host == host => last.addresses.extend(address),
            _ => orphans.push(Orphan {
                id,
                host,
                generation: read.int("generation")?,
                project_id: read.opt_text("project_id")?,
                addresses: address.into_iter().collect(),
                found_at: read.time("found_at")?,
                confirmed_at: read.opt_time("confirmed_at")?,
            }),
        }
    }
    Ok(orphans)
}
