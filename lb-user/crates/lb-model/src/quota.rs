//! How many objects of each kind a project may have (contract 2.8, 6.3).
//!
//! A limit is -1 (none) or a count. A project's own items stand above the operator's defaults; an
//! item that is not set takes the default. What is left of a finite limit is handed to an operation
//! as an [`Allowance`], which every create draws from at its place in the order of checks.
//!
//! Invariant: an allowance is counted in the transaction that the operation runs in, under a lock
//! on the project's quota, so that two creates never draw on the same remainder.
//!
//! Left out on purpose: counting (lb-store), and who may change a limit (policy).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    fault::{Fault, ResourceKind},
    request::{Given, reader::Reader},
};

/// No limit.
pub const UNLIMITED: i64 = -1;
/// The largest limit.
pub const QUOTA_MAX: i64 = 2_000_000_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaClass {
    /// Load balancers.
    LoadBalancer,
    /// Listeners.
    Listener,
    /// Pools.
    Pool,
    /// Members.
    Member,
    /// Health monitors.
    HealthMonitor,
    /// L7 policies.
    L7Policy,
    /// L7 rules.
    L7Rule,
}

impl QuotaClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::LoadBalancer,
        Self::Listener,
        Self::Pool,
        Self::Member,
        Self::HealthMonitor,
        Self::L7Policy,
        Self::L7Rule,
    ];

    /// Its key on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancer",
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::Member => "member",
            Self::HealthMonitor => "healthmonitor",
            Self::L7Policy => "l7policy",
            Self::L7Rule => "l7rule",
        }
    }

    /// Its older key, which is still read and always shown.
    #[must_use]
    pub const fn deprecated(self) -> Option<&'static str> {
        match self {
            Self::LoadBalancer => Some("load_balancer"),
            Self::HealthMonitor => Some("health_monitor"),
            _ => None,
        }
    }

    /// The kind of object that a fault names.
    #[must_use]
    pub const fn kind(self) -> ResourceKind {
        match self {
            Self::LoadBalancer => ResourceKind::LoadBalancer,
            Self::Listener => ResourceKind::Listener,
            Self::Pool => ResourceKind::Pool,
            Self::Member => ResourceKind::Member,
            Self::HealthMonitor => ResourceKind::HealthMonitor,
            Self::L7Policy => ResourceKind::L7Policy,
            Self::L7Rule => ResourceKind::L7Rule,
        }
    }
}

/// One value for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerClass<T> {
    /// Load balancers.
    pub loadbalancer: T,
    /// Listeners.
    pub listener: T,
    /// Pools.
    pub pool: T,
    /// Members.
    pub member: T,
    /// Health monitors.
    pub healthmonitor: T,
    /// L7 policies.
    pub l7policy: T,
    /// L7 rules.
    pub l7rule: T,
}

impl<T> PerClass<T> {
    /// Made class by class.
    pub fn from_fn(mut make: impl FnMut(QuotaClass) -> T) -> Self {
        Self {
            loadbalancer: make(QuotaClass::LoadBalancer),
            listener: make(QuotaClass::Listener),
            pool: make(QuotaClass::Pool),
            member: make(QuotaClass::Member),
            healthmonitor: make(QuotaClass::HealthMonitor),
            l7policy: make(QuotaClass::L7Policy),
            l7rule: make(QuotaClass::L7Rule),
        }
    }

    /// The value of a class.
    pub const fn get(&self, class: QuotaClass) -> &T {
        match class {
            QuotaClass::LoadBalancer => &self.loadbalancer,
            QuotaClass::Listener => &self.listener,
            QuotaClass::Pool => &self.pool,
            QuotaClass::Member => &self.member,
            QuotaClass::HealthMonitor => &self.healthmonitor,
            QuotaClass::L7Policy => &self.l7policy,
            QuotaClass::L7Rule => &self.l7rule,
        }
    }

    /// The value of a class, to be changed.
    pub const fn get_mut(&mut self, class: QuotaClass) -> &mut T {
        match class {
            QuotaClass::LoadBalancer => &mut self.loadbalancer,
            QuotaClass::Listener => &mut self.listener,
            QuotaClass::Pool => &mut self.pool,
            QuotaClass::Member => &mut self.member,
            QuotaClass::HealthMonitor => &mut self.healthmonitor,
            QuotaClass::L7Policy => &mut self.l7policy,
            QuotaClass::L7Rule => &mut self.l7rule,
        }
    }
}

impl PerClass<i64> {
    /// No limits at all.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::from_fn(|_class| UNLIMITED)
    }

    /// The limits of a project with these items of its own.
    #[must_use]
    pub fn with(&self, own: &PerClass<Option<i64>>) -> Self {
        Self::from_fn(|class| own.get(class).unwrap_or(*self.get(class)))
    }

    /// The classes that have a limit.
    pub fn finite(&self) -> impl Iterator<Item = (QuotaClass, u64)> {
        let limits = QuotaClass::ALL.map(|class| (class, *self.get(class)));
        limits
            .into_iter()
            .filter_map(|(class, limit)| Some((class, u64::try_from(limit).ok()?)))
    }
}

/// What a project may still create. `None`: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance(PerClass<Option<u64>>);

impl Allowance {
    /// Nothing is counted.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// What `limits` leave above what is `used`.
    #[must_use]
    pub fn left(limits: &PerClass<i64>, used: &PerClass<u64>) -> Self {
        let mut left = PerClass::default();
        for (class, limit) in limits.finite() {
            *left.get_mut(class) = Some(limit.saturating_sub(*used.get(class)));
        }
        Self(left)
    }

    /// Draws `count` objects of a class, or answers that the quota is met. Drawing nothing always
    /// succeeds: a project above its limit may still change what it has.
    pub fn take(&mut self, class: QuotaClass, count: usize) -> Result<(), Fault> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let Some(left) = self.0.get_mut(class) else {
            return Ok(());
        };
        *left = left.checked_sub(count).ok_or(Fault::QuotaReached {
            resource: class.kind(),
        })?;
        Ok(())
    }
}

/// `PUT quotas/{project_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaUpdate(PerClass<Given<i64>>);

impl QuotaUpdate {
    /// Reads the body. Of two names of one item, the newer counts.
    pub fn parse(body: &Value) -> Result<Self, Fault> {
        let mut reader = Reader::envelope(body, "quota")?;
        let mut items = PerClass::default();
        for class in QuotaClass::ALL {
            let older = match class.deprecated() {
                Some(key) => reader.integer(key, UNLIMITED..=QUOTA_MAX)?,
                None => Given::Absent,
            };
            let newer = reader.integer(class.as_str(), UNLIMITED..=QUOTA_MAX)?;
            *items.get_mut(class) = if newer.is_given() { newer } else { older };
        }
        reader.finish()?;
        Ok(Self(items))
    }

    /// Changes a project's own items; null takes an item back to the default.
    pub fn apply(&self, own: &mut PerClass<Option<i64>>) {
        for class in QuotaClass::ALL {
            match self.0.get(class) {
                Given::Absent => {}
                Given::Null => *own.get_mut(class) = None,
                Given::Value(limit) => *own.get_mut(class) = Some(*limit),
            }
        }
    }
}

/// A quota as answered, with the older names beside the newer. An item that is `None` is null.
#[must_use]
pub fn render(project_id: &str, items: &PerClass<Option<i64>>) -> Value {
    let mut view = serde_json::Map::new();
    view.insert("project_id".to_owned(), json!(project_id));
    view.insert("tenant_id".to_owned(), json!(project_id));
    for class in QuotaClass::ALL {
        let value = json!(items.get(class));
        if let Some(key) = class.deprecated() {
            view.insert(key.to_owned(), value.clone());
        }
        view.insert(class.as_str().to_owned(), value);
    }
    Value::Object(view)
}

/// Limits as answered.
#[must_use]
pub fn render_limits(project_id: &str, limits: &PerClass<i64>) -> Value {
    render(
        project_id,
        &PerClass::from_fn(|class| Some(*limits.get(class))),
    )
}
