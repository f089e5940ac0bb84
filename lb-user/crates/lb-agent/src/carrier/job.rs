//! What takes its time: networks of amphorae, addresses, maps. One job at a time for each carrier,
//! beside it; what it found comes back as an input.

use std::{collections::BTreeMap, sync::Arc};

use lb_model::{id::AmphoraId, spec::LoadBalancerSpec};
use lb_plan::datapath::Health;
use tokio::{sync::mpsc, time::Instant};

use super::{Carrier, Input, Network, RETRY};
use crate::{
    Error, Result,
    bpf::Attachment,
    edge::AmphoraNetwork,
    host::{Host, Places},
};

/// What a job has done.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Networks and addresses of this generation are there.
    Networks(u64, BTreeMap<AmphoraId, Network>),
    /// Everything of this generation is in the maps, with this health of members.
    Mapped(u64, Places, Health),
    /// It could not be done.
    Failed(String),
}

/// Networks that need no look.
type Present = BTreeMap<AmphoraId, Network>;

impl Carrier {
    /// Starts a job if one is wanted and none runs.
    pub(super) fn start_job(&mut self) {
        let due = self.job_wanted || self.retry_at.is_some_and(|at| at <= Instant::now());
        if !due || self.job_runs || self.removing.is_some() {
            return;
        }
        (self.job_wanted, self.job_runs, self.retry_at) = (false, true, None);
        let present = self.slots.iter().filter(|slot| !slot.stale);
        let present = present
            .filter_map(|slot| Some((slot.id, slot.network.clone()?)))
            .collect();
        let old = self.slots.iter();
        let old = old
            .filter_map(|slot| Some((slot.id, slot.network.clone()?)))
            .collect();
        let (host, spec) = (Arc::clone(&self.host), Arc::clone(&self.spec));
        let (health, own) = (self.health.clone(), self.own.clone());
        lb_telemetry::task::spawn("carrier-job", async move {
            let outcome = match run(&host, &spec, (present, old), health, &own).await {
                Ok(outcome) => outcome,
                Err(error) => Outcome::Failed(error.to_string()),
            };
            if own.send(Input::Job(outcome)).is_err() {
                tracing::debug!("a carrier ended before its job");
            }
        });
    }

    pub(super) fn job_done(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Networks(generation, networks) => {
                for slot in &mut self.slots {
                    if let Some(network) = networks.get(&slot.id) {
                        slot.network = Some(network.clone());
                        slot.link |= slot.stale;
                        slot.stale = false;
                    }
                }
                self.watch_links();
                if self.networks_generation < generation {
                    self.networks_generation = generation;
                    self.configure();
                }
            }
            Outcome::Mapped(generation, places, health) => {
                tracing::debug!(load_balancer = %self.spec.id, generation, "in the maps");
                self.job_runs = false;
                self.maps_generation = self.maps_generation.max(generation);
                self.mapped_health = health;
                self.error = None;
                self.placed(places);
                // What changed while it ran.
                self.job_wanted |= self.spec.generation != generation
                    || self.slots.iter().any(|slot| slot.stale)
                    || self.health_matters();
            }
            Outcome::Failed(error) => {
                self.job_runs = false;
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(load_balancer = %self.spec.id, error, "cannot be carried");
                }
                self.error = Some(error);
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Interfaces of its amphorae, to be told of.
    pub(super) fn watch_links(&self) {
        let networks = self.slots.iter().filter_map(|slot| slot.network.as_ref());
        let indices = networks.flat_map(|network| network.veths.values().map(|veth| veth.ifindex));
        self.host.watch_links(indices, &self.own);
    }
}

async fn run(
    host: &Arc<Host>,
    spec: &LoadBalancerSpec,
    (present, old): (Present, Present),
    health: Health,
    own: &mpsc::UnboundedSender<Input>,
) -> Result<Outcome> {
    // Beside everything else: it waits for the disk.
    let (kept, id) = (Arc::clone(host), spec.id);
    let kept = tokio::task::spawn_blocking(move || kept.disk.sync_spec(id));
    let networks = networks(host, spec, &present, &old).await?;
    host.apply_addresses(spec).await?;
    let veths = networks.iter();
    let veths = veths
        .map(|(id, network)| (*id, network.veths.clone()))
        .collect();
    if own
        .send(Input::Job(Outcome::Networks(spec.generation, networks)))
        .is_err()
    {
        tracing::debug!("a carrier ended before its job");
    }
    let places = host.apply_maps(spec, &veths, &health).await?;
    kept.await
        .map_err(|error| Error::Other(error.to_string()))??;
    Ok(Outcome::Mapped(spec.generation, places, health))
}

/// The networks of all amphorae; those that are missing are made beside each other: most of it is
/// waiting for the kernel.
async fn networks(
    host: &Arc<Host>,
    spec: &LoadBalancerSpec,
    present: &Present,
    old: &Present,
) -> Result<Present> {
    let mut networks = Present::new();
    let mut made = Vec::new();
    for amphora in &spec.amphorae {
        let wanted = AmphoraNetwork::new(spec, amphora, &host.uplinks)?;
        let there = present.get(&amphora.id);
        if let Some(network) = there.filter(|network| network.wanted == wanted) {
            networks.insert(amphora.id, network.clone());
            continue;
        }
        let (host, old) = (Arc::clone(host), old.get(&amphora.id).cloned());
        let making = lb_telemetry::task::spawn("amphora-network", async move {
            ensure(&host, wanted, old.as_ref()).await
        });
        made.push((amphora.id, making));
    }
    // All of them end before the first failure is told: what comes next may make them again.
    let mut failed = None;
    for (id, making) in made {
        match making.await {
            Ok(Some(Ok(network))) => drop(networks.insert(id, network)),
            Ok(Some(Err(error))) => failed = Some(error),
            Ok(None) | Err(_) => failed = Some(Error::Other("it was not finished".to_owned())),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(networks),
    }
}

/// Makes an amphora's network and lets its answers out.
pub(crate) async fn ensure(
    host: &Arc<Host>,
    wanted: AmphoraNetwork,
    old: Option<&Network>,
) -> Result<Network> {
    // What is there is never given up for a spare.
    if old.is_none() && !lb_sys::netns::exists(&crate::edge::netns_name(wanted.id())) {
        host.spares.take(host, &wanted).await;
    }
    let veths = wanted.ensure(&host.edge).await?;
    for (network, name) in wanted.veth_names() {
        let of = |veths: &crate::edge::Veths| veths.get(&network).map(|veth| veth.ifindex);
        let before = old.and_then(|old| of(&old.veths));
        if before.is_some() && before != of(&veths) {
            host.datapath.detach(Attachment::Answer, &name)?;
        }
        host.datapath.attach_answer(&name)?;
    }
    Ok(Network { wanted, veths })
}
