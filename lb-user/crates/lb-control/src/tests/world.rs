//! A store in a directory of its own, with one network, and a controller on it.

use std::{path::Path, sync::Arc, time::Duration};

use lb_model::{
    capability::CapabilitySet,
    ctx::{Ctx, Facts},
    enums::{ProvisioningStatus, Topology},
    fault::Fault,
    id::{LoadBalancerId, NetworkId, SubnetId},
    quota::Allowance,
    request::{LoadBalancerCreate, load_balancer::VipRequest},
    resource::Placement,
    tree::{NewLoadBalancer, Tree},
};
use lb_store::{Network, NetworkCatalog, Store, Subnet, Which, now};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::{Controller, Settings};

pub(crate) const HOST: &str = "host-a";
pub(crate) const SUBNET: SubnetId = SubnetId(Uuid::from_u128(4));

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) controller: Arc<Controller>,
    running: DropGuard,
}

impl World {
    pub(crate) async fn new(pending_timeout: Duration) -> Self {
        Self::on(TempDir::new().unwrap(), pending_timeout).await
    }

    async fn on(dir: TempDir, pending_timeout: Duration) -> Self {
        let store = open(dir.path()).await;
        let settings = Settings {
            host: None,
            pending_timeout,
        };
        let controller = Controller::new(store.clone(), settings);
        let shutdown = CancellationToken::new();
        let deadlines = Arc::clone(&controller).watch_deadlines(shutdown.clone());
        lb_telemetry::task::spawn("deadlines", deadlines);
        let observed = Arc::clone(&controller).write_observed(shutdown.clone());
        lb_telemetry::task::spawn("observed", observed);
        Self {
            dir,
            store,
            controller,
            running: shutdown.drop_guard(),
        }
    }

    /// The server dies and starts again on the same state.
    pub(crate) async fn restarted(self, pending_timeout: Duration) -> Self {
        drop(self.running);
        self.store.close().await;
        drop((self.store, self.controller));
        Self::on(self.dir, pending_timeout).await
    }

    /// Creates a load balancer as the API would; `below` is listeners and pools.
    pub(crate) async fn create(&self, below: Value) -> LoadBalancerId {
        let mut body = json!({"vip_subnet_id": SUBNET, "name": "lb"});
        if let (Some(body), Value::Object(below)) = (body.as_object_mut(), below) {
            body.extend(below);
        }
        let request = LoadBalancerCreate::parse(&json!({"loadbalancer": body})).unwrap();
        let id = LoadBalancerId(Uuid::new_v4());
        let vip = VipRequest {
            port_id: None,
            network_id: None,
            subnet_id: Some(SUBNET),
            address: None,
            additional: Vec::new(),
        };
        let facts = self.facts().await;
        let build = |vips: lb_store::Vips| {
            let new = NewLoadBalancer {
                id,
                project_id: "p".to_owned(),
                provider: "amphora".to_owned(),
                placement: Placement::default(),
                topology: Topology::ActiveStandby,
                vip: vips.vip,
                additional_vips: vips.additional,
            };
            let mut new_id = Uuid::new_v4;
            let mut ctx = Ctx {
                now: now(),
                new_id: &mut new_id,
                facts: &facts,
                quota: Allowance::unlimited(),
            };
            Tree::create(request.clone(), new, &mut ctx)
        };
        self.store
            .create_tree(id, "p", &vip, Topology::ActiveStandby, build)
            .await
            .unwrap();
        id
    }

    /// Changes a load balancer as the API would.
    pub(crate) async fn change(
        &self,
        id: LoadBalancerId,
        mut change: impl FnMut(&mut Tree, &mut Ctx<'_>) -> Result<(), Fault> + Send,
    ) {
        let facts = self.facts().await;
        let apply = |tree: &mut Tree| {
            let mut new_id = Uuid::new_v4;
            change(
                tree,
                &mut Ctx {
                    now: now(),
                    new_id: &mut new_id,
                    facts: &facts,
                    quota: Allowance::unlimited(),
                },
            )
        };
        self.store.change_tree(id, apply).await.unwrap();
    }

    pub(crate) async fn tree(&self, id: LoadBalancerId) -> Tree {
        self.store.read_tree(id).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, id: LoadBalancerId) -> ProvisioningStatus {
        let tree = self.tree(id).await;
        tree.load_balancer.common.provisioning_status
    }

    /// Waits until the load balancer is as wanted; woken by the store's changes.
    pub(crate) async fn until(&self, id: LoadBalancerId, wanted: impl Fn(Option<&Tree>) -> bool) {
        let mut changes = self.store.changes();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if wanted(self.store.read_tree(id).await.unwrap().as_ref()) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .is_err()
        {
            panic!("it stays as {:#?}", self.store.read_tree(id).await);
        }
    }

    pub(crate) async fn until_status(&self, id: LoadBalancerId, wanted: ProvisioningStatus) {
        self.until(id, |tree| {
            tree.is_some_and(|tree| tree.load_balancer.common.provisioning_status == wanted)
        })
        .await;
    }

    async fn facts(&self) -> Facts {
        let places = self.store.networks().subnets(Which::All).await.unwrap();
        Facts {
            capabilities: CapabilitySet::data_path(),
            subnets: places.iter().map(|place| place.info(100)).collect(),
            ..Facts::default()
        }
    }
}

async fn open(dir: &Path) -> Store {
    let networks = NetworkCatalog::new(vec![Network {
        id: NetworkId(Uuid::from_u128(1)),
        name: "public".to_owned(),
        segment: 1,
        project_id: None,
        subnets: vec![Subnet {
            id: SUBNET,
            name: "public-v4".to_owned(),
            cidr: "192.0.2.0/24".parse().unwrap(),
            gateway_ip: None,
            allocation_pools: Vec::new(),
        }],
    }])
    .unwrap();
    let networks = Arc::new(networks);
    let opened = async {
        loop {
            // The process before may not have let go of its lock yet.
            match Store::open(dir, "test", networks.clone()).await {
                Ok(store) => return store,
                Err(lb_store::StoreError::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), opened)
        .await
        .unwrap()
}
