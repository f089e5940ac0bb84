//! What every handler works with, and what an operation needs to know of the world.

use std::{fmt, sync::Arc};

use lb_model::{
    address::ForbiddenAddresses,
    ctx::{Facts, SubnetInfo},
    time::Timestamp,
};
use lb_store::{PortPurpose, Store};
use uuid::Uuid;

use crate::{config::ApiConfig, error::ApiError};

/// Store, settings, clock and source of ids. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    store: Store,
    config: ApiConfig,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl ApiState {
    /// The API on a store, by the machine's clock.
    #[must_use]
    pub fn new(store: Store, config: ApiConfig) -> Self {
        Self::with_clock(store, config, lb_store::now)
    }

    /// The API on a store, by another clock.
    #[must_use]
    pub fn with_clock(
        store: Store,
        config: ApiConfig,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            config,
            now: Box::new(now),
        }))
    }

    pub(crate) fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    /// What is known of the world now, with what lies behind each certificate reference.
    pub(crate) async fn facts(&self, certificate_refs: &[String]) -> Result<Facts, ApiError> {
        let store = self.store();
        let free = store.free_addresses().await?;
        let networks = store.networks().networks().iter();
        let subnets = networks
            .flat_map(|network| {
                network
                    .subnets
                    .iter()
                    .map(move |subnet| (network.id, subnet))
            })
            .map(|(network_id, subnet)| SubnetInfo {
                id: subnet.id,
                network_id,
                cidr: subnet.cidr,
                gateway_ip: subnet.gateway_ip,
                free_addresses: free.get(&subnet.id).copied().unwrap_or(0),
            })
            .collect();
        let ports = store.all_ports().await?;
        let ours = ports
            .iter()
            .filter(|port| matches!(port.purpose, PortPurpose::Amphora | PortPurpose::Snat));
        let forbidden = ForbiddenAddresses {
            deny: self.config().deny_cidrs.clone(),
            hosts: store.host_addresses().await?.into_iter().collect(),
            amphorae: ours.map(|port| port.address).collect(),
        };
        let certificates = store.certificate_facts(certificate_refs).await?;
        Ok(Facts {
            subnets,
            forbidden,
            certificates,
        })
    }
}

/// A fresh id.
pub(crate) fn new_id() -> Uuid {
    Uuid::new_v4()
}
