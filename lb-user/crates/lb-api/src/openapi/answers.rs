//! Schemas of what is answered: one an object, made of its fields' names, and the refusals.

use serde_json::{Map, Value, json};

/// Objects by name: root key in an answer, plural, key of the links, fields.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) one: &'static str,
    pub(super) many: &'static str,
    pub(super) links: Option<&'static str>,
    fields: &'static str,
}

const COMMON: &str = "id name description admin_state_up provisioning_status operating_status \
created_at updated_at tags project_id tenant_id ";

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "LoadBalancer",
        one: "loadbalancer",
        many: "loadbalancers",
        links: Some("loadbalancers_links"),
        fields: "+vip_address vip_port_id vip_subnet_id vip_network_id vip_qos_policy_id vip_sg_ids \
vip_vnic_type additional_vips provider flavor_id availability_zone listeners pools",
    },
    Shape {
        name: "Listener",
        one: "listener",
        many: "listeners",
        links: Some("listeners_links"),
        fields: "+protocol protocol_port connection_limit default_pool_id default_tls_container_ref \
sni_container_refs insert_headers timeout_client_data timeout_member_connect timeout_member_data \
timeout_tcp_inspect client_ca_tls_container_ref client_authentication client_crl_container_ref allowed_cidrs \
tls_ciphers tls_versions alpn_protocols hsts_max_age hsts_include_subdomains hsts_preload loadbalancers l7policies",
    },
    Shape {
        name: "Pool",
        one: "pool",
        many: "pools",
        links: Some("pools_links"),
        fields: "+protocol lb_algorithm session_persistence tls_enabled tls_container_ref ca_tls_container_ref \
crl_container_ref tls_ciphers tls_versions alpn_protocols loadbalancers listeners members healthmonitor_id",
    },
    Shape {
        name: "Member",
        one: "member",
        many: "members",
        links: Some("members_links"),
        fields: "+address protocol_port weight backup subnet_id monitor_address monitor_port vnic_type",
    },
    Shape {
        name: "HealthMonitor",
        one: "healthmonitor",
        many: "healthmonitors",
        links: Some("healthmonitors_links"),
        fields: "+type delay timeout max_retries max_retries_down http_method url_path expected_codes http_version \
domain_name pools",
    },
    Shape {
        name: "L7Policy",
        one: "l7policy",
        many: "l7policies",
        links: Some("l7policies_links"),
        fields: "+action listener_id redirect_pool_id redirect_url redirect_prefix redirect_http_code position rules",
    },
    Shape {
        name: "L7Rule",
        one: "rule",
        many: "rules",
        links: Some("rules_links"),
        fields: "+type compare_type key value invert",
    },
    Shape {
        name: "Quota",
        one: "quota",
        many: "quotas",
        links: Some("quotas_links"),
        fields: "project_id tenant_id loadbalancer load_balancer listener pool member healthmonitor health_monitor \
l7policy l7rule",
    },
    Shape {
        name: "Provider",
        one: "provider",
        many: "providers",
        links: None,
        fields: "name description",
    },
    Shape {
        name: "FlavorCapability",
        one: "flavor_capability",
        many: "flavor_capabilities",
        links: None,
        fields: "name description",
    },
    Shape {
        name: "AvailabilityZoneCapability",
        one: "availability_zone_capability",
        many: "availability_zone_capabilities",
        links: None,
        fields: "name description",
    },
    Shape {
        name: "Flavor",
        one: "flavor",
        many: "flavors",
        links: Some("flavors_links"),
        fields: "id name description enabled flavor_profile_id",
    },
    Shape {
        name: "FlavorProfile",
        one: "flavorprofile",
        many: "flavorprofiles",
        links: Some("flavorprofile_links"),
        fields: "id name provider_name flavor_data",
    },
    Shape {
        name: "AvailabilityZone",
        one: "availability_zone",
        many: "availability_zones",
        links: Some("availability_zones_links"),
        fields: "name description enabled availability_zone_profile_id",
    },
    Shape {
        name: "AvailabilityZoneProfile",
        one: "availability_zone_profile",
        many: "availability_zone_profiles",
        links: Some("availability_zone_profile_links"),
        fields: "id name provider_name availability_zone_data",
    },
    Shape {
        name: "Amphora",
        one: "amphora",
        many: "amphorae",
        links: Some("amphorae_links"),
        fields: "id loadbalancer_id compute_id lb_network_ip vrrp_ip ha_ip vrrp_port_id ha_port_id cert_expiration \
cert_busy role status vrrp_interface vrrp_id vrrp_priority cached_zone created_at updated_at image_id compute_flavor",
    },
    Shape {
        name: "Event",
        one: "event",
        many: "events",
        links: Some("events_links"),
        fields: "sequence created_at project_id type loadbalancer_id message data",
    },
];

/// Fields that are something else than text or null.
const TYPES: &[(&str, &[&str])] = &[
    (
        "boolean",
        &[
            "admin_state_up",
            "backup",
            "tls_enabled",
            "invert",
            "enabled",
            "cert_busy",
            "hsts_include_subdomains",
            "hsts_preload",
        ],
    ),
    (
        "integer",
        &[
            "protocol_port",
            "connection_limit",
            "timeout_client_data",
            "timeout_member_connect",
            "timeout_member_data",
            "timeout_tcp_inspect",
            "hsts_max_age",
            "weight",
            "monitor_port",
            "delay",
            "timeout",
            "max_retries",
            "max_retries_down",
            "redirect_http_code",
            "position",
            "vrrp_id",
            "vrrp_priority",
            "sequence",
        ],
    ),
    (
        "array",
        &[
            "tags",
            "vip_sg_ids",
            "additional_vips",
            "listeners",
            "pools",
            "sni_container_refs",
            "allowed_cidrs",
            "tls_versions",
            "alpn_protocols",
            "loadbalancers",
            "l7policies",
            "members",
            "rules",
        ],
    ),
    ("object", &["insert_headers", "session_persistence", "data"]),
    ("number", &["http_version"]),
];

/// Every answered object's schema by its name.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    for shape in SHAPES {
        let reference = json!({"$ref": format!("#/components/schemas/{}", shape.name)});
        schemas.insert(shape.name.to_owned(), object(shape));
        let mut one = Map::new();
        one.insert(shape.one.to_owned(), reference.clone());
        schemas.insert(
            format!("{}Answer", shape.name),
            json!({"type": "object", "properties": one, "required": [shape.one]}),
        );
        let mut many = Map::new();
        many.insert(
            shape.many.to_owned(),
            json!({"type": "array", "items": reference}),
        );
        if let Some(links) = shape.links {
            many.insert(
                links.to_owned(),
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Link"}}),
            );
        }
        let keys: Vec<&String> = many.keys().collect();
        let list = json!({"type": "object", "required": keys, "properties": many});
        schemas.insert(format!("{}List", shape.name), list);
    }
    schemas.extend(others());
    schemas
}

fn object(shape: &Shape) -> Value {
    let mut properties = Map::new();
    let names = match shape.fields.strip_prefix('+') {
        Some(own) => format!("{COMMON}{own}"),
        None => shape.fields.to_owned(),
    };
    for key in names.split_whitespace() {
        let is_limit = shape.name == "Quota" && !key.ends_with("_id");
        let kind = TYPES
            .iter()
            .find(|(_, keys)| keys.contains(&key))
            .map_or("string", |(kind, _)| kind);
        let kind = if is_limit { "integer" } else { kind };
        properties.insert(key.to_owned(), json!({"type": [kind, "null"]}));
    }
    json!({"type": "object", "properties": properties})
}

fn others() -> Map<String, Value> {
    let counters = json!({
        "bytes_in": {"type": "integer"}, "bytes_out": {"type": "integer"},
        "active_connections": {"type": "integer"}, "total_connections": {"type": "integer"},
        "request_errors": {"type": "integer"},
    });
    let value = json!({
        "Link": {"type": "object", "required": ["rel", "href"], "properties": {
            "rel": {"enum": ["next", "previous"]}, "href": {"type": "string"}}},
        "Versions": {"type": "object", "required": ["versions"], "properties": {
            "versions": {"type": "array", "items": {"type": "object"}}}},
        "Version": {"const": "v2"},
        "Health": {"type": "object", "required": ["detailed", "reasons"], "properties": {
            "detailed": {"const": false}, "reasons": {"type": "array", "items": {"type": "string"}}}},
        "StatusesAnswer": {"type": "object", "required": ["statuses"], "properties": {
            "statuses": {"type": "object"}}},
        "StatsAnswer": {"type": "object", "required": ["stats"], "properties": {
            "stats": {"type": "object", "properties": counters}}},
        "AmphoraStatsAnswer": {"type": "object", "required": ["amphora_stats"], "properties": {
            "amphora_stats": {"type": "array", "items": {"type": "object"}}}},
        "Object": {"type": "object"},
        "Fault": {"type": "object", "properties": {
            "faultcode": {"enum": ["Client", "Server"]}, "faultstring": {"type": "string"},
            "debuginfo": {"type": "null"},
            "code": {"type": ["integer", "string"]}, "title": {"type": "string"},
            "description": {"type": "string"}, "message": {"type": "string"},
            "error": {"type": "object"}}},
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Codes of refusals and what they mean here.
pub(super) const REFUSALS: &[(u16, &str)] = &[
    (
        400,
        "The request is malformed, breaks a rule of a field, or names in its body what does not exist.",
    ),
    (401, "No token, or one that is not valid."),
    (403, "Policy refuses, or the project's quota is used up."),
    (404, "There is no such object, or no such path."),
    (405, "The path has no such verb; Allow names those it has."),
    (406, "Accept does not admit application/json."),
    (408, "The body did not arrive in time."),
    (
        409,
        "The object is not in a state that allows this, or it collides with another.",
    ),
    (413, "The body is too large."),
    (414, "The query string is too long."),
    (415, "The body is not application/json."),
    (500, "A fault of the service."),
    (501, "The provider does not support this option or call."),
    (
        503,
        "Not now: busy, or something the service needs is away.",
    ),
];

/// The refusals as components.
pub(super) fn refusals() -> Map<String, Value> {
    let described = |text: &str| {
        json!({
            "description": text,
            "headers": {"x-openstack-request-id": {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Fault"}}},
        })
    };
    REFUSALS
        .iter()
        .map(|(code, text)| (format!("Refused{code}"), described(text)))
        .collect()
}
