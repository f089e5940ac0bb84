//! Lists as the API answers them (contract 5): filtered, sorted and paged in SQL, then completed
//! with the whole trees the page's objects are part of, in a constant number of queries.
//!
//! Pages follow each other by key, not by offset: a marker is an object, and the next page begins
//! behind the place where it stands in the order asked for.

mod field;
mod query;

use std::collections::BTreeMap;

use lb_model::{
    fault::Fault,
    id::{L7PolicyId, LoadBalancerId, PoolId},
    resource::{HealthMonitor, L7Policy, L7Rule, Listener, Member, Pool},
    tree::Tree,
};
use uuid::Uuid;

use crate::{
    amphora::{self, AmphoraRow},
    decode::load,
    error::StoreError,
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
    /// The object before the page (behind it, with `page_reverse`).
    pub marker: Option<Uuid>,
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
    UnknownMarker(Uuid),
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
    /// The page's objects in order, each with the load balancer it belongs to.
    pub items: Vec<(Uuid, LoadBalancerId)>,
    /// Every load balancer named in `items`, whole.
    pub trees: BTreeMap<LoadBalancerId, Tree>,
    /// In the order of `items`, when amphorae were listed.
    pub amphorae: Vec<AmphoraRow>,
    /// Whether there is more in the direction of reading.
    pub more: bool,
}

impl Store {
    /// A page of a list.
    ///
    /// # Errors
    /// What is wrong with the request, or the database's.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ListError> {
        let mut transaction = self.begin_read().await?;
        let (items, more) = query::run(&mut transaction, query).await?;
        let mut owners: Vec<LoadBalancerId> = items.iter().map(|(_, owner)| *owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let mut page = Page {
            trees: load(&mut transaction, &owners).await?.trees,
            items,
            more,
            ..Page::default()
        };
        if query.resource == Resource::Amphora {
            let rows = amphora::load_many(&mut transaction, &owners).await?;
            let mut by_id: BTreeMap<Uuid, AmphoraRow> = rows
                .into_iter()
                .map(|row| (row.amphora.id.0, row))
                .collect();
            page.amphorae = page
                .items
                .iter()
                .filter_map(|(id, _)| by_id.remove(id))
                .collect();
        }
        Ok(page)
    }
}

impl Page {
    /// The page's load balancers.
    pub fn load_balancers(&self) -> impl Iterator<Item = &Tree> {
        self.items
            .iter()
            .filter_map(|(_, owner)| self.trees.get(owner))
    }

    /// The page's listeners.
    pub fn listeners(&self) -> impl Iterator<Item = (&Tree, &Listener)> {
        self.find(|tree, id| tree.listeners.iter().find(|listener| listener.id.0 == id))
    }

    /// The page's pools.
    pub fn pools(&self) -> impl Iterator<Item = (&Tree, &Pool)> {
        self.find(|tree, id| tree.pools.iter().find(|pool| pool.id.0 == id))
    }

    /// The page's members, with their pools.
    pub fn members(&self) -> impl Iterator<Item = (&Tree, (&Pool, &Member))> {
        self.find(|tree, id| {
            let mut members = tree
                .pools
                .iter()
                .flat_map(|pool| pool.members.iter().map(move |m| (pool, m)));
            members.find(|(_, member)| member.id.0 == id)
        })
    }

    /// The page's health monitors, with their pools.
    pub fn health_monitors(&self) -> impl Iterator<Item = (&Tree, (&Pool, &HealthMonitor))> {
        self.find(|tree, id| {
            let mut monitors = tree
                .pools
                .iter()
                .filter_map(|pool| Some((pool, pool.health_monitor.as_ref()?)));
            monitors.find(|(_, monitor)| monitor.id.0 == id)
        })
    }

    /// The page's L7 policies, with their listeners.
    pub fn l7policies(&self) -> impl Iterator<Item = (&Tree, (&Listener, &L7Policy))> {
        self.find(|tree, id| policies(tree).find(|(_, policy)| policy.id.0 == id))
    }

    /// The page's L7 rules, with their policies.
    pub fn l7rules(&self) -> impl Iterator<Item = (&Tree, (&L7Policy, &L7Rule))> {
        self.find(|tree, id| {
            let mut rules = policies(tree)
                .flat_map(|(_, policy)| policy.rules.iter().map(move |rule| (policy, rule)));
            rules.find(|(_, rule)| rule.id.0 == id)
        })
    }

    fn find<'a, I: 'a>(
        &'a self,
        find: impl Fn(&'a Tree, Uuid) -> Option<I> + 'a,
    ) -> impl Iterator<Item = (&'a Tree, I)> {
        self.items.iter().filter_map(move |(id, owner)| {
            let tree = self.trees.get(owner)?;
            Some((tree, find(tree, *id)?))
        })
    }
}

fn policies(tree: &Tree) -> impl Iterator<Item = (&Listener, &L7Policy)> {
    let listeners = tree.listeners.iter();
    listeners.flat_map(|listener| {
        listener
            .l7policies
            .iter()
            .map(move |policy| (listener, policy))
    })
}

#[cfg(test)]
pub(crate) use query::every_statement;
