//! An agent that carries nothing but says it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use lb_model::{
    id::LoadBalancerId,
    spec::{AmphoraReport, ListenerReport, LoadBalancerReport, LoadBalancerSpec, MemberReport},
};
use lb_wire::{
    client::SyncClient,
    message::{PROTOCOL_VERSION, ReportRequest, SyncRequest, SyncResponse},
    server::Handler as _,
};

use crate::{Controller, tests::world::HOST};

/// The way to the server.
pub(crate) enum Link {
    Direct(Arc<Controller>),
    Wire(Box<SyncClient>),
}

impl Link {
    async fn sync(&self, request: SyncRequest) -> Option<SyncResponse> {
        match self {
            Self::Direct(controller) => controller.sync(request).await.ok(),
            Self::Wire(client) => client.sync(&request).await.ok(),
        }
    }

    async fn report(&self, request: ReportRequest) -> bool {
        match self {
            Self::Direct(controller) => controller.report(request).await.is_ok(),
            Self::Wire(client) => client.report(&request).await.is_ok(),
        }
    }
}

/// What the agent does with a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Carries it out.
    Willing,
    /// Says that it cannot.
    Unable,
}

/// A running fake agent; ends when dropped.
pub(crate) struct FakeAgent {
    pub(crate) mood: Arc<Mutex<Mood>>,
    task: tokio::task::JoinHandle<Option<()>>,
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeAgent {
    pub(crate) fn start(link: Link, mood: Mood) -> Self {
        let mood = Arc::new(Mutex::new(mood));
        let task = lb_telemetry::task::spawn("fake-agent", run(link, Arc::clone(&mood)));
        Self { mood, task }
    }
}

/// Asks and tells beside each other, as a real agent does.
async fn run(link: Link, mood: Arc<Mutex<Mood>>) {
    let held: Mutex<BTreeMap<LoadBalancerId, LoadBalancerSpec>> = Mutex::default();
    let told = tokio::sync::Notify::new();
    let gone: Mutex<BTreeSet<LoadBalancerId>> = Mutex::default();
    let ask = async {
        loop {
            let known = held
                .lock()
                .unwrap()
                .iter()
                .map(|(id, spec)| (*id, spec.generation))
                .collect();
            let removing = gone.lock().unwrap().clone();
            let Some(answer) = link.sync(sync_request(HOST, known, removing)).await else {
                tokio::task::yield_now().await;
                continue;
            };
            for spec in answer.changed {
                held.lock().unwrap().insert(spec.id, spec);
            }
            for id in answer.gone {
                held.lock().unwrap().remove(&id);
                gone.lock().unwrap().insert(id);
            }
            told.notify_one();
        }
    };
    let tell = async {
        loop {
            let mood = *mood.lock().unwrap();
            let specs: Vec<_> = held.lock().unwrap().values().cloned().collect();
            let removed: Vec<_> = gone.lock().unwrap().iter().copied().collect();
            let reports = specs.iter().map(|spec| report(spec, mood)).collect();
            if link
                .report(report_request(HOST, reports, removed.clone()))
                .await
            {
                gone.lock().unwrap().retain(|id| !removed.contains(id));
            }
            let again = tokio::time::timeout(Duration::from_millis(50), told.notified());
            drop(again.await);
        }
    };
    tokio::join!(ask, tell);
}

pub(crate) fn sync_request(
    host: &str,
    known: BTreeMap<LoadBalancerId, u64>,
    removing: BTreeSet<LoadBalancerId>,
) -> SyncRequest {
    SyncRequest {
        version: PROTOCOL_VERSION,
        host: host.to_owned(),
        host_addresses: vec!["198.51.100.1".parse().unwrap()],
        known,
        since: None,
        dropped: BTreeSet::new(),
        removing,
        capabilities: BTreeSet::new(),
        described: Vec::new(),
    }
}

pub(crate) fn report_request(
    host: &str,
    load_balancers: Vec<LoadBalancerReport>,
    removed: Vec<LoadBalancerId>,
) -> ReportRequest {
    ReportRequest {
        version: PROTOCOL_VERSION,
        host: host.to_owned(),
        load_balancers,
        removed,
    }
}

pub(crate) fn report(spec: &LoadBalancerSpec, mood: Mood) -> LoadBalancerReport {
    let willing = mood == Mood::Willing;
    let amphorae = spec.amphorae.iter().enumerate();
    let members = spec.pools.iter().flat_map(|pool| {
        pool.members.iter().map(|member| MemberReport {
            pool_id: pool.id,
            member_id: member.id,
            up: pool.health_monitor.is_some().then_some(true),
        })
    });
    LoadBalancerReport {
        id: spec.id,
        applied_generation: if willing { spec.generation } else { 0 },
        failover_count: spec.failover_count,
        error: (!willing).then(|| "no room".to_owned()),
        failed_listeners: Vec::new(),
        amphorae: amphorae
            .map(|(index, amphora)| AmphoraReport {
                id: amphora.id,
                active: index == 0,
                ready: willing,
                pid: Some(1),
            })
            .collect(),
        listeners: spec
            .listeners
            .iter()
            .map(|listener| ListenerReport {
                id: listener.id,
                bytes_in: 1,
                bytes_out: 2,
                active_connections: 0,
                total_connections: 3,
                request_errors: 0,
            })
            .collect(),
        members: members.collect(),
    }
}
