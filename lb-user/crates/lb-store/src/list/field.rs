//! Which attributes of a resource can be filtered and sorted by, and what they are in SQL.
//!
//! The names are the API's; only what is in these tables ever becomes part of a statement. An
//! attribute that this implementation never sets is NULL, so that asking for it finds nothing instead
//! of failing.

use super::Resource;

/// How a field's text is understood and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// UUID, with or without dashes.
    Id,
    /// IP address, in any spelling.
    Address,
    Int,
    Bool,
    /// Shown to the second, stored in microseconds.
    Time,
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
    pub(super) kind: Kind,
}

const fn field(name: &'static str, sql: &'static str, kind: Kind) -> Field {
    Field { name, sql, kind }
}

const NULL: &str = "CAST(NULL AS TEXT)";

/// What every resource of a tree has.
const COMMON: &[Field] = &[
    field("id", "t.id", Kind::Id),
    field("project_id", "t.project_id", Kind::Text),
    field("name", "t.name", Kind::Text),
    field("description", "t.description", Kind::Text),
    field("admin_state_up", "t.admin_state_up", Kind::Bool),
    field("provisioning_status", "t.provisioning_status", Kind::Text),
    field("operating_status", "t.operating_status", Kind::Text),
    field("created_at", "t.created_at", Kind::Time),
    field("updated_at", "t.updated_at", Kind::Time),
];

const LOAD_BALANCER: &[Field] = &[
    field("vip_address", "t.vip_address", Kind::Address),
    field("vip_port_id", "t.vip_port_id", Kind::Id),
    field("vip_subnet_id", "t.vip_subnet_id", Kind::Id),
    field("vip_network_id", "t.vip_network_id", Kind::Id),
    field("vip_qos_policy_id", "t.vip_qos_policy_id", Kind::Id),
    field("vip_vnic_type", "t.vip_vnic_type", Kind::Text),
    field("provider", "t.provider", Kind::Text),
    field("topology", "t.topology", Kind::Text),
    field("flavor_id", "t.flavor_id", Kind::Id),
    field("availability_zone", "t.availability_zone", Kind::Text),
];

const LISTENER: &[Field] = &[
    field("loadbalancer_id", "t.load_balancer_id", Kind::Id),
    field("load_balancer_id", "t.load_balancer_id", Kind::Id),
    field("protocol", "t.protocol", Kind::Text),
    field("protocol_port", "t.protocol_port", Kind::Int),
    field("connection_limit", "t.connection_limit", Kind::Int),
    field("default_pool_id", "t.default_pool_id", Kind::Id),
    field(
        "default_tls_container_ref",
        "t.default_tls_container_ref",
        Kind::Text,
    ),
    field("timeout_client_data", "t.timeout_client_data", Kind::Int),
    field(
        "timeout_member_connect",
        "t.timeout_member_connect",
        Kind::Int,
    ),
    field("timeout_member_data", "t.timeout_member_data", Kind::Int),
    field("timeout_tcp_inspect", "t.timeout_tcp_inspect", Kind::Int),
    field(
        "client_ca_tls_container_ref",
        "t.client_ca_tls_container_ref",
        Kind::Text,
    ),
    field(
        "client_authentication",
        "t.client_authentication",
        Kind::Text,
    ),
    field(
        "client_crl_container_ref",
        "t.client_crl_container_ref",
        Kind::Text,
    ),
    field("tls_ciphers", "t.tls_ciphers", Kind::Text),
    field("hsts_max_age", "t.hsts_max_age", Kind::Int),
    field(
        "hsts_include_subdomains",
        "t.hsts_include_subdomains",
        Kind::Bool,
    ),
    field("hsts_preload", "t.hsts_preload", Kind::Bool),
];

const POOL: &[Field] = &[
    field("loadbalancer_id", "t.load_balancer_id", Kind::Id),
    field("load_balancer_id", "t.load_balancer_id", Kind::Id),
    field("protocol", "t.protocol", Kind::Text),
    field("lb_algorithm", "t.lb_algorithm", Kind::Text),
    field(
        "healthmonitor_id",
        "(SELECT h.id FROM health_monitors h WHERE h.pool_id = t.id)",
        Kind::Id,
    ),
    field("tls_enabled", "t.tls_enabled", Kind::Bool),
    field("tls_container_ref", "t.tls_container_ref", Kind::Text),
    field("ca_tls_container_ref", "t.ca_tls_container_ref", Kind::Text),
    field("crl_container_ref", "t.crl_container_ref", Kind::Text),
    field("tls_ciphers", "t.tls_ciphers", Kind::Text),
];

const MEMBER: &[Field] = &[
    field("pool_id", "t.pool_id", Kind::Id),
    field("address", "t.address", Kind::Address),
    field("protocol_port", "t.protocol_port", Kind::Int),
    field("weight", "t.weight", Kind::Int),
    field("backup", "t.backup", Kind::Bool),
    field("subnet_id", "t.subnet_id", Kind::Id),
    field("monitor_address", "t.monitor_address", Kind::Address),
    field("monitor_port", "t.monitor_port", Kind::Int),
    field("vnic_type", "t.vnic_type", Kind::Text),
];

const HEALTH_MONITOR: &[Field] = &[
    field("pool_id", "t.pool_id", Kind::Id),
    field("type", "t.type", Kind::Text),
    field("delay", "t.delay", Kind::Int),
    field("timeout", "t.timeout", Kind::Int),
    field("max_retries", "t.max_retries", Kind::Int),
    field("max_retries_down", "t.max_retries_down", Kind::Int),
    field("http_method", "t.http_method", Kind::Text),
    field("url_path", "t.url_path", Kind::Text),
    field("expected_codes", "t.expected_codes", Kind::Text),
    field("http_version", "t.http_version", Kind::Text),
    field("domain_name", "t.domain_name", Kind::Text),
];

const L7POLICY: &[Field] = &[
    field("listener_id", "t.listener_id", Kind::Id),
    field("action", "t.action", Kind::Text),
    field("position", "t.ordinal", Kind::Int),
    field("redirect_pool_id", "t.redirect_pool_id", Kind::Id),
    field("redirect_url", "t.redirect_url", Kind::Text),
    field("redirect_prefix", "t.redirect_prefix", Kind::Text),
    field("redirect_http_code", "t.redirect_http_code", Kind::Int),
];

const L7RULE: &[Field] = &[
    // openstacksdk says in the query, too, what the path says.
    field("l7policy_id", "t.l7policy_id", Kind::Id),
    field("type", "t.type", Kind::Text),
    field("compare_type", "t.compare_type", Kind::Text),
    field("key", "t.rule_key", Kind::Text),
    field("value", "t.value", Kind::Text),
    field("invert", "t.invert", Kind::Bool),
];

const AMPHORA: &[Field] = &[
    field("id", "COALESCE(t.shown_id, t.id)", Kind::Id),
    field("project_id", "l.project_id", Kind::Text),
    field("loadbalancer_id", "t.load_balancer_id", Kind::Id),
    field("load_balancer_id", "t.load_balancer_id", Kind::Id),
    field("compute_id", "t.compute_id", Kind::Id),
    field("role", "t.role", Kind::Text),
    field("status", "t.status", Kind::Text),
    field("vrrp_ip", "p.address", Kind::Address),
    field("vrrp_port_id", "p.id", Kind::Id),
    field("ha_ip", "l.vip_address", Kind::Address),
    field("ha_port_id", "l.vip_port_id", Kind::Id),
    field("lb_network_ip", NULL, Kind::Address),
    field("cert_expiration", NULL, Kind::Text),
    field("cert_busy", "(1 = 0)", Kind::Bool),
    field("vrrp_interface", "CAST('eth0' AS TEXT)", Kind::Text),
    field("vrrp_id", "CAST(1 AS BIGINT)", Kind::Int),
    field(
        "vrrp_priority",
        "CAST(CASE t.role WHEN 'BACKUP' THEN 90 ELSE 100 END AS BIGINT)",
        Kind::Int,
    ),
    field("cached_zone", "t.host", Kind::Text),
    field("image_id", NULL, Kind::Id),
    field("compute_flavor", NULL, Kind::Text),
    field("created_at", "t.created_at", Kind::Time),
    field("updated_at", "t.updated_at", Kind::Time),
];

const QUOTA: &[Field] = &[
    field("project_id", "t.project_id", Kind::Text),
    field("loadbalancer", "t.loadbalancer", Kind::Int),
    field("load_balancer", "t.loadbalancer", Kind::Int),
    field("listener", "t.listener", Kind::Int),
    field("pool", "t.pool", Kind::Int),
    field("member", "t.member", Kind::Int),
    field("healthmonitor", "t.healthmonitor", Kind::Int),
    field("health_monitor", "t.healthmonitor", Kind::Int),
    field("l7policy", "t.l7policy", Kind::Int),
    field("l7rule", "t.l7rule", Kind::Int),
];

const FLAVOR: &[Field] = &[
    field("id", "t.id", Kind::Id),
    field("name", "t.name", Kind::Text),
    field("description", "t.description", Kind::Text),
    field("enabled", "t.enabled", Kind::Bool),
    field("flavor_profile_id", "t.flavor_profile_id", Kind::Id),
];

const FLAVOR_PROFILE: &[Field] = &[
    field("id", "t.id", Kind::Id),
    field("name", "t.name", Kind::Text),
    field("provider_name", "t.provider_name", Kind::Text),
    field("flavor_data", "t.flavor_data", Kind::Text),
];

const AVAILABILITY_ZONE: &[Field] = &[
    field("name", "t.name", Kind::Text),
    field("description", "t.description", Kind::Text),
    field("enabled", "t.enabled", Kind::Bool),
    field(
        "availability_zone_profile_id",
        "t.availability_zone_profile_id",
        Kind::Id,
    ),
];

const AVAILABILITY_ZONE_PROFILE: &[Field] = &[
    field("id", "t.id", Kind::Id),
    field("name", "t.name", Kind::Text),
    field("provider_name", "t.provider_name", Kind::Text),
    field(
        "availability_zone_data",
        "t.availability_zone_data",
        Kind::Text,
    ),
];

impl Resource {
    /// The attribute of this name.
    pub(super) fn field(self, name: &str) -> Option<Field> {
        let mut fields = self.fields();
        fields.find(|field| field.name == name).copied()
    }

    /// What it can be filtered and sorted by, by API name.
    pub fn attributes(self) -> impl Iterator<Item = &'static str> {
        self.fields().map(|field| field.name)
    }

    pub(super) fn fields(self) -> impl Iterator<Item = &'static Field> {
        let (common, own) = match self {
            Self::LoadBalancer => (COMMON, LOAD_BALANCER),
            Self::Listener => (COMMON, LISTENER),
            Self::Pool => (COMMON, POOL),
            Self::Member(_) => (COMMON, MEMBER),
            Self::HealthMonitor => (COMMON, HEALTH_MONITOR),
            Self::L7Policy => (COMMON, L7POLICY),
            Self::L7Rule(_) => (COMMON, L7RULE),
            Self::Amphora => (AMPHORA, [].as_slice()),
            Self::Quota => (QUOTA, [].as_slice()),
            Self::Flavor => (FLAVOR, [].as_slice()),
            Self::FlavorProfile => (FLAVOR_PROFILE, [].as_slice()),
            Self::AvailabilityZone => (AVAILABILITY_ZONE, [].as_slice()),
            Self::AvailabilityZoneProfile => (AVAILABILITY_ZONE_PROFILE, [].as_slice()),
        };
        common.iter().chain(own)
    }

    /// Where its rows are. `t` is its own table.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load_balancers t",
            Self::Listener => "listeners t",
            Self::Pool => "pools t",
            Self::Member(_) => "members t",
            Self::HealthMonitor => "health_monitors t",
            Self::L7Policy => "l7policies t",
            Self::L7Rule(_) => "l7rules t",
            Self::Quota => "quotas t",
            Self::Flavor => "flavors t",
            Self::FlavorProfile => "flavor_profiles t",
            Self::AvailabilityZone => "availability_zones t",
            Self::AvailabilityZoneProfile => "availability_zone_profiles t",
            Self::Amphora => {
                "amphorae t JOIN load_balancers l ON l.id = t.load_balancer_id \
                 LEFT JOIN ports p ON p.amphora_id = t.id AND p.subnet_id = l.vip_subnet_id"
            }
        }
    }

    /// What a marker names a row by.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Quota => "project_id",
            Self::AvailabilityZone => "name",
            _other => "id",
        }
    }

    /// What rows are sorted by after what was asked for; the last is unique.
    pub(super) const fn default_order(self) -> &'static [&'static str] {
        match self {
            Self::Quota => &["project_id"],
            Self::AvailabilityZone => &["name"],
            Self::Flavor | Self::FlavorProfile | Self::AvailabilityZoneProfile => &["id"],
            _tree => &["created_at", "id"],
        }
    }

    /// Whether its objects have tags.
    pub(super) const fn is_tagged(self) -> bool {
        !matches!(
            self,
            Self::Amphora
                | Self::Quota
                | Self::Flavor
                | Self::FlavorProfile
                | Self::AvailabilityZone
                | Self::AvailabilityZoneProfile
        )
    }

    /// Whose project a row is; `None`: nobody's.
    pub(super) const fn project(self) -> Option<&'static str> {
        match self {
            Self::Amphora => Some("l.project_id"),
            Self::Flavor
            | Self::FlavorProfile
            | Self::AvailabilityZone
            | Self::AvailabilityZoneProfile => None,
            _tree => Some("t.project_id"),
        }
    }
}
