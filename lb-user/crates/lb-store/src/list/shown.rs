//! Load balancers as lists and clients see them: packed where the row has them so ([`crate::summary`]),
//! read from their columns where a server of the version before wrote the row.

use std::collections::HashMap;

use lb_model::{id::LoadBalancerId, render::PackedLoadBalancer, view::LoadBalancerView};

use super::{ListError, ListQuery, Resource, query, view};
use crate::{
    boxed::Boxed,
    db::{Pool, Row},
    error::StoreError,
    store::Store,
    summary::{SHOWN_COLUMNS, shown},
};

/// A load balancer as it is shown.
#[derive(Clone, Copy, Debug)]
pub enum ShownLoadBalancer<'p> {
    /// As it was packed with its last change.
    Packed(PackedLoadBalancer<'p>),
    /// As its columns tell.
    View(&'p LoadBalancerView),
}

impl ShownLoadBalancer<'_> {
    /// Its id as text.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Packed(packed) => packed.id().unwrap_or_default().to_owned(),
            Self::View(view) => view.load_balancer.id.to_string(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn project_id(&self) -> String {
        match self {
            // One without a project belongs to nobody.
            Self::Packed(packed) => packed.project_id().unwrap_or_default(),
            Self::View(view) => view.load_balancer.project_id.clone(),
        }
    }
}

/// A page of load balancers, in order.
#[derive(Default)]
pub struct ShownPage {
    rows: Vec<Row>,
    /// Those that are read from their columns, by their place in `rows`.
    views: HashMap<usize, LoadBalancerView>,
    /// Whether there is more in the direction of reading.
    pub more: bool,
}

impl std::fmt::Debug for ShownPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.rows.len();
        f.debug_struct("ShownPage")
            .field("rows", &rows)
            .field("more", &self.more)
            .finish_non_exhaustive()
    }
}

impl ShownPage {
    async fn of(pool: &Pool, rows: Vec<Row>, more: bool) -> Result<Self, StoreError> {
        let mut page = Self {
            rows,
            views: HashMap::new(),
            more,
        };
        let mut unknown: Vec<(usize, LoadBalancerId)> = Vec::new();
        for (place, row) in page.rows.iter().enumerate() {
            if let Err(id) = shown(row)? {
                let corrupt = |_| StoreError::Corrupt(format!("load_balancers.id: {id}"));
                unknown.push((place, id.parse().map_err(corrupt)?));
            }
        }
        if !unknown.is_empty() {
            let ids: Vec<LoadBalancerId> = unknown.iter().map(|(_, id)| *id).collect();
            let mut found = view::of_these(pool, &ids).await?;
            let views = unknown
                .into_iter()
                .filter_map(|(place, id)| Some((place, found.remove(&id)?)));
            page.views = views.collect();
        }
        Ok(page)
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its load balancers. One that went while the page was read is left out.
    pub fn load_balancers(&self) -> impl DoubleEndedIterator<Item = ShownLoadBalancer<'_>> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(place, row)| match self.views.get(&place) {
            Some(view) => Some(ShownLoadBalancer::View(view)),
            None => match shown(row) {
                Ok(Ok(packed)) => Some(ShownLoadBalancer::Packed(packed)),
                Ok(Err(_)) | Err(_) => None,
            },
        })
    }
}

impl Store {
    /// A page of load balancers; one statement, as [`Store::list`].
    ///
    /// # Errors
    /// What is wrong with the request, or the database's.
    pub fn shown_load_balancers<'f>(
        &'f self,
        asked: &'f ListQuery,
    ) -> Boxed<'f, Result<ShownPage, ListError>> {
        Box::pin(async move {
            let pool = &self.inner.database.read;
            let (rows, more) = query::run_with(pool, asked, SHOWN_COLUMNS).await?;
            Ok(ShownPage::of(pool, rows, more).await?)
        })
    }

    /// One load balancer, as a page of it alone, or of none.
    ///
    /// # Errors
    /// The database's.
    pub fn shown_load_balancer<'f>(
        &'f self,
        id: LoadBalancerId,
    ) -> Boxed<'f, Result<ShownPage, StoreError>> {
        Box::pin(async move {
            let pool = &self.inner.database.read;
            let row = query::one_with(pool, Resource::LoadBalancer, id.0, SHOWN_COLUMNS).await?;
            ShownPage::of(pool, row.into_iter().collect(), false).await
        })
    }
}
