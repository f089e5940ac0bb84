//! One object with what its representation shows of its surroundings: the ids of parents and
//! children, without the rest of the tree.
//!
//! What a list reads in one statement; [`crate::render`] makes the same document of it as of a tree.
//! The object's own lists of children are empty here.

use crate::{
    id::{HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, MemberId, PoolId},
    resource::{HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool},
};

/// A load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancerView {
    /// Itself.
    pub load_balancer: LoadBalancer,
    /// In their order.
    pub listeners: Vec<ListenerId>,
    /// In their order.
    pub pools: Vec<PoolId>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerView {
    /// Whose it is.
    pub project_id: String,
    /// Its parent.
    pub load_balancer_id: LoadBalancerId,
    /// Itself.
    pub listener: Listener,
    /// By position.
    pub l7policies: Vec<L7PolicyId>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// Whose it is.
    pub project_id: String,
    /// Its parent.
    pub load_balancer_id: LoadBalancerId,
    /// Itself.
    pub pool: Pool,
    /// Those that use it (`Tree::listeners_using`).
    pub listeners: Vec<ListenerId>,
    /// In their order.
    pub members: Vec<MemberId>,
    /// Its monitor.
    pub health_monitor: Option<HealthMonitorId>,
}

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// Whose it is.
    pub project_id: String,
    /// Its parent.
    pub pool_id: PoolId,
    /// Itself.
    pub member: Member,
}

/// A health monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthMonitorView {
    /// Whose it is.
    pub project_id: String,
    /// What it watches.
    pub pool_id: PoolId,
    /// Itself.
    pub health_monitor: HealthMonitor,
}

/// An L7 policy.
#[derive(Clone, Debug, PartialEq)]
pub struct L7PolicyView {
    /// Whose it is.
    pub project_id: String,
    /// Its parent.
    pub listener_id: ListenerId,
    /// Counted from 1.
    pub position: u32,
    /// Itself.
    pub l7policy: L7Policy,
    /// In their order.
    pub rules: Vec<L7RuleId>,
}

/// An L7 rule.
#[derive(Clone, Debug, PartialEq)]
pub struct L7RuleView {
    /// Whose it is.
    pub project_id: String,
    /// Its parent.
    pub l7policy_id: L7PolicyId,
    /// Itself.
    pub l7rule: L7Rule,
}
