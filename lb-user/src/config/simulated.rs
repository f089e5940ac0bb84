//! What `lbaas all-in-one --simulate` takes when nothing is configured: any free port towards its
//! agent, so that several run on one machine, and networks. With neither networks nor a driver
//! configured every network exists (`noop`); with the embedded driver alone there are two to play with.

/// Lies beneath file, environment and flags.
pub(crate) const DEFAULTS: &str = r#"
[controller]
sync_listen = "127.0.0.1:0"

[[networks]]
id = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0a01"
name = "public"
segment = 1

[[networks.subnets]]
id = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0b01"
name = "public-v4"
cidr = "198.18.0.0/16"
gateway_ip = "198.18.0.1"

[[networks.subnets]]
id = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0b02"
name = "public-v6"
cidr = "2001:db8:18::/64"
gateway_ip = "2001:db8:18::1"

[[networks]]
id = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0a02"
name = "private"
segment = 2

[[networks.subnets]]
id = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0b03"
name = "private-v4"
cidr = "198.19.0.0/16"
gateway_ip = "198.19.0.1"

[[networks.subnets]]
id = "6b8b0f3e-3d0f-4c40-9f0a-5d2f7c1e0b04"
name = "private-v6"
cidr = "2001:db8:19::/64"
gateway_ip = "2001:db8:19::1"
"#;

/// Lies beneath those when neither networks nor a driver for them are configured.
pub(crate) const NETWORK_DEFAULTS: &str = "network.driver = \"noop\"";
