//! What is told: to the server, and to whoever looks at the host (`<run_dir>/agent.json`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lb_model::{id::LoadBalancerId, spec::LoadBalancerReport};
use serde::Serialize;
use tokio::sync::Notify;

/// The newest report of every load balancer.
#[derive(Debug)]
pub(crate) struct Reports {
    file: PathBuf,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    reports: BTreeMap<LoadBalancerId, Told>,
    /// Changed since it was last taken.
    dirty: BTreeSet<LoadBalancerId>,
    /// Nothing is left of these, and the server has not been told.
    removed: BTreeSet<LoadBalancerId>,
}

#[derive(Clone, Debug, Serialize)]
struct Told {
    epoch: u32,
    #[serde(flatten)]
    report: LoadBalancerReport,
}

#[derive(Serialize)]
struct Status<'a> {
    load_balancers: Vec<&'a Told>,
}

impl Reports {
    /// What a former agent said is not so any more.
    pub(crate) fn new(file: PathBuf) -> Self {
        if let Err(error) = fs::remove_file(&file) {
            tracing::debug!(file = %file.display(), %error, "no old status");
        }
        Self {
            file,
            inner: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes a report; told at once when more than its counters changed.
    pub(crate) fn put(&self, epoch: u32, report: LoadBalancerReport) {
        let id = report.id;
        let told = Told { epoch, report };
        {
            let mut inner = self.lock();
            let same = inner.reports.get(&id).is_some_and(|old| {
                let mut old = old.clone();
                old.report.listeners.clone_from(&told.report.listeners);
                old.epoch == told.epoch && old.report == told.report
            });
            // One that has not been applied yet has nothing to tell that cannot wait for the next
            // regular report: what would be told on the way keeps what is waited for from being told.
            let begins = told.report.applied_generation == 0
                && told.report.error.is_none()
                && told.report.failed_listeners.is_empty();
            inner.reports.insert(id, told);
            if same {
                return;
            }
            self.write_status(&inner);
            if begins {
                return;
            }
            inner.dirty.insert(id);
        }
        self.changed.notify_one();
    }

    /// Nothing is left of a load balancer.
    pub(crate) fn removed(&self, id: LoadBalancerId) {
        {
            let mut inner = self.lock();
            inner.reports.remove(&id);
            inner.dirty.remove(&id);
            inner.removed.insert(id);
            self.write_status(&inner);
        }
        self.changed.notify_one();
    }

    /// It is carried again: not removed any more.
    pub(crate) fn carried(&self, id: LoadBalancerId) {
        self.lock().removed.remove(&id);
    }

    /// Waits for something that must be told at once.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What changed, and what is gone.
    pub(crate) fn take_changed(&self) -> (Vec<LoadBalancerReport>, Vec<LoadBalancerId>) {
        let mut inner = self.lock();
        let dirty = std::mem::take(&mut inner.dirty);
        let reports = dirty.iter().filter_map(|id| inner.reports.get(id));
        (
            reports.map(|told| told.report.clone()).collect(),
            inner.removed.iter().copied().collect(),
        )
    }

    /// Everything.
    pub(crate) fn all(&self) -> (Vec<LoadBalancerReport>, Vec<LoadBalancerId>) {
        let mut inner = self.lock();
        inner.dirty.clear();
        (
            inner
                .reports
                .values()
                .map(|told| told.report.clone())
                .collect(),
            inner.removed.iter().copied().collect(),
        )
    }

    /// The server has taken note that nothing is left of these.
    pub(crate) fn removal_told(&self, ids: &[LoadBalancerId]) {
        let mut inner = self.lock();
        for id in ids {
            inner.removed.remove(id);
        }
    }

    /// Nothing is left of these, which the server does not know yet.
    pub(crate) fn untold_removals(&self) -> BTreeSet<LoadBalancerId> {
        self.lock().removed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of it is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For people and tests: best effort, on a file system in memory.
    fn write_status(&self, inner: &Inner) {
        let status = Status {
            load_balancers: inner.reports.values().collect(),
        };
        let new = self.file.with_extension("json.new");
        let written = serde_json::to_vec_pretty(&status)
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.file));
        if let Err(error) = written {
            tracing::warn!(file = %self.file.display(), %error, "cannot write the status");
        }
    }
}
