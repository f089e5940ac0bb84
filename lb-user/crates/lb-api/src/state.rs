//! What every handler works with, and what an operation needs to know of the world.

use std::{fmt, net::IpAddr, sync::Arc};

use lb_model::{
    address::{ForbiddenAddresses, plain},
    ctx::Facts,
    quota::PerClass,
    time::Timestamp,
};
use lb_store::{Boxed, Store, StoreError, Which};
use uuid::Uuid;

use crate::{
    auth::AuthStrategy, config::ApiConfig, error::ApiError, front::healthcheck::Health,
    streams::Streams, turn::Turns,
};

/// Store, settings, clock and source of ids. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    store: Store,
    config: ApiConfig,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    health: Health,
    streams: Streams,
    turns: Turns,
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
            health: Health::default(),
            streams: Streams::default(),
            turns: Turns::default(),
        }))
    }

    pub(crate) fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    /// Who changes which load balancer next.
    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    /// The limits of projects that have none of their own; `None`: quotas are not in force, as
    /// without authentication.
    pub(crate) fn limits(&self) -> Option<&PerClass<i64>> {
        let config = self.config();
        (config.auth_strategy != AuthStrategy::Noauth).then_some(&config.quota_defaults)
    }

    /// What is known of the world now, as far as an operation needs it.
    pub(crate) fn facts<'f>(&'f self, needs: &'f Needs) -> Boxed<'f, Result<Facts, ApiError>> {
        Box::pin(async move {
            let store = self.store();
            let places = store.networks().subnets(Which::All).await;
            let places = places.map_err(StoreError::from)?;
            // How much is left in a subnet is asked by the choice of a VIP only, which is the store's.
            let subnets = places.iter().map(|place| place.info(0)).collect();
            let forbidden = match &needs.addresses {
                Some(asked) => self.forbidden(asked).await?,
                None => ForbiddenAddresses::default(),
            };
            Ok(Facts {
                subnets,
                any_subnet: store.networks().makes_everything_up(),
                vip_options: store.networks().makes_everything_up(),
                forbidden,
                deployment: self.config().deployment.clone(),
                capabilities: store.capabilities().await?,
                ..needs.secrets.clone()
            })
        })
    }

    async fn forbidden(&self, asked: &[IpAddr]) -> Result<ForbiddenAddresses, ApiError> {
        if self.store().networks().makes_everything_up() {
            // No address is anybody's.
            return Ok(ForbiddenAddresses::default());
        }
        let plain: Vec<IpAddr> = asked.iter().copied().map(plain).collect();
        let amphorae = self.store().ours_among(&plain).await?;
        let config = self.config();
        let hosts = self.store().host_addresses().await?;
        Ok(ForbiddenAddresses {
            deny: config.deny_cidrs.clone(),
            hosts: hosts
                .into_iter()
                .chain(config.own_addresses.iter().copied())
                .collect(),
            amphorae,
        })
    }
}

/// Which facts an operation judges by. What it does not need is not looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    addresses: Option<Vec<IpAddr>>,
    /// Facts about secrets alone.
    secrets: Facts,
    quota: bool,
}

impl Needs {
    /// Subnets alone.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Whether members may have these addresses.
    pub(crate) fn addresses(asked: impl Iterator<Item = IpAddr>) -> Self {
        Self {
            addresses: Some(asked.collect()),
            ..Self::default()
        }
    }

    /// What lies behind references to secrets.
    pub(crate) fn secrets(judged: Facts) -> Self {
        Self {
            secrets: judged,
            ..Self::default()
        }
    }

    /// Both.
    pub(crate) fn everything(judged: Facts, asked: impl Iterator<Item = IpAddr>) -> Self {
        Self {
            addresses: Some(asked.collect()),
            secrets: judged,
            quota: true,
        }
    }

    /// And what the project may still create.
    pub(crate) fn counted(self) -> Self {
        Self {
            quota: true,
            ..self
        }
    }

    /// The limits that the operation is under; `None`: it creates nothing, or nothing is counted.
    pub(crate) fn limits<'a>(&self, api: &'a ApiState) -> Option<&'a PerClass<i64>> {
        api.limits().filter(|_| self.quota)
    }
}

/// A fresh id.
pub(crate) fn new_id() -> Uuid {
    Uuid::new_v4()
}
