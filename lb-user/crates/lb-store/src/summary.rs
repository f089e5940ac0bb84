//! What a list shows of a load balancer's surroundings, kept in its own row: the ids of its listeners
//! and pools, and its tags.
//!
//! Why: to look them up for each of a thousand rows costs ten times what the rows cost. It is written
//! with every change of the tree, in the same statement as the row itself.
//!
//! A server of the version before does not know the column and leaves it as it was. So it names the
//! state of the row that it was made of; whoever finds another state there looks the children up.
//! Every change of the children changes that state: a request raises the generation, and what settles
//! later moves the provisioning status.

use lb_model::{
    enums::ProvisioningStatus,
    id::{ListenerId, PoolId},
    resource::LoadBalancer,
    tree::Tree,
};
use serde::{Deserialize, Serialize};

use crate::{error::StoreError, sql::to_json};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    of: State,
    pub(crate) listeners: Vec<ListenerId>,
    pub(crate) pools: Vec<PoolId>,
    pub(crate) tags: Vec<String>,
}

/// Generation, provisioning status, last change.
type State = (u64, ProvisioningStatus, Option<i64>);

fn state(row: &LoadBalancer) -> State {
    (
        row.generation,
        row.common.provisioning_status,
        row.common.updated_at.map(|time| time.0),
    )
}

/// As it is stored.
pub(crate) fn encode(tree: &Tree) -> Result<String, StoreError> {
    to_json(&Summary {
        of: state(&tree.load_balancer),
        listeners: tree.listeners.iter().map(|listener| listener.id).collect(),
        pools: tree.pools.iter().map(|pool| pool.id).collect(),
        tags: tree.load_balancer.common.tags.clone(),
    })
}

impl Summary {
    /// Whether it tells of this row as it is now.
    pub(crate) fn is_of(&self, row: &LoadBalancer) -> bool {
        self.of == state(row)
    }
}
