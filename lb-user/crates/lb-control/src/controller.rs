//! The shared part: store, settings, and what is remembered to spare work.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lb_model::{
    capability::CapabilitySet,
    id::{ListenerId, LoadBalancerId},
    spec::LoadBalancerReport,
};
use lb_store::{Head, Store};
use tokio::{sync::Notify, time::Instant};

use crate::{error::ControlError, heads::Heads, observed::Unwritten};

/// Name of the setting that holds the host chosen first.
const HOST_SETTING: &str = "placement_host";
/// How often "last seen" of a host is written down.
const SEEN_PERIOD: Duration = Duration::from_secs(10);

/// How often what a host can do is written down although it is what this server wrote last: another
/// server may have written something else since.
const DECLARED_PERIOD: Duration = Duration::from_secs(60);

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host load balancers are placed on; `None`: the first that ever asks.
    pub host: Option<String>,
    /// How long an object may be PENDING_* before it settles in ERROR.
    pub pending_timeout: Duration,
}

/// One per server process.
#[derive(Debug)]
pub struct Controller {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) heads: Heads,
    /// There is something in [`Memory::unwritten`].
    pub(crate) to_write: Notify,
    memory: Mutex<Memory>,
}

/// A specification that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) generation: u64,
    /// The listeners that are not in it, because what they need cannot be used.
    pub(crate) left_out: BTreeSet<ListenerId>,
}

/// May be lost at any time.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What was folded in last without changing anything: where the load balancer stood, the
    /// report without its counters, and the generation its host had received.
    pub(crate) folded: HashMap<LoadBalancerId, (Head, LoadBalancerReport, Option<u64>)>,
    /// What each host said it has received, when it last asked.
    pub(crate) known: HashMap<String, BTreeMap<LoadBalancerId, u64>>,
    /// What was sent of load balancers that were pending when a report was last taken in.
    pub(crate) sent: HashMap<LoadBalancerId, Sent>,
    /// Since when, at the latest, a generation is pending.
    pub(crate) pending: HashMap<LoadBalancerId, (u64, Instant)>,
    /// Counters and health that are not written yet.
    pub(crate) unwritten: Unwritten,
    /// The host chosen first; never another.
    first_host: Option<String>,
    /// When hosts were last written down, with which addresses.
    seen: HashMap<String, (Instant, BTreeSet<IpAddr>)>,
    /// What each host declared last.
    declared: HashMap<String, (Instant, CapabilitySet)>,
    /// What each host has that the database does not know, as it was written down last.
    pub(crate) orphans: HashMap<String, BTreeMap<LoadBalancerId, u64>>,
    /// When each of them was last asked to tell of one of those; `None`: it has told.
    pub(crate) asked_of: HashMap<(String, LoadBalancerId), Option<Instant>>,
    /// Load balancers whose specification cannot be built, by the generation this was told for.
    pub(crate) unbuildable: HashMap<LoadBalancerId, u64>,
}

impl Controller {
    /// Does nothing yet: it is the handler of [`lb_wire::server::serve`], and
    /// [`Self::converge`] runs beside.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            heads: Heads::new(&store),
            store,
            settings,
            to_write: Notify::new(),
            memory: Mutex::default(),
        })
    }

    /// A panic elsewhere cannot leave the memory wrong: every entry is replaced as a whole.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a host was heard of; at once when its addresses changed, else now and then.
    pub(crate) async fn heard_of(
        &self,
        host: &str,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<(), ControlError> {
        let now = Instant::now();
        let known = self.memory().seen.get(host).cloned();
        let moved = known.as_ref().is_none_or(|(_, known)| known != addresses);
        if !moved && known.is_some_and(|(when, _)| now.duration_since(when) < SEEN_PERIOD) {
            return Ok(());
        }
        let entry = (now, addresses.clone());
        if moved {
            self.store.report_host(host, addresses).await?;
            self.memory().seen.insert(host.to_owned(), entry);
            return Ok(());
        }
        // Nothing waits for the time alone.
        self.memory().seen.insert(host.to_owned(), entry);
        let (store, host, addresses) = (self.store.clone(), host.to_owned(), addresses.clone());
        lb_telemetry::task::spawn("host-seen", async move {
            if let Err(error) = store.report_host(&host, &addresses).await {
                tracing::warn!(host, %error, "that a host was heard of is not written down");
            }
        });
        Ok(())
    }

    /// Writes down what a host's data path can do, when it is not what was declared last.
    pub(crate) async fn note_capabilities(
        &self,
        host: &str,
        names: &BTreeSet<String>,
    ) -> Result<(), ControlError> {
        let now = Instant::now();
        let declared = CapabilitySet::from_names(names);
        let known = self.memory().declared.get(host).cloned();
        let same = known.as_ref().is_some_and(|(_, known)| *known == declared);
        if same && known.is_some_and(|(when, _)| now.duration_since(when) < DECLARED_PERIOD) {
            return Ok(());
        }
        self.store.declare_capabilities(host, &declared).await?;
        if !same {
            tracing::info!(host, names = ?declared.names(), "what the host can do");
        }
        let mut memory = self.memory();
        memory.declared.insert(host.to_owned(), (now, declared));
        Ok(())
    }

    /// Whether load balancers without a host yet belong to `host`.
    pub(crate) async fn is_placed_on(&self, host: &str) -> Result<bool, ControlError> {
        if let Some(configured) = &self.settings.host {
            return Ok(configured == host);
        }
        let known = self.memory().first_host.clone();
        let first = match known {
            Some(first) => first,
            // Hosts that ask for the first time at the same moment, of whichever server: one is first.
            None => self.store.setting_or(HOST_SETTING, host).await?,
        };
        let is_first = first == host;
        let mut memory = self.memory();
        if memory.first_host.is_none() {
            tracing::info!(host = first, "load balancers are placed on the first host");
            memory.first_host = Some(first);
        }
        Ok(is_first)
    }
}
