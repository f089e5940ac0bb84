//! Which load balancers this host carries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lb_model::{id::LoadBalancerId, spec::LoadBalancerSpec};
use lb_wire::message::Description;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    Result,
    carrier::{self, Found, Input, Network},
    edge::AmphoraNetwork,
    host::Host,
};

/// All carriers of a host.
#[derive(Debug)]
pub(crate) struct Fleet {
    host: Arc<Host>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    carried: BTreeMap<LoadBalancerId, Entry>,
    /// Being taken down.
    removing: BTreeSet<LoadBalancerId>,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<LoadBalancerSpec>,
    carrier: mpsc::UnboundedSender<Input>,
}

impl Fleet {
    /// Carries what is on disk: finds what a former agent left, makes what is missing, brings the
    /// maps to what must be in one go, and only then lets carriers loose.
    pub(crate) async fn adopt(host: Arc<Host>) -> Result<Self> {
        let specs = host.disk.specs()?;
        host.forget_unknown_addresses(specs.values()).await?;
        let mut found = BTreeMap::new();
        for spec in specs.values() {
            match find(&host, spec).await {
                Ok(networks) => {
                    let mapped = prepare(&host, spec, &networks).await;
                    found.insert(spec.id, Found { networks, mapped });
                }
                // Its carrier tries again, and tells.
                Err(error) => {
                    tracing::error!(load_balancer = %spec.id, %error, "cannot be carried yet");
                }
            }
        }
        host.planner.lock().await.adopt(specs.values()).await?;
        let mut inner = Inner::default();
        for (id, spec) in specs {
            let found = found.remove(&id).unwrap_or_default();
            if found.mapped
                && let Err(error) = host.apply_next_hops(&spec).await
            {
                tracing::error!(load_balancer = %id, %error, "no next hops");
            }
            let spec = Arc::new(spec);
            let carrier = carrier::start(Arc::clone(&host), Arc::clone(&spec), found);
            inner.carried.insert(id, Entry { spec, carrier });
        }
        Ok(Self {
            host,
            inner: Mutex::new(inner),
        })
    }

    /// What is held, with its generation, and what is being taken down.
    pub(crate) async fn known(&self) -> (BTreeMap<LoadBalancerId, u64>, BTreeSet<LoadBalancerId>) {
        let inner = self.inner.lock().await;
        let carried = inner.carried.iter();
        // What is gone and not told yet belongs to it: it need not be said again that it must go.
        let mut removing = inner.removing.clone();
        removing.extend(self.host.reports.untold_removals());
        (
            carried
                .map(|(id, entry)| (*id, entry.spec.generation))
                .collect(),
            removing,
        )
    }

    /// Tells of what the server does not know.
    pub(crate) async fn describe(&self, ids: &[LoadBalancerId]) -> Vec<Description> {
        let inner = self.inner.lock().await;
        let entries = ids.iter().filter_map(|id| inner.carried.get(id));
        entries.map(|entry| Description::of(&entry.spec)).collect()
    }

    /// Carries a spec: on disk first. Says whether it was taken.
    pub(crate) async fn put(&self, spec: LoadBalancerSpec) -> Result<bool> {
        let mut inner = self.inner.lock().await;
        if inner.removing.contains(&spec.id) {
            // It comes again with a later answer, when the old one is gone.
            return Ok(false);
        }
        self.host.disk.put_spec(&spec)?;
        self.host.reports.carried(spec.id);
        let id = spec.id;
        let spec = Arc::new(spec);
        let running = inner
            .carried
            .get_mut(&id)
            .filter(|entry| !entry.carrier.is_closed());
        if let Some(entry) = running
            && entry.carrier.send(Input::Spec(Arc::clone(&spec))).is_ok()
        {
            entry.spec = spec;
            return Ok(true);
        }
        let carrier = carrier::start(Arc::clone(&self.host), Arc::clone(&spec), Found::default());
        inner.carried.insert(id, Entry { spec, carrier });
        Ok(true)
    }

    /// Takes a load balancer down; says so in the reports when nothing is left.
    pub(crate) async fn remove(self: &Arc<Self>, id: LoadBalancerId) {
        let mut inner = self.inner.lock().await;
        if inner.removing.contains(&id) {
            return;
        }
        let Some(entry) = inner.carried.remove(&id) else {
            self.host.reports.removed(id);
            return;
        };
        inner.removing.insert(id);
        let fleet = Arc::clone(self);
        lb_telemetry::task::spawn("removal", async move {
            let (done, over) = oneshot::channel();
            if entry.carrier.send(Input::Remove(done)).is_ok() && over.await.is_err() {
                tracing::error!(load_balancer = %id, "its carrier ended");
            }
            fleet.inner.lock().await.removing.remove(&id);
        });
    }

    /// Makes the carrier of the load balancer with this index in the maps look.
    pub(crate) async fn look(&self, index: u32) {
        let id = self
            .host
            .planner
            .lock()
            .await
            .allocations()
            .load_balancer_at(index);
        let inner = self.inner.lock().await;
        if let Some(entry) = id.and_then(|id| inner.carried.get(&id))
            && entry.carrier.send(Input::Look).is_err()
        {
            tracing::debug!(index, "no carrier to look");
        }
    }
}

/// Networks of the amphorae, as they are or made now.
async fn find(
    host: &Arc<Host>,
    spec: &LoadBalancerSpec,
) -> Result<BTreeMap<lb_model::id::AmphoraId, Network>> {
    let mut networks = BTreeMap::new();
    for amphora in &spec.amphorae {
        let wanted = AmphoraNetwork::new(spec, amphora, &host.uplinks)?;
        networks.insert(amphora.id, carrier::ensure(host, wanted, None).await?);
    }
    host.apply_addresses(spec).await?;
    Ok(networks)
}

async fn prepare(
    host: &Host,
    spec: &LoadBalancerSpec,
    networks: &BTreeMap<lb_model::id::AmphoraId, Network>,
) -> bool {
    let veths = networks.iter();
    let veths = veths
        .map(|(id, network)| (*id, network.veths.clone()))
        .collect();
    let prepared = host.planner.lock().await.prepare(&host.disk, spec, &veths);
    prepared
        .inspect_err(|error| tracing::error!(load_balancer = %spec.id, %error, "no place"))
        .is_ok()
}
