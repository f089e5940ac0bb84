//! What each route does, one file a resource. A handler parses, hands the work to a pure operation
//! of lb-model inside [`crate::state::ApiState::change`], and shows the result.

pub(crate) mod amphorae;
pub(crate) mod availability_zones;
pub(crate) mod events;
pub(crate) mod flavors;
pub(crate) mod health_monitors;
pub(crate) mod l7policies;
pub(crate) mod l7rules;
pub(crate) mod listeners;
pub(crate) mod load_balancers;
pub(crate) mod members;
pub(crate) mod operator;
pub(crate) mod pools;
pub(crate) mod providers;
pub(crate) mod quotas;
pub(crate) mod resize;
pub(crate) mod secret_acls;
mod secret_body;
pub(crate) mod secret_consumers;
pub(crate) mod secret_containers;
mod secret_page;
pub(crate) mod secrets;

use lb_model::{fault::Fault, id::LoadBalancerId, tree::Tree};

use crate::{error::ApiError, state::ApiState};

impl ApiState {
    /// The tree an object was found in, or the object's own 404.
    pub(crate) async fn tree_of(
        &self,
        owner: Option<LoadBalancerId>,
        missing: Fault,
    ) -> Result<Tree, ApiError> {
        let tree = match owner {
            Some(owner) => self.store().read_tree(owner).await?,
            None => None,
        };
        tree.ok_or_else(|| missing.into())
    }
}
