//! How much one load balancer may hold, quotas or not: a host's tables are shared, and one tenant
//! must not fill them (design invariant 6 and 7). Beyond a limit is the answer of a met quota.

use crate::{
    fault::{Fault, ResourceKind},
    tree::Tree,
};

/// Listeners of a load balancer.
pub const LISTENERS_MAX: usize = 512;
/// Pools of a load balancer.
pub const POOLS_MAX: usize = 512;
/// Members of a load balancer, over all its pools.
pub const MEMBERS_MAX: usize = 4_096;
/// Policies of a listener.
pub const L7POLICIES_MAX: usize = 512;
/// CIDRs of a listener.
pub const ALLOWED_CIDRS_MAX: usize = 512;

/// Refuses what would make `count` exceed `max`.
pub(crate) fn room(count: usize, max: usize, resource: ResourceKind) -> Result<(), Fault> {
    if count < max {
        Ok(())
    } else {
        Err(Fault::QuotaReached { resource })
    }
}

impl Tree {
    /// Members over all pools.
    pub(crate) fn member_count(&self) -> usize {
        self.pools.iter().map(|pool| pool.members.len()).sum()
    }
}
