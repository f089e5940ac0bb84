//! Load balancers as agents see them: the tree together with its amphorae, addresses and what is known
//! of its members, read at one moment; and what agents say of both, written at one.

use std::collections::HashMap;

use lb_model::{
    fault::Fault,
    id::{AmphoraId, LoadBalancerId, MemberId},
    tree::Tree,
};

use crate::{
    amphora::{self, AmphoraRow, AmphoraUpdate},
    db::On,
    decode::{Loaded, fetch, trees},
    encode::Ordinals,
    error::StoreError,
    ipam::port,
    lock::{Attempts, lock_row},
    observed::health,
    ports::Port,
    store::Store,
    tree::LOCK_TREE,
    whole::{AMPHORAE, Extent, MEMBER_HEALTH, PORTS},
};

/// Everything a specification is built from, read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The load balancer.
    pub tree: Tree,
    /// Its amphorae, by slot.
    pub amphorae: Vec<AmphoraRow>,
    /// Its addresses, VIPs included.
    pub ports: Vec<Port>,
    /// Last known health; a member never probed is not in it.
    pub member_health: HashMap<MemberId, bool>,
}

impl Store {
    /// What an agent's specification is built from, as of one moment.
    ///
    /// # Errors
    /// The database's.
    pub async fn read_carried(&self, id: LoadBalancerId) -> Result<Option<Carried>, StoreError> {
        let read = read(&self.inner.database.read, id).await?;
        Ok(read.map(|(carried, _ordinals)| carried))
    }

    /// Changes a tree and its amphorae by `change`, together: it says what of which amphora is to be
    /// written. `None`: there is no such load balancer.
    ///
    /// # Errors
    /// The fault of `change`, or the database's; nothing has changed then.
    pub async fn change_carried<T, F>(
        &self,
        id: LoadBalancerId,
        mut change: F,
    ) -> Result<Option<T>, StoreError>
    where
        F: FnMut(&mut Carried) -> Result<(T, Vec<(AmphoraId, AmphoraUpdate)>), Fault> + Send,
        T: Send,
    {
        let mut attempts = Attempts::default();
        loop {
            match self.try_change_carried(id, &mut change).await {
                Err(error) if attempts.again(&error) => {}
                done => return done,
            }
        }
    }

    async fn try_change_carried<T, F>(
        &self,
        id: LoadBalancerId,
        change: &mut F,
    ) -> Result<Option<T>, StoreError>
    where
        F: FnMut(&mut Carried) -> Result<(T, Vec<(AmphoraId, AmphoraUpdate)>), Fault> + Send,
        T: Send,
    {
        let mut transaction = self.begin_write().await?;
        lock_row(&mut transaction, LOCK_TREE, id).await?;
        let Some((mut carried, ordinals)) = read(&mut transaction, id).await? else {
            return Ok(None);
        };
        let before = carried.tree.clone();
        let (value, updates) = change(&mut carried)?;
        if carried.tree == before && updates.is_empty() {
            return Ok(Some(value));
        }
        // Amphorae first: they may go with the tree.
        for (amphora, update) in &updates {
            amphora::update(&mut transaction, *amphora, update).await?;
        }
        if carried.tree != before {
            self.write_change(&mut transaction, &before, &carried.tree, &ordinals)
                .await?;
        }
        self.commit_change(transaction, id).await?;
        Ok(Some(value))
    }
}

async fn read(
    on: impl Into<On<'_>>,
    id: LoadBalancerId,
) -> Result<Option<(Carried, Ordinals)>, StoreError> {
    let rows = fetch(on, Extent::Everything, &[id]).await?;
    let Loaded {
        mut trees,
        ordinals,
    } = trees(&rows)?;
    let Some(tree) = trees.remove(&id) else {
        return Ok(None);
    };
    let ports: Result<Vec<Port>, _> = rows.of(PORTS).map(|read| port(&read)).collect();
    let mut ports = ports?;
    ports.sort_unstable_by_key(|port| (port.created_at, port.id));
    let amphorae = rows.of(AMPHORAE);
    let amphorae = amphorae.map(|read| amphora::beside(&read, &tree, &ports));
    let mut amphorae = amphorae.collect::<Result<Vec<AmphoraRow>, _>>()?;
    amphorae.sort_unstable_by_key(|row| row.slot);
    let health = rows.of(MEMBER_HEALTH).map(|read| health(&read));
    let carried = Carried {
        member_health: health.collect::<Result<_, _>>()?,
        tree,
        amphorae,
        ports,
    };
    Ok(Some((carried, ordinals)))
}
