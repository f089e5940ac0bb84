//! Load balancers as wholes: created, read and changed one tree at a time.
//!
//! A change is one write transaction: load, apply a pure operation, write the rows that differ, make
//! amphorae and ports what the tree now needs, commit, wake. When the operation refuses, or an address
//! cannot be had, nothing has changed. A load balancer that the operation left in DELETED is removed
//! with all that hangs on it, its addresses included.

use std::collections::BTreeMap;

use lb_model::{
    enums::{ProvisioningStatus, Topology},
    fault::Fault,
    id::LoadBalancerId,
    quota::{Allowance, PerClass, QuotaClass},
    request::load_balancer::VipRequest,
    time::Timestamp,
    tree::Tree,
};

use crate::{
    amphora,
    boxed::Boxed,
    db::{Builder, Connection, Row, Transaction, query, query_scalar},
    decode::{Loaded, load, push_ids},
    encode::{Encoded, LOAD_BALANCERS, Ordinals, encode},
    error::{NetworkError, StoreError},
    event,
    host::HostAddresses,
    lock::{Attempts, lock_row},
    ports::needed_ports,
    quota,
    save::save,
    sql::Reader,
    store::Store,
    vip::Vips,
};

/// What is needed to compare desired with observed, without loading the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which load balancer.
    pub id: LoadBalancerId,
    /// Its project.
    pub project_id: String,
    /// Its newest generation.
    pub generation: u64,
    /// Where it stands.
    pub provisioning_status: ProvisioningStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Option<Timestamp>,
}

/// Load balancers asked for in one statement.
const HEADS_AT_ONCE: usize = 512;

macro_rules! select_heads {
    () => {
        "SELECT id, project_id, generation, provisioning_status, created_at, updated_at \
         FROM load_balancers"
    };
}

fn head(row: &Row) -> Result<Head, StoreError> {
    let read = Reader::new(LOAD_BALANCERS, row);
    Ok(Head {
        id: read.parse("id")?,
        project_id: read.text("project_id")?,
        generation: read.int("generation")?,
        provisioning_status: read.parse("provisioning_status")?,
        created_at: read.time("created_at")?,
        updated_at: read.opt_time("updated_at")?,
    })
}

impl Store {
    /// Creates a load balancer: reserves its VIPs, then stores the tree that `build` makes with them.
    /// The topology says how many addresses beside the VIP its subnet must have left. `build` is
    /// called again when the transaction had to give way to another.
    ///
    /// # Errors
    /// [`StoreError::Network`] when the VIPs cannot be had, [`StoreError::Refused`] when what was asked
    /// of them does not fit, or with the fault of `build`; nothing is left behind.
    pub async fn create_tree<F>(
        &self,
        id: LoadBalancerId,
        project_id: &str,
        vips: &VipRequest,
        topology: Topology,
        mut build: F,
    ) -> Result<Tree, StoreError>
    where
        F: FnMut(Vips) -> Result<Tree, Fault> + Send,
    {
        let build = |vips, _unlimited| build(vips);
        self.create_tree_within(id, project_id, vips, topology, None, build)
            .await
    }

    /// [`Store::create_tree`] where quotas are in force: `limits` are the defaults, and `build` is
    /// handed what the project may still create.
    ///
    /// # Errors
    /// As [`Store::create_tree`]. A met quota is told before an address that is taken.
    pub async fn create_tree_within<F>(
        &self,
        id: LoadBalancerId,
        project_id: &str,
        vips: &VipRequest,
        topology: Topology,
        limits: Option<&PerClass<i64>>,
        mut build: F,
    ) -> Result<Tree, StoreError>
    where
        F: FnMut(Vips, Allowance) -> Result<Tree, Fault> + Send,
    {
        let mut attempts = Attempts::default();
        loop {
            let created = self.try_create(id, project_id, vips, topology, limits, &mut build);
            let done = match created.await {
                Ok((transaction, tree)) => self.commit_change(transaction, id).await.map(|()| tree),
                Err(error) => Err(error),
            };
            match done {
                Err(error) if attempts.again(&error) => {}
                done => return done,
            }
        }
    }

    /// Does everything that [`Store::create_tree_within`] does, quota and addresses included, and takes it
    /// back: the tree is what would have been made.
    ///
    /// # Errors
    /// As [`Store::create_tree_within`].
    pub async fn rehearse_tree<F>(
        &self,
        id: LoadBalancerId,
        project_id: &str,
        vips: &VipRequest,
        topology: Topology,
        limits: Option<&PerClass<i64>>,
        mut build: F,
    ) -> Result<Tree, StoreError>
    where
        F: FnMut(Vips, Allowance) -> Result<Tree, Fault> + Send,
    {
        let (transaction, tree) = self
            .try_create(id, project_id, vips, topology, limits, &mut build)
            .await?;
        transaction.rollback().await?;
        Ok(tree)
    }

    async fn try_create<F>(
        &self,
        id: LoadBalancerId,
        project_id: &str,
        vips: &VipRequest,
        topology: Topology,
        limits: Option<&PerClass<i64>>,
        build: &mut F,
    ) -> Result<(Transaction, Tree), StoreError>
    where
        F: FnMut(Vips, Allowance) -> Result<Tree, Fault> + Send,
    {
        let mut transaction = self.begin_write().await?;
        let allowance = quota::allowance(&mut transaction, project_id, limits).await?;
        let mut hosts = HostAddresses::default();
        let vips = self
            .reserve_vips(&mut transaction, id, project_id, vips, topology, &mut hosts)
            .await
            .map_err(|error| quota_first(error, allowance))?;
        let tree = build(vips, allowance)?;
        if tree.load_balancer.id != id {
            return Err(StoreError::Internal(
                "the tree has another id than its addresses",
            ));
        }
        let encoded = encode(&tree, &Ordinals::new())?;
        save(&mut transaction, id, &Encoded::default(), encoded)
            .await
            .map_err(|error| {
                if error.is_foreign_key_violation() {
                    let gone = "The flavor or the availability zone does not exist any more.";
                    return Fault::invalid(gone).into();
                }
                error
            })?;
        self.first_ports(&mut transaction, &tree, &mut hosts)
            .await?;
        event::record(&mut transaction, &event::created(&tree)).await?;
        Ok((transaction, tree))
    }

    /// A load balancer with all its objects.
    ///
    /// # Errors
    /// The database's.
    pub fn read_tree<'f>(
        &'f self,
        id: LoadBalancerId,
    ) -> Boxed<'f, Result<Option<Tree>, StoreError>> {
        Box::pin(async move {
            let loaded = load(&self.inner.database.read, &[id]).await?;
            Ok(loaded.trees.into_values().next())
        })
    }

    /// Several load balancers, in one query. Unknown ids are left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn read_trees(
        &self,
        ids: &[LoadBalancerId],
    ) -> Result<BTreeMap<LoadBalancerId, Tree>, StoreError> {
        Ok(load(&self.inner.database.read, ids).await?.trees)
    }

    /// Changes a load balancer by `change`, all or nothing. Changes of one load balancer follow each
    /// other, whichever server makes them; `change` is called again when the database made the
    /// transaction give way to another.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the fault of `change`, or a 404 when there is no such load
    /// balancer; nothing has changed then.
    pub async fn change_tree<T, F>(
        &self,
        id: LoadBalancerId,
        mut change: F,
    ) -> Result<T, StoreError>
    where
        F: FnMut(&mut Tree) -> Result<T, Fault> + Send,
        T: Send,
    {
        let change = |tree: &mut Tree, _unlimited| change(tree);
        self.change_tree_within(id, None, change).await
    }

    /// [`Store::change_tree`] where quotas are in force: `limits` are the defaults, and `change` is
    /// handed what the project may still create.
    ///
    /// # Errors
    /// As [`Store::change_tree`].
    pub async fn change_tree_within<T, F>(
        &self,
        id: LoadBalancerId,
        limits: Option<&PerClass<i64>>,
        mut change: F,
    ) -> Result<T, StoreError>
    where
        F: FnMut(&mut Tree, Allowance) -> Result<T, Fault> + Send,
        T: Send,
    {
        let mut attempts = Attempts::default();
        loop {
            match self.try_change(id, limits, &mut change).await {
                Err(error) if attempts.again(&error) => {}
                done => return done,
            }
        }
    }

    async fn try_change<T, F>(
        &self,
        id: LoadBalancerId,
        limits: Option<&PerClass<i64>>,
        change: &mut F,
    ) -> Result<T, StoreError>
    where
        F: FnMut(&mut Tree, Allowance) -> Result<T, Fault> + Send,
        T: Send,
    {
        let mut transaction = self.begin_write().await?;
        lock_row(&mut transaction, LOCK_TREE, id).await?;
        let Loaded {
            mut trees,
            ordinals,
        } = load(&mut transaction, &[id]).await?;
        let before = trees.remove(&id).ok_or_else(|| id.not_found())?;
        let mut after = before.clone();
        let project_id = &before.load_balancer.project_id;
        let allowance = quota::allowance(&mut transaction, project_id, limits).await?;
        let value = change(&mut after, allowance)?;
        if after == before {
            return Ok(value);
        }
        self.write_change(&mut transaction, &before, &after, &ordinals)
            .await?;
        self.commit_change(transaction, id).await?;
        Ok(value)
    }

    /// Writes what a change made of a tree, and what follows from it.
    pub(crate) fn write_change<'f>(
        &'f self,
        transaction: &'f mut Transaction,
        before: &'f Tree,
        after: &'f Tree,
        ordinals: &'f Ordinals,
    ) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let id = before.id();
            if after.id() != id {
                return Err(StoreError::Internal("a change must not change the id"));
            }
            if after.load_balancer.common.provisioning_status == ProvisioningStatus::Deleted {
                remove(transaction, id).await?;
            } else {
                let (old, new) = (encode(before, ordinals)?, encode(after, ordinals)?);
                save(transaction, id, &old, new).await?;
                if after.load_balancer.failover_count > before.load_balancer.failover_count {
                    amphora::replace(transaction, id).await?;
                }
                if needed_ports(before) != needed_ports(after) {
                    self.reconcile_ports(transaction, after).await?;
                }
            }
            if let Some(told) = event::status_changes(before, after) {
                event::record(transaction, &told).await?;
            }
            Ok(())
        })
    }

    /// Removes a load balancer and frees its addresses. Says whether there was one.
    ///
    /// # Errors
    /// The database's.
    pub fn remove_tree<'f>(&'f self, id: LoadBalancerId) -> Boxed<'f, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut transaction = self.begin_write().await?;
            let existed = remove(&mut transaction, id).await?;
            self.commit_change(transaction, id).await?;
            Ok(existed)
        })
    }

    /// Every load balancer with its generation: what sync compares.
    ///
    /// # Errors
    /// The database's.
    pub async fn generations(&self) -> Result<BTreeMap<LoadBalancerId, u64>, StoreError> {
        let heads = self.heads().await?;
        Ok(heads
            .into_iter()
            .map(|head| (head.id, head.generation))
            .collect())
    }

    /// Every load balancer in short.
    ///
    /// # Errors
    /// The database's.
    pub async fn heads(&self) -> Result<Vec<Head>, StoreError> {
        let rows = query(concat!(select_heads!(), " ORDER BY id"))
            .fetch_all(&self.inner.database.read)
            .await?;
        rows.iter().map(head).collect()
    }

    /// These load balancers in short; one that is gone is left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn heads_of(&self, ids: &[LoadBalancerId]) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::with_capacity(ids.len());
        for some in ids.chunks(HEADS_AT_ONCE) {
            let mut query = Builder::new(concat!(select_heads!(), " WHERE id IN ("));
            push_ids(&mut query, some);
            let rows = query.build().fetch_all(&self.inner.database.read).await?;
            let read: Result<Vec<Head>, _> = rows.iter().map(head).collect();
            heads.extend(read?);
        }
        Ok(heads)
    }

    /// The project that a load balancer belongs to.
    ///
    /// # Errors
    /// The database's.
    pub async fn project_of(&self, id: LoadBalancerId) -> Result<Option<String>, StoreError> {
        let project = query_scalar(SELECT_PROJECT)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        Ok(project)
    }
}

const SELECT_PROJECT: &str = "SELECT project_id FROM load_balancers WHERE id = $1";
pub(crate) const LOCK_TREE: &str = "SELECT id FROM load_balancers WHERE id = $1";
const DELETE_TREE: &str = "DELETE FROM load_balancers WHERE id = $1";
#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[LOCK_TREE, select_heads!(), SELECT_PROJECT, DELETE_TREE];

/// A met quota stands before an address that is taken (contract 3.4: 403 beats 409).
fn quota_first(error: StoreError, mut allowance: Allowance) -> StoreError {
    if !matches!(error, StoreError::Network(NetworkError::AddressInUse(_))) {
        return error;
    }
    match allowance.take(QuotaClass::LoadBalancer, 1) {
        Err(met) => met.into(),
        Ok(()) => error,
    }
}

async fn remove(connection: &mut Connection, id: LoadBalancerId) -> Result<bool, StoreError> {
    let done = query(DELETE_TREE)
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}
