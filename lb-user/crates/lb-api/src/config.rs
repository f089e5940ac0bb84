//! What the operator decides about the API, and the limits of this crate in one place.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use lb_model::{
    deployment::Deployment, enums::Topology, provider::Provider, quota::PerClass, vip::VipRules,
};
use lb_openstack::Keystone;
use lb_policy::PolicySet;
use lb_store::KeyManager;

use crate::{
    auth::{AuthStrategy, Rules, default_rules},
    front::FrontDoor,
};

/// Largest request body. Octavia's 114688 bytes are too few for a large single-call create.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Items on a page when the client asks for more, or for no limit (Octavia's default).
pub const PAGE_ITEMS_MAX: u32 = 1000;

/// How long a request waits for a load balancer that is PENDING_* before it answers 409.
pub const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Owner of load balancers whose request names no project.
    pub default_project: String,
    /// Provider of load balancers whose request names none.
    pub default_provider: String,
    /// The providers that requests may name.
    pub providers: Vec<Provider>,
    /// Limits of projects that have none of their own.
    pub quota_defaults: PerClass<i64>,
    /// How many amphorae a new load balancer gets, its flavor aside.
    pub topology: Topology,
    /// Addresses that no member and no monitor may have, besides the built-in ones.
    pub deny_cidrs: Vec<IpNet>,
    /// Addresses of the server itself, which no member and no monitor may have either. Those of the
    /// hosts that carry load balancers come from their agents.
    pub own_addresses: Vec<IpAddr>,
    /// Whether neutron-lbaas's dialect is spoken under `/neutron`.
    pub neutron_lbaas: bool,
    /// Which legal requests the operator takes.
    pub deployment: Deployment,
    /// What the operator allows of VIPs.
    pub vip_rules: VipRules,
    /// See [`BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// See [`PAGE_ITEMS_MAX`].
    pub page_items_max: u32,
    /// See [`SETTLE_WAIT`]. Zero: answer 409 at once.
    pub settle_wait: Duration,
    /// How callers are known.
    pub auth_strategy: AuthStrategy,
    /// The Identity service, for `keystone`.
    pub keystone: Option<Keystone>,
    /// Where clients are sent for a token; in answers of 401.
    pub www_authenticate_uri: String,
    /// Who may do what.
    pub policy: Rules,
    /// Serve without authentication on an address that is not loopback.
    pub force_listen: bool,
    /// Where certificates come from; `None`: the embedded store.
    pub key_manager: Option<Arc<dyn KeyManager>>,
    /// Mounts, browsers, proxies, sizes, switches of lists.
    pub front: FrontDoor,
}

impl ApiConfig {
    /// Defaults for everything but the project, which has none.
    #[must_use]
    pub fn new(default_project: impl Into<String>) -> Self {
        Self {
            default_project: default_project.into(),
            default_provider: "amphora".to_owned(),
            providers: Provider::built_in(),
            quota_defaults: PerClass::unlimited(),
            topology: Topology::Single,
            deny_cidrs: Vec::new(),
            own_addresses: Vec::new(),
            neutron_lbaas: false,
            deployment: Deployment::default(),
            vip_rules: VipRules::default(),
            body_bytes_max: BODY_BYTES_MAX,
            page_items_max: PAGE_ITEMS_MAX,
            settle_wait: SETTLE_WAIT,
            auth_strategy: AuthStrategy::Noauth,
            keystone: None,
            www_authenticate_uri: String::new(),
            policy: default_rules(PolicySet::default()),
            force_listen: false,
            key_manager: None,
            front: FrontDoor::default(),
        }
    }
}
