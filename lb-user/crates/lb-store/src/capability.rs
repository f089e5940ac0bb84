//! What hosts' data paths can do, as their agents declare it.
//!
//! The API judges requests by what every host can do, so the answer is asked for with each write:
//! it is remembered, for a moment only, because another server may take a declaration too.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lb_model::capability::CapabilitySet;
use tokio::time::Instant;

use crate::{
    boxed::Boxed,
    db::query,
    error::StoreError,
    sql::{Reader, to_json},
    store::Store,
};

/// How long another server's declaration may go unseen.
const FRESH: Duration = Duration::from_secs(1);

/// What was found last, and when.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Option<(Instant, CapabilitySet)>>);

impl Store {
    /// Notes what a host's agent declares.
    ///
    /// # Errors
    /// The database's.
    pub async fn declare_capabilities(
        &self,
        host: &str,
        declared: &CapabilitySet,
    ) -> Result<(), StoreError> {
        query(UPSERT)
            .bind(host)
            .bind(to_json(&declared.names())?)
            .execute(&self.inner.database.write)
            .await?;
        self.inner.capabilities.put(None);
        Ok(())
    }

    /// What every host that has declared anything can do; before any has, what this version's agent
    /// does.
    ///
    /// # Errors
    /// The database's.
    pub fn capabilities<'f>(&'f self) -> Boxed<'f, Result<CapabilitySet, StoreError>> {
        Box::pin(async move {
            if let Some(known) = self.inner.capabilities.get() {
                return Ok(known);
            }
            let asked = Instant::now();
            let rows = query(SELECT).fetch_all(&self.inner.database.read).await?;
            let mut common: Option<CapabilitySet> = None;
            for row in &rows {
                let names: BTreeSet<String> =
                    Reader::new("host_capabilities", row).json("names")?;
                let declared = CapabilitySet::from_names(&names);
                common = Some(match common {
                    None => declared,
                    Some(others) => others.intersection(&declared),
                });
            }
            let common = common.unwrap_or_else(CapabilitySet::data_path);
            self.inner.capabilities.put(Some((asked, common.clone())));
            Ok(common)
        })
    }
}

impl Remembered {
    fn get(&self) -> Option<CapabilitySet> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, set) = known.as_ref()?;
        (when.elapsed() < FRESH).then(|| set.clone())
    }

    fn put(&self, found: Option<(Instant, CapabilitySet)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

const SELECT: &str = "SELECT names FROM host_capabilities";
const UPSERT: &str = "INSERT INTO host_capabilities (host, names) VALUES ($1, $2) \
     ON CONFLICT (host) DO UPDATE SET names = excluded.names";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT, UPSERT];
