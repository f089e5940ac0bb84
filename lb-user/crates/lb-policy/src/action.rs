//! Everything a caller can ask the API for, each under the name of its rule.
//!
//! The names are Octavia's, so that its policy files mean here what they mean there. What Octavia
//! does not have (resize, reset of a status, events, the embedded networks and secrets) has names of
//! the same form.

use std::fmt;

/// What every rule of an API call begins with.
pub const PREFIX: &str = "os_load-balancer_api:";

/// Who may do a thing by default; a policy set says who that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Sees objects of its project.
    Read,
    /// Sees objects of every project.
    ReadGlobal,
    /// Changes objects of its project.
    Write,
    /// Operates the service.
    Admin,
    /// Sees its project's quota.
    ReadQuota,
    /// Sees every project's quota.
    ReadQuotaGlobal,
    /// Changes quotas.
    WriteQuota,
    /// Sees objects of its project, or is another service of the cloud.
    ReadOrService,
}

macro_rules! actions {
    ($($variant:ident = $name:literal, $access:ident;)+) => {
        /// One API call, as policy knows it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(#[doc = concat!("`os_load-balancer_api:", $name, "`")] $variant,)+
        }

        impl Action {
            /// Every action, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name of its rule.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("os_load-balancer_api:", $name),)+
                }
            }

            /// Who may by default.
            #[must_use]
            pub const fn access(self) -> Access {
                match self {
                    $(Self::$variant => Access::$access,)+
                }
            }
        }
    };
}

actions! {
    LoadBalancerGetAll = "loadbalancer:get_all", Read;
    LoadBalancerGetAllGlobal = "loadbalancer:get_all-global", ReadGlobal;
    LoadBalancerPost = "loadbalancer:post", Write;
    LoadBalancerPostVipSgIds = "loadbalancer:post:vip_sg_ids", Write;
    LoadBalancerGetOne = "loadbalancer:get_one", Read;
    LoadBalancerPut = "loadbalancer:put", Write;
    LoadBalancerPutVipSgIds = "loadbalancer:put:vip_sg_ids", Write;
    LoadBalancerDelete = "loadbalancer:delete", Write;
    LoadBalancerGetStats = "loadbalancer:get_stats", Read;
    LoadBalancerGetStatus = "loadbalancer:get_status", Read;
    LoadBalancerPutFailover = "loadbalancer:put_failover", Admin;
    LoadBalancerPutResize = "loadbalancer:put_resize", Write;
    LoadBalancerPutStatus = "loadbalancer:put_status", Admin;
    EventGetAll = "event:get_all", Read;
    EventGetAllGlobal = "event:get_all-global", ReadGlobal;
    ListenerGetAll = "listener:get_all", Read;
    ListenerGetAllGlobal = "listener:get_all-global", ReadGlobal;
    ListenerPost = "listener:post", Write;
    ListenerGetOne = "listener:get_one", Read;
    ListenerPut = "listener:put", Write;
    ListenerDelete = "listener:delete", Write;
    ListenerGetStats = "listener:get_stats", Read;
    PoolGetAll = "pool:get_all", Read;
    PoolGetAllGlobal = "pool:get_all-global", ReadGlobal;
    PoolPost = "pool:post", Write;
    PoolGetOne = "pool:get_one", Read;
    PoolPut = "pool:put", Write;
    PoolDelete = "pool:delete", Write;
    MemberGetAll = "member:get_all", ReadOrService;
    MemberPost = "member:post", Write;
    MemberGetOne = "member:get_one", Read;
    MemberPut = "member:put", Write;
    MemberDelete = "member:delete", Write;
    HealthMonitorGetAll = "healthmonitor:get_all", Read;
    HealthMonitorGetAllGlobal = "healthmonitor:get_all-global", ReadGlobal;
    HealthMonitorPost = "healthmonitor:post", Write;
    HealthMonitorGetOne = "healthmonitor:get_one", Read;
    HealthMonitorPut = "healthmonitor:put", Write;
    HealthMonitorDelete = "healthmonitor:delete", Write;
    L7PolicyGetAll = "l7policy:get_all", Read;
    L7PolicyGetAllGlobal = "l7policy:get_all-global", ReadGlobal;
    L7PolicyPost = "l7policy:post", Write;
    L7PolicyGetOne = "l7policy:get_one", Read;
    L7PolicyPut = "l7policy:put", Write;
    L7PolicyDelete = "l7policy:delete", Write;
    L7RuleGetAll = "l7rule:get_all", Read;
    L7RulePost = "l7rule:post", Write;
    L7RuleGetOne = "l7rule:get_one", Read;
    L7RulePut = "l7rule:put", Write;
    L7RuleDelete = "l7rule:delete", Write;
    QuotaGetAll = "quota:get_all", ReadQuota;
    QuotaGetAllGlobal = "quota:get_all-global", ReadQuotaGlobal;
    QuotaGetOne = "quota:get_one", ReadQuota;
    QuotaPut = "quota:put", WriteQuota;
    QuotaDelete = "quota:delete", WriteQuota;
    QuotaGetDefaults = "quota:get_defaults", ReadQuota;
    AmphoraGetAll = "amphora:get_all", Admin;
    AmphoraGetOne = "amphora:get_one", Admin;
    AmphoraDelete = "amphora:delete", Admin;
    AmphoraPutConfig = "amphora:put_config", Admin;
    AmphoraPutFailover = "amphora:put_failover", Admin;
    AmphoraGetStats = "amphora:get_stats", Admin;
    ProviderGetAll = "provider:get_all", Read;
    ProviderFlavorGetAll = "provider-flavor:get_all", Admin;
    ProviderAvailabilityZoneGetAll = "provider-availability-zone:get_all", Admin;
    FlavorGetAll = "flavor:get_all", Read;
    FlavorPost = "flavor:post", Admin;
    FlavorPut = "flavor:put", Admin;
    FlavorGetOne = "flavor:get_one", Read;
    FlavorDelete = "flavor:delete", Admin;
    FlavorProfileGetAll = "flavor-profile:get_all", Admin;
    FlavorProfilePost = "flavor-profile:post", Admin;
    FlavorProfilePut = "flavor-profile:put", Admin;
    FlavorProfileGetOne = "flavor-profile:get_one", Admin;
    FlavorProfileDelete = "flavor-profile:delete", Admin;
    AvailabilityZoneGetAll = "availability-zone:get_all", Read;
    AvailabilityZonePost = "availability-zone:post", Admin;
    AvailabilityZonePut = "availability-zone:put", Admin;
    AvailabilityZoneGetOne = "availability-zone:get_one", Read;
    AvailabilityZoneDelete = "availability-zone:delete", Admin;
    AvailabilityZoneProfileGetAll = "availability-zone-profile:get_all", Admin;
    AvailabilityZoneProfilePost = "availability-zone-profile:post", Admin;
    AvailabilityZoneProfilePut = "availability-zone-profile:put", Admin;
    AvailabilityZoneProfileGetOne = "availability-zone-profile:get_one", Admin;
    AvailabilityZoneProfileDelete = "availability-zone-profile:delete", Admin;
    NetworkGet = "network:get", Read;
    SecretGetAll = "secret:get_all", Read;
    SecretGetOne = "secret:get_one", Read;
    SecretGetPayload = "secret:get_payload", Write;
    SecretPost = "secret:post", Write;
    SecretDelete = "secret:delete", Write;
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
