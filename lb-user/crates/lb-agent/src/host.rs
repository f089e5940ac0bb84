//! What all load balancers of a host share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use lb_model::{id::AmphoraId, spec::LoadBalancerSpec};
use lb_plan::datapath::{Allocations, Health};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::{
    AgentConfig, Error, Origin, Result,
    bpf::{Attachment, Datapath},
    carrier::Input,
    desired::Disk,
    edge::{Addresses, NeighbourEvent, Netlink, NextHops, Sysctls, Uplinks, Veths, host_addresses},
    flow_log::FlowLogWriter,
    planner::Planner,
    reports::Reports,
    spares::{self, Spares},
};

/// How long a change waits for next hops of new members to be resolved.
const RESOLVE_LIMIT: Duration = Duration::from_millis(500);

/// Shared by all carriers.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: AgentConfig,
    pub(crate) disk: Disk,
    pub(crate) datapath: Arc<Datapath>,
    pub(crate) edge: Netlink,
    pub(crate) uplinks: Uplinks,
    pub(crate) planner: Mutex<Planner>,
    pub(crate) reports: Reports,
    /// Amphorae that were made before they are needed.
    pub(crate) spares: Arc<Spares>,
    /// Where amphorae's lines go.
    pub(crate) flow_log: Option<FlowLogWriter>,
    /// Every address of the host itself.
    pub(crate) addresses_of_host: Vec<std::net::IpAddr>,
    addresses: Mutex<Addresses>,
    hops: Mutex<NextHops>,
    resolved: Notify,
    /// Who wants to know of an interface (by number).
    links: StdMutex<BTreeMap<u32, mpsc::UnboundedSender<Input>>>,
}

/// Where a load balancer and its amphorae are in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) load_balancer: u32,
    pub(crate) amphorae: BTreeMap<AmphoraId, u16>,
    pub(crate) listeners: BTreeMap<lb_model::id::ListenerId, u32>,
}

impl Host {
    /// Loads or adopts the data path and prepares the interfaces.
    pub(crate) async fn prepare(config: AgentConfig, origin: &Origin) -> Result<Self> {
        let disk = Disk::open(config.agent_dir())?;
        lb_sys::unix::private_dir(&config.run_dir)?;
        lb_sys::unix::private_dir(&config.amphorae_dir())?;
        lb_sys::unix::private_dir(&config.spares_dir())?;
        let edge = Netlink::here()?;
        let mut sysctls = Sysctls::open(disk.sysctls_path())?;
        let uplinks = Uplinks::prepare(&config, &edge, &mut sysctls).await?;
        let addresses = Addresses::prepare(&edge).await?;
        let addresses_of_host = host_addresses(&edge, origin).await?;
        let mut denied: Vec<IpNet> = addresses_of_host.iter().map(|a| IpNet::from(*a)).collect();
        denied.extend(&config.deny);
        let datapath = Arc::new(Datapath::open(&config.bpf_dir)?);
        // Before anything is carried: one that was becoming an amphora may have half of its names.
        let detach = |veth: &str| Ok(datapath.detach(Attachment::Answer, veth)?);
        if let Err(error) = spares::remove_left(&config, &edge, detach).await {
            tracing::warn!(%error, "spare amphorae of a former agent are left");
        }
        let allocations = load_allocations(&disk, &datapath)?;
        datapath.configure(allocations.hash_seed())?;
        let planner = Planner::new(
            Arc::clone(&datapath),
            allocations,
            uplinks.clone(),
            denied,
            config.l4,
        );
        // Without its log a host still carries its load balancers.
        let flow_log = config.flow_log.as_ref().and_then(|config| {
            FlowLogWriter::open(config)
                .inspect_err(|error| tracing::error!(%error, "the flow log cannot be opened"))
                .ok()
        });
        Ok(Self {
            flow_log,
            spares: Arc::default(),
            reports: Reports::new(config.run_dir.join("agent.json")),
            config,
            disk,
            datapath,
            edge,
            uplinks,
            planner: Mutex::new(planner),
            addresses_of_host,
            addresses: Mutex::new(addresses),
            hops: Mutex::new(NextHops::default()),
            resolved: Notify::new(),
            links: StdMutex::new(BTreeMap::new()),
        })
    }

    /// Puts XDP on the uplinks, and off what is not ours any more.
    pub(crate) fn attach_uplinks(&self) -> Result<()> {
        for link in self.uplinks.all() {
            let mode = self.datapath.attach_uplink(&link.name)?;
            tracing::info!(interface = link.name, ?mode, "XDP attached");
        }
        let ours = |index| self.uplinks.all().iter().any(|link| link.index == index);
        self.datapath.retain(Attachment::Uplink, ours)?;
        Ok(())
    }

    /// Answers for the addresses of a load balancer.
    pub(crate) async fn apply_addresses(&self, spec: &LoadBalancerSpec) -> Result<()> {
        let mut addresses = self.addresses.lock().await;
        addresses.apply(&self.edge, &self.uplinks, spec).await
    }

    /// Answers no more for addresses that no load balancer on disk has.
    pub(crate) async fn forget_unknown_addresses<'a>(
        &self,
        known: impl Iterator<Item = &'a LoadBalancerSpec>,
    ) -> Result<()> {
        let addresses = self.addresses.lock().await;
        addresses
            .remove_unknown(&self.edge, &self.uplinks, known)
            .await
    }

    /// Puts a load balancer into the maps and sees to the next hops of its members.
    pub(crate) async fn apply_maps(
        &self,
        spec: &LoadBalancerSpec,
        veths: &BTreeMap<AmphoraId, Veths>,
        health: &Health,
    ) -> Result<Places> {
        let places = {
            let mut planner = self.planner.lock().await;
            planner.apply(&self.disk, spec, veths, health).await?;
            places(planner.allocations(), spec)?
        };
        self.apply_next_hops(spec).await?;
        Ok(places)
    }

    /// Where things are after a plan.
    pub(crate) async fn places(&self, spec: &LoadBalancerSpec) -> Result<Places> {
        places(self.planner.lock().await.allocations(), spec)
    }

    pub(crate) async fn apply_next_hops(&self, spec: &LoadBalancerSpec) -> Result<()> {
        let allocations = self.planner.lock().await.allocations().clone();
        let index = |pool: &lb_model::spec::PoolSpec, member: &lb_model::spec::MemberSpec| {
            allocations.member(spec.id, pool.id, member.id)
        };
        let deadline = tokio::time::Instant::now() + RESOLVE_LIMIT;
        loop {
            let resolved = self.resolved.notified();
            let members = {
                let mut hops = self.hops.lock().await;
                hops.apply(&self.edge, &self.uplinks, spec, index).await?
            };
            let mut missing = false;
            for (member, mac) in members {
                missing |= mac.is_none();
                if mac.is_some() {
                    self.datapath.set_neighbour(member, mac)?;
                }
            }
            // A member that is not there does not keep a change from being applied.
            let timed_out = !missing || tokio::time::timeout_at(deadline, resolved).await.is_err();
            if timed_out {
                return Ok(());
            }
        }
    }

    /// Takes note of a neighbour.
    pub(crate) async fn neighbour(&self, event: NeighbourEvent) {
        let members = self.hops.lock().await.learn(event.hop, event.mac);
        for member in members {
            if let Err(error) = self.datapath.set_neighbour(member, event.mac) {
                tracing::error!(%error, "cannot tell the data path a next hop");
            }
        }
        self.resolved.notify_waiters();
    }

    /// Takes a load balancer out of everything that is shared.
    pub(crate) async fn forget(&self, spec: &LoadBalancerSpec, places: &Places) -> Result<()> {
        self.planner
            .lock()
            .await
            .remove(&self.disk, spec.id)
            .await?;
        if places.load_balancer != 0 {
            self.datapath.forget_steer(places.load_balancer)?;
        }
        for index in places.amphorae.values() {
            self.datapath.forget_heartbeat(*index)?;
        }
        self.addresses
            .lock()
            .await
            .remove(&self.edge, spec.id)
            .await?;
        self.hops.lock().await.remove(&self.edge, spec.id).await
    }

    /// Tells `who` of these interfaces from now on.
    pub(crate) fn watch_links(
        &self,
        indices: impl Iterator<Item = u32>,
        who: &mpsc::UnboundedSender<Input>,
    ) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, sender| !sender.is_closed());
        for index in indices {
            links.insert(index, who.clone());
        }
    }

    /// Passes on what became of an interface.
    pub(crate) fn link_changed(&self, index: u32, usable: bool) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(who) = links.get(&index)
            && who.send(Input::Link { index, usable }).is_err()
        {
            tracing::debug!(index, "nobody watches this interface any more");
        }
    }
}

fn places(allocations: &Allocations, spec: &LoadBalancerSpec) -> Result<Places> {
    let missing = || Error::Other(format!("load balancer {} has no place", spec.id));
    let amphorae = spec.amphorae.iter().filter_map(|amphora| {
        let index = allocations.amphora(spec.id, amphora.id)?;
        Some((amphora.id, index))
    });
    let listeners = spec.listeners.iter().filter_map(|listener| {
        let index = allocations.listener(spec.id, listener.id)?;
        Some((listener.id, index))
    });
    Ok(Places {
        load_balancer: allocations.load_balancer(spec.id).ok_or_else(missing)?,
        amphorae: amphorae.collect(),
        listeners: listeners.collect(),
    })
}

/// Those on disk, if they are of the maps that are there.
fn load_allocations(disk: &Disk, datapath: &Datapath) -> Result<Allocations> {
    let seed = datapath.hash_seed()?;
    let stored = match disk.allocations() {
        // Maps that were just made hold nothing that could be mixed up: the host was restarted.
        Err(error) if seed.is_none() => {
            tracing::warn!(%error, "places are given anew");
            None
        }
        other => other?,
    };
    match stored {
        Some(stored) if seed.is_none_or(|seed| seed == stored.hash_seed()) => Ok(stored),
        // Other places than the maps have: everything is written anew.
        Some(stored) => {
            tracing::warn!("the maps are not those of our state: they are rewritten");
            Ok(stored)
        }
        None => {
            let allocations = Allocations::new(random());
            disk.put_allocations(&allocations)?;
            Ok(allocations)
        }
    }
}

fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(17)
}
