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
//!
//! Beside it, in `shown`, the whole document is kept packed ([`lb_model::render::pack`]), by the same
//! rule: to take a row apart value by value, and to put a document together of them, costs several
//! times what it costs to find it. What a row's `shown` does not tell is read from its columns.

use lb_model::{
    enums::ProvisioningStatus,
    id::{ListenerId, PoolId},
    render::{self, PackedLoadBalancer},
    resource::LoadBalancer,
    tree::Tree,
};
use serde::{Deserialize, Serialize};

use crate::{db::Row, error::StoreError, sql::to_json};

/// What a list reads of a row that is shown as it was packed; their places are those in [`shown`].
pub(crate) const SHOWN_COLUMNS: &str = "t.shown, t.generation, t.provisioning_status, \
     t.operating_status, t.updated_at, t.id";

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

/// As it is stored; `None` when it is not to be kept.
pub(crate) fn encode_shown(tree: &Tree) -> Option<String> {
    let row = &tree.load_balancer;
    let common = &row.common;
    let (generation, updated_at) = (row.generation, common.updated_at.map_or(0, |time| time.0));
    let packed = render::pack(tree)?;
    Some(format!(
        "{generation} {} {} {updated_at} {packed}",
        common.provisioning_status, common.operating_status
    ))
}

/// What is shown of a row with [`SHOWN_COLUMNS`], when it is of its state; else whose row it is.
pub(crate) fn shown(row: &Row) -> Result<Result<PackedLoadBalancer<'_>, &str>, StoreError> {
    let text = row.text(0)?.unwrap_or_default();
    let id = row.text(5)?.unwrap_or_default();
    let mut parts = text.splitn(5, ' ');
    let generation: Option<i64> = parts.next().and_then(|part| part.parse().ok());
    let (provisioning, operating) = (parts.next(), parts.next());
    let updated_at: Option<i64> = parts.next().and_then(|part| part.parse().ok());
    let Some(packed) = parts.next().and_then(PackedLoadBalancer::new) else {
        return Ok(Err(id));
    };
    let now: Option<i64> = row.try_get(4)?;
    let current = generation == Some(row.try_get(1)?)
        && provisioning == row.text(2)?
        && operating == row.text(3)?
        && updated_at == Some(now.unwrap_or(0));
    Ok(if current { Ok(packed) } else { Err(id) })
}
