//! One newtype per kind of object, so that a pool's id can never be passed for a listener's.
//!
//! On the wire and in the database an id is the canonical 36-character UUID text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

ids!(
    /// A load balancer.
    LoadBalancerId,
    /// A listener: one port of a load balancer's VIP.
    ListenerId,
    /// A pool of members.
    PoolId,
    /// A member of a pool.
    MemberId,
    /// A pool's health monitor.
    HealthMonitorId,
    /// An L7 policy of a listener.
    L7PolicyId,
    /// A rule of an L7 policy.
    L7RuleId,
    /// An amphora: one user-space proxy of one load balancer.
    AmphoraId,
    /// A network (embedded or Neutron's).
    NetworkId,
    /// A subnet of a network.
    SubnetId,
    /// A port: one address taken from a subnet.
    PortId,
    /// A flavor.
    FlavorId,
    /// A flavor profile.
    FlavorProfileId,
    /// An availability zone profile.
    AvailabilityZoneProfileId,
    /// A secret in the key manager.
    SecretId,
);
