//! What a carrier does with what it is told, and with the passing of time.

use std::sync::Arc;

use lb_model::spec::LoadBalancerSpec;
use lb_sys::clock::monotonic_ns;
use tokio::time::Instant;

use super::{Carrier, Input, Places, TICK};
use crate::edge::AmphoraNetwork;

impl Carrier {
    pub(super) async fn take(&mut self, input: Input) {
        match input {
            Input::Spec(spec) => self.take_spec(spec),
            Input::Link { index, usable } => self.link_changed(index, usable).await,
            Input::Job(outcome) => self.job_done(outcome),
            Input::Remove(done) => self.removing = Some(done),
            // That is what follows anyway.
            Input::Look => {}
        }
    }

    fn take_spec(&mut self, spec: Arc<LoadBalancerSpec>) {
        if *spec == *self.spec {
            return;
        }
        tracing::debug!(load_balancer = %spec.id, generation = spec.generation, "specification");
        self.spec = spec;
        self.match_slots();
        self.job_wanted = true;
        // Amphorae that need nothing else first are told at once.
        if self.networks_stand() {
            self.networks_generation = self.spec.generation;
            self.configure();
        }
    }

    fn networks_stand(&self) -> bool {
        self.spec.amphorae.iter().all(|amphora| {
            let slot = self.slots.iter().find(|slot| slot.id == amphora.id);
            let network = slot
                .filter(|slot| !slot.stale)
                .and_then(|slot| slot.network.as_ref());
            let wanted = AmphoraNetwork::new(&self.spec, amphora, &self.host.uplinks).ok();
            network.map(|network| &network.wanted) == wanted.as_ref()
        })
    }

    /// The maps say where everything is.
    pub(super) fn placed(&mut self, places: Places) {
        if self.places.as_ref().map(|places| places.load_balancer) != Some(places.load_balancer) {
            match self.host.datapath.read_steer(places.load_balancer) {
                Ok(steer) => self.steer = steer,
                Err(error) => tracing::error!(%error, "cannot tell who is active"),
            }
        }
        for slot in &mut self.slots {
            slot.index = places.amphorae.get(&slot.id).copied();
        }
        self.places = Some(places);
        self.adopt_heartbeats();
    }

    /// An event may be older than what we did since: the kernel is asked how it is now.
    async fn link_changed(&mut self, index: u32, usable: bool) {
        let host = Arc::clone(&self.host);
        for slot in &mut self.slots {
            let Some(network) = &slot.network else {
                continue;
            };
            if !network.veths.values().any(|veth| veth.ifindex == index) {
                continue;
            }
            let mut all = usable || !slot.link;
            if !all || !slot.link {
                all = true;
                for (id, name) in network.wanted.veth_names() {
                    let wanted = network.veths.get(&id).map(|veth| veth.ifindex);
                    let now = host.edge.link(&name).await.ok().flatten();
                    all &= now
                        .is_some_and(|link| link.up && link.carrier && Some(link.index) == wanted);
                }
            }
            if slot.link != all {
                tracing::info!(amphora = %slot.id, usable = all, "link of an amphora");
                slot.link = all;
            }
        }
    }

    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let regular = self.last_tick.is_some_and(|last| now - last < TICK * 2);
        self.last_tick = Some(now);
        let now_ns = monotonic_ns();
        for slot in &mut self.slots {
            slot.look(now_ns, regular);
        }
        self.kill_overdue();
    }
}
