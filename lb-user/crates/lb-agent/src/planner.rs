//! One writer of the maps: from specs and what is seen of interfaces to writes, one load balancer
//! at a time.
//!
//! Places are on disk before the maps name them, so that a restarted agent finds every object where
//! the packets find it.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use lb_model::{
    id::{LoadBalancerId, NetworkId},
    spec::LoadBalancerSpec,
};
use lb_plan::datapath::{
    Allocations, DesiredMaps, Facts, Health, InUse, Uplink, clear_freed, diff, host, load_balancer,
};

use crate::{
    Error, L4Limits, Result,
    bpf::Datapath,
    desired::Disk,
    edge::{Uplinks, Veths},
};
use lb_model::id::AmphoraId;

/// What the maps hold, and who has which place in them.
#[derive(Debug)]
pub(crate) struct Planner {
    datapath: Arc<Datapath>,
    allocations: Allocations,
    uplinks: Uplinks,
    /// Segments of networks, learnt from specs.
    segments: BTreeMap<NetworkId, u32>,
    denied: Vec<IpNet>,
    limits: L4Limits,
    host: DesiredMaps,
    current: BTreeMap<LoadBalancerId, DesiredMaps>,
    /// What `current` was planned with.
    health: BTreeMap<LoadBalancerId, Health>,
    /// A write failed half way: what the maps hold must be read before the next.
    unsure: bool,
    /// Goes up with every change: what a sweep found is of use only when nothing changed meanwhile.
    version: u64,
}

impl Planner {
    pub(crate) fn new(
        datapath: Arc<Datapath>,
        allocations: Allocations,
        uplinks: Uplinks,
        denied: Vec<IpNet>,
        limits: L4Limits,
    ) -> Self {
        Self {
            datapath,
            allocations,
            uplinks,
            segments: BTreeMap::new(),
            denied,
            limits,
            host: DesiredMaps::default(),
            current: BTreeMap::new(),
            health: BTreeMap::new(),
            unsure: false,
            version: 0,
        }
    }

    pub(crate) const fn allocations(&self) -> &Allocations {
        &self.allocations
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Plans without writing: before [`Planner::adopt`].
    pub(crate) fn prepare(
        &mut self,
        disk: &Disk,
        spec: &LoadBalancerSpec,
        veths: &BTreeMap<AmphoraId, Veths>,
    ) -> Result<()> {
        self.learn(spec);
        let health = disk.health(spec.id);
        let maps = self.plan(disk, spec, veths, &health)?;
        self.current.insert(spec.id, maps);
        self.health.insert(spec.id, health);
        Ok(())
    }

    /// Brings the maps from what a former agent left in them to what was prepared. Those of `specs`
    /// that could not be prepared stay as they are: packets must not suffer from our trouble.
    pub(crate) async fn adopt<'a>(
        &mut self,
        specs: impl Iterator<Item = &'a LoadBalancerSpec>,
    ) -> Result<()> {
        let datapath = Arc::clone(&self.datapath);
        let found = tokio::task::spawn_blocking(move || datapath.read()).await;
        let found = found.map_err(|error| Error::Other(error.to_string()))??;
        for spec in specs {
            if self.current.contains_key(&spec.id) {
                continue;
            }
            if let Some(index) = self.allocations.load_balancer(spec.id) {
                self.learn(spec);
                self.current.insert(spec.id, found.of_load_balancer(index));
            }
        }
        self.host = host(&self.facts(&BTreeMap::new()));
        let all = self.all();
        self.change(&found, &all).await
    }

    /// Puts a load balancer into the maps.
    pub(crate) async fn apply(
        &mut self,
        disk: &Disk,
        spec: &LoadBalancerSpec,
        veths: &BTreeMap<AmphoraId, Veths>,
        health: &Health,
    ) -> Result<()> {
        if self.learn(spec) {
            let wanted = host(&self.facts(&BTreeMap::new()));
            let before = std::mem::replace(&mut self.host, wanted.clone());
            self.change(&before, &wanted).await?;
        }
        let maps = self.plan(disk, spec, veths, health)?;
        if self.health.get(&spec.id) != Some(health) {
            disk.put_health(spec.id, health)?;
            self.health.insert(spec.id, health.clone());
        }
        let before = self.current.insert(spec.id, maps.clone());
        self.change(&before.unwrap_or_default(), &maps).await
    }

    /// Takes a load balancer out of the maps.
    pub(crate) async fn remove(&mut self, disk: &Disk, id: LoadBalancerId) -> Result<()> {
        let before = self.current.remove(&id).unwrap_or_default();
        self.change(&before, &DesiredMaps::default()).await?;
        self.allocations.remove(id);
        self.health.remove(&id);
        self.version += 1;
        disk.put_allocations(&self.allocations)
    }

    /// Frees places that were given up and that no flow names, and clears the records that stayed
    /// for those flows, when nothing changed since `version`.
    pub(crate) async fn reclaim(
        &mut self,
        disk: &Disk,
        version: u64,
        in_use: &InUse,
    ) -> Result<()> {
        if self.version != version {
            return Ok(());
        }
        let mut next = self.allocations.clone();
        let freed = next.reclaim(in_use);
        if next == self.allocations {
            return Ok(());
        }
        disk.put_allocations(&next)?;
        self.allocations = next;
        let writes = clear_freed(&freed);
        let datapath = Arc::clone(&self.datapath);
        // A record that stays after a failure is overwritten by the next owner of its index.
        tokio::task::spawn_blocking(move || datapath.apply(&writes))
            .await
            .map_err(|error| Error::Other(error.to_string()))??;
        Ok(())
    }

    fn plan(
        &mut self,
        disk: &Disk,
        spec: &LoadBalancerSpec,
        veths: &BTreeMap<AmphoraId, Veths>,
        health: &Health,
    ) -> Result<DesiredMaps> {
        let mut next = self.allocations.clone();
        let maps = load_balancer(spec, &mut next, &self.facts(veths), health)
            .map_err(|error| Error::Other(error.to_string()))?;
        if next != self.allocations {
            disk.put_allocations(&next)?;
            self.allocations = next;
        }
        self.version += 1;
        Ok(maps)
    }

    /// Notes segments; `true` when there was a new one.
    fn learn(&mut self, spec: &LoadBalancerSpec) -> bool {
        let mut new = false;
        for subnet in &spec.subnets {
            let before = self.segments.insert(subnet.network_id, subnet.segment);
            new |= before != Some(subnet.segment);
        }
        new
    }

    fn facts(&self, veths: &BTreeMap<AmphoraId, Veths>) -> Facts {
        let uplinks = self.uplinks.iter().filter_map(|(network, link)| {
            let uplink = Uplink {
                ifindex: link.index,
                mac: link.mac,
                segment: *self.segments.get(&network)?,
                mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
                // Every driver with XDP has XDP_TX; a veth loses it without a program on its peer.
                returns: link.hardware,
            };
            Some((network, uplink))
        });
        let veths = veths.iter().flat_map(|(amphora, of)| {
            of.iter()
                .map(|(network, veth)| ((*amphora, *network), *veth))
        });
        Facts {
            uplinks: uplinks.collect(),
            veths: veths.collect(),
            denied: self.denied.clone(),
            share: self.limits.share(),
            syn_per_second: self.limits.syn_per_second,
        }
    }

    /// Writes what differs; of everything, against what the kernel has, when that is not known.
    async fn change(&mut self, before: &DesiredMaps, after: &DesiredMaps) -> Result<()> {
        let datapath = Arc::clone(&self.datapath);
        let unsure = std::mem::replace(&mut self.unsure, true);
        // Reading and writing wait for the kernel: on a thread that may block.
        let work = if unsure {
            let all = self.all();
            tokio::task::spawn_blocking(move || datapath.apply(&diff(&datapath.read()?, &all)))
        } else {
            let writes = diff(before, after);
            tokio::task::spawn_blocking(move || datapath.apply(&writes))
        };
        work.await
            .map_err(|error| Error::Other(error.to_string()))??;
        self.unsure = false;
        Ok(())
    }

    /// Everything that the maps must hold.
    fn all(&self) -> DesiredMaps {
        let mut all = self.host.clone();
        self.current.values().for_each(|maps| all.merge(maps));
        all
    }
}
