//! Lists as the API answers them (contract 5), and single objects alike: filtered, sorted, paged and
//! completed with what is shown around them, in one statement.
//!
//! Pages follow each other by key, not by offset: a marker is an object, and the next page begins
//! behind the place where it stands in the order asked for.

mod catalog;
mod field;
mod packed;
mod query;
mod shown;
mod view;

pub use self::{
    catalog::Rows,
    shown::{ShownLoadBalancer, ShownPage},
};

use std::collections::BTreeMap;

use lb_model::{
    fault::Fault,
    id::{HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, MemberId, PoolId},
    tree::Tree,
    view::{
        HealthMonitorView, L7PolicyView, L7RuleView, ListenerView, LoadBalancerView, MemberView,
        PoolView,
    },
};
use uuid::Uuid;

use crate::{
    amphora::{self, AmphoraRow},
    boxed::Boxed,
    decode::load,
    error::StoreError,
    sql::Reader,
    store::Store,
};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Load balancers.
    LoadBalancer,
    /// Listeners.
    Listener,
    /// Pools.
    Pool,
    /// Members of one pool.
    Member(PoolId),
    /// Health monitors.
    HealthMonitor,
    /// L7 policies.
    L7Policy,
    /// Rules of one L7 policy.
    L7Rule(L7PolicyId),
    /// Amphorae.
    Amphora,
    /// Projects' own limits, by project.
    Quota,
    /// Flavors.
    Flavor,
    /// Flavor profiles.
    FlavorProfile,
    /// Availability zones, by name.
    AvailabilityZone,
    /// Availability zone profiles.
    AvailabilityZoneProfile,
}

/// Which way to sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// What an object's tags must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// `tags`: has all.
    All(Vec<String>),
    /// `tags-any`: has one at least.
    Any(Vec<String>),
    /// `not-tags`: does not have all of them together.
    NotAll(Vec<String>),
    /// `not-tags-any`: has none.
    NotAny(Vec<String>),
}

/// A list request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// What.
    pub resource: Resource,
    /// Of this project only. `None`: of all.
    pub project_id: Option<String>,
    /// Attribute by its API name, and the value it must have. All must hold.
    pub filters: Vec<(String, String)>,
    /// All must hold.
    pub tags: Vec<TagFilter>,
    /// Attributes by API name. `created_at` and `id` are added at the end.
    pub sort: Vec<(String, Direction)>,
    /// The object before the page (behind it, with `page_reverse`), by id; a quota by its project, an
    /// availability zone by its name.
    pub marker: Option<String>,
    /// Largest number of objects. `None`: all.
    pub limit: Option<u32>,
    /// The page before the marker instead of the one behind it. Its order is the same.
    pub page_reverse: bool,
}

impl ListQuery {
    /// Everything, in the default order.
    #[must_use]
    pub const fn all(resource: Resource) -> Self {
        Self {
            resource,
            project_id: None,
            filters: Vec::new(),
            tags: Vec::new(),
            sort: Vec::new(),
            marker: None,
            limit: None,
            page_reverse: false,
        }
    }
}

/// Why a list request cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No attribute of this name can be filtered by.
    #[error("'{0}' is no attribute to filter by")]
    UnknownFilter(String),
    /// No attribute of this name can be sorted by.
    #[error("'{0}' is no attribute to sort by")]
    UnknownSortKey(String),
    /// The value is not of the attribute's type.
    #[error("'{value}' is no value for {field}")]
    BadValue {
        /// Attribute.
        field: String,
        /// What was given.
        value: String,
    },
    /// The marker does not exist.
    #[error("marker {0} does not exist")]
    UnknownMarker(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ListError> for Fault {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(error) => error.into(),
            request => Self::invalid(request.to_string()),
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The ids of the page's objects, in order.
    pub ids: Vec<Uuid>,
    /// The objects themselves; amphorae are apart.
    pub views: Views,
    /// In the order of `ids`, when amphorae were listed.
    pub amphorae: Vec<AmphoraRow>,
    /// The load balancers of `amphorae`, whole.
    pub trees: BTreeMap<LoadBalancerId, Tree>,
    /// Whether there is more in the direction of reading.
    pub more: bool,
}

/// A page's objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Views {
    /// None, or of another kind.
    #[default]
    None,
    /// Load balancers.
    LoadBalancers(Vec<LoadBalancerView>),
    /// Listeners.
    Listeners(Vec<ListenerView>),
    /// Pools.
    Pools(Vec<PoolView>),
    /// Members.
    Members(Vec<MemberView>),
    /// Health monitors.
    HealthMonitors(Vec<HealthMonitorView>),
    /// L7 policies.
    L7Policies(Vec<L7PolicyView>),
    /// L7 rules.
    L7Rules(Vec<L7RuleView>),
}

impl Store {
    /// A page of a list: one statement, one more to find the marker's place, and one more again when
    /// a server of the version before has changed load balancers of the page.
    ///
    /// # Errors
    /// What is wrong with the request, or the database's.
    pub fn list<'f>(&'f self, query: &'f ListQuery) -> Boxed<'f, Result<Page, ListError>> {
        Box::pin(async move {
            let (rows, more) = query::run(&self.inner.database.read, query).await?;
            let mut page = Page {
                views: view::views(&self.inner.database.read, query.resource, &rows).await?,
                more,
                ..Page::default()
            };
            let mut owners = Vec::new();
            for row in &rows {
                let read = Reader::new("list", row);
                page.ids.push(read.parse("id")?);
                if query.resource == Resource::Amphora {
                    owners.push(read.parse("load_balancer_id")?);
                }
            }
            if query.resource == Resource::Amphora {
                self.complete_amphorae(&mut page, owners).await?;
            }
            Ok(page)
        })
    }

    async fn complete_amphorae(
        &self,
        page: &mut Page,
        mut owners: Vec<LoadBalancerId>,
    ) -> Result<(), ListError> {
        owners.sort_unstable();
        owners.dedup();
        let mut transaction = self.begin_read().await?;
        let rows = amphora::load_many(&mut transaction, &owners).await?;
        page.trees = load(&mut transaction, &owners).await?.trees;
        let mut by_id: BTreeMap<Uuid, AmphoraRow> = rows
            .into_iter()
            .map(|row| (row.amphora.shown_id.0, row))
            .collect();
        page.amphorae = page.ids.iter().filter_map(|id| by_id.remove(id)).collect();
        Ok(())
    }

    fn one<'f>(&'f self, resource: Resource, id: Uuid) -> Boxed<'f, Result<Views, StoreError>> {
        Box::pin(async move {
            let pool = &self.inner.database.read;
            let row = query::one(pool, resource, id).await?;
            view::views(pool, resource, row.as_slice()).await
        })
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $one:ident, $many:ident: $view:ty, $variant:ident,
        ($($parent:ident: $parent_id:ty)?) => $resource:expr, $id:ty;)+) => {
        impl Store {$(
            $(#[$doc])*
            /// The one with this id, in one statement.
            ///
            /// # Errors
            /// The database's.
            pub async fn $one(
                &self,
                $($parent: $parent_id,)?
                id: $id,
            ) -> Result<Option<$view>, StoreError> {
                match self.one($resource, id.0).await? {
                    Views::$variant(views) => Ok(views.into_iter().next()),
                    _other => Ok(None),
                }
            }
        )+}

        impl Page {$(
            $(#[$doc])*
            /// Those of the page.
            pub fn $many(&self) -> impl Iterator<Item = &$view> {
                match &self.views {
                    Views::$variant(views) => views.iter(),
                    _other => [].iter(),
                }
            }
        )+}
    };
}

kinds! {
    /// Load balancers.
    load_balancer, load_balancers: LoadBalancerView, LoadBalancers, () => Resource::LoadBalancer, LoadBalancerId;
    /// Listeners.
    listener, listeners: ListenerView, Listeners, () => Resource::Listener, ListenerId;
    /// Pools.
    pool, pools: PoolView, Pools, () => Resource::Pool, PoolId;
    /// Members of a pool.
    member, members: MemberView, Members, (pool_id: PoolId) => Resource::Member(pool_id), MemberId;
    /// Health monitors.
    health_monitor, health_monitors: HealthMonitorView, HealthMonitors, () => Resource::HealthMonitor, HealthMonitorId;
    /// L7 policies.
    l7policy, l7policies: L7PolicyView, L7Policies, () => Resource::L7Policy, L7PolicyId;
    /// Rules of an L7 policy.
    l7rule, l7rules: L7RuleView, L7Rules, (policy_id: L7PolicyId) => Resource::L7Rule(policy_id), L7RuleId;
}

#[cfg(test)]
pub(crate) use query::every_statement;
