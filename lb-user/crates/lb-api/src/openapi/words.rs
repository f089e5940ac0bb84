//! What the document says in words: of the whole, of fields, of lists' arguments.
//!
//! Defaults stand here as JSON. They are those of a create; a null on an update resets to them where the
//! field may be null.

pub(super) const ABOUT: &str = "The Octavia v2 API as LBaaS serves it, up to v2.30. Every path below \
/v2/lbaas is also served below /v2.0/lbaas, /v2 and /v2.0, with a trailing slash, with `.json`, and below \
the mount prefix. Booleans are also taken as words (yes, off, …) and integers as text, as Octavia does. \
Statuses, waits and limits are described with the operations.";

/// Default, as JSON, and meaning of a field of an object.
pub(super) fn of_field(object: &str, key: &str) -> (Option<&'static str>, Option<&'static str>) {
    let own = FIELDS
        .iter()
        .find(|(of, name, _, _)| *of == object && *name == key);
    let any = || {
        FIELDS
            .iter()
            .find(|(of, name, _, _)| of.is_empty() && *name == key)
    };
    match own.or_else(any) {
        Some((_, _, default, text)) => (
            Some(*default).filter(|text| !text.is_empty()),
            Some(*text).filter(|text| !text.is_empty()),
        ),
        None => (None, None),
    }
}

/// Object (empty: any), field, default, meaning.
const FIELDS: &[(&str, &str, &str, &str)] = &[
    ("", "name", "\"\"", "For people; not unique."),
    ("", "description", "\"\"", ""),
    (
        "",
        "admin_state_up",
        "true",
        "Whether it is switched on. Null switches it off.",
    ),
    ("", "tags", "[]", "A set; an update replaces it as a whole."),
    (
        "",
        "project_id",
        "",
        "Owner. Ignored on what is below a load balancer.",
    ),
    ("", "tenant_id", "", "The older name of project_id."),
    (
        "loadbalancer",
        "vip_address",
        "",
        "A fixed address; not enough on its own.",
    ),
    (
        "loadbalancer",
        "vip_port_id",
        "",
        "One of vip_port_id, vip_network_id, vip_subnet_id is needed.",
    ),
    (
        "loadbalancer",
        "vip_network_id",
        "",
        "A network to take an address from.",
    ),
    (
        "loadbalancer",
        "vip_subnet_id",
        "",
        "A subnet to take an address from.",
    ),
    (
        "loadbalancer",
        "vip_qos_policy_id",
        "",
        "Needs a network driver that enforces it, else 400.",
    ),
    (
        "loadbalancer",
        "vip_sg_ids",
        "",
        "Needs a network driver that enforces them, else 400.",
    ),
    (
        "loadbalancer",
        "additional_vips",
        "[]",
        "Each subnet once, all of the VIP's network.",
    ),
    (
        "loadbalancer",
        "provider",
        "",
        "Default: the flavor's, else the configured one.",
    ),
    (
        "loadbalancer",
        "flavor_id",
        "",
        "Must be enabled and of the same provider.",
    ),
    (
        "loadbalancer",
        "availability_zone",
        "",
        "By name; must be enabled.",
    ),
    (
        "loadbalancer",
        "listeners",
        "[]",
        "Made in the same transaction.",
    ),
    (
        "loadbalancer",
        "pools",
        "[]",
        "Made in the same transaction; names are unique in the request.",
    ),
    ("listener", "loadbalancer_id", "", "Where it is to be."),
    ("listener", "protocol", "", "Cannot be changed later."),
    (
        "listener",
        "protocol_port",
        "",
        "Unique per load balancer and L4 protocol, else 409.",
    ),
    (
        "listener",
        "connection_limit",
        "-1",
        "-1: none. 0 means the configured default.",
    ),
    (
        "listener",
        "default_pool_id",
        "",
        "A pool of the same load balancer with a compatible protocol.",
    ),
    (
        "listener",
        "default_pool",
        "",
        "In a tree: a pool, or the name of one.",
    ),
    (
        "listener",
        "default_tls_container_ref",
        "",
        "PKCS#12 or PEM in the key manager; TERMINATED_HTTPS only.",
    ),
    (
        "listener",
        "sni_container_refs",
        "[]",
        "Certificates chosen by server name.",
    ),
    (
        "listener",
        "insert_headers",
        "{}",
        "Only for HTTP and TERMINATED_HTTPS; \"true\" switches one on.",
    ),
    (
        "listener",
        "timeout_client_data",
        "50000",
        "Milliseconds; 0 means the default.",
    ),
    (
        "listener",
        "timeout_member_connect",
        "5000",
        "Milliseconds; 0 means the default.",
    ),
    (
        "listener",
        "timeout_member_data",
        "50000",
        "Milliseconds; 0 means the default.",
    ),
    ("listener", "timeout_tcp_inspect", "0", "Milliseconds."),
    (
        "listener",
        "client_ca_tls_container_ref",
        "",
        "The CA of clients' certificates.",
    ),
    (
        "listener",
        "client_authentication",
        "\"NONE\"",
        "Needs a client CA unless NONE.",
    ),
    (
        "listener",
        "client_crl_container_ref",
        "",
        "Signed by the client CA.",
    ),
    (
        "listener",
        "allowed_cidrs",
        "",
        "Who may connect; host bits are masked off.",
    ),
    ("listener", "tls_ciphers", "", "An OpenSSL list."),
    (
        "listener",
        "tls_versions",
        "",
        "SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3.",
    ),
    ("listener", "alpn_protocols", "", "h2, http/1.1, http/1.0."),
    (
        "listener",
        "hsts_max_age",
        "",
        "Seconds; TERMINATED_HTTPS only.",
    ),
    (
        "listener",
        "hsts_include_subdomains",
        "false",
        "Needs hsts_max_age.",
    ),
    ("listener", "hsts_preload", "false", "Needs hsts_max_age."),
    ("pool", "lb_algorithm", "", "How members are chosen."),
    (
        "pool",
        "protocol",
        "",
        "Must be compatible with the listener's.",
    ),
    (
        "pool",
        "listener_id",
        "",
        "Makes it that listener's default pool.",
    ),
    (
        "pool",
        "loadbalancer_id",
        "",
        "This or listener_id is needed.",
    ),
    ("pool", "session_persistence", "", "Null or {} removes it."),
    ("pool", "tls_enabled", "false", "Encrypt to members."),
    (
        "pool",
        "tls_container_ref",
        "",
        "The certificate shown to members.",
    ),
    (
        "pool",
        "ca_tls_container_ref",
        "",
        "The CA of members' certificates.",
    ),
    ("pool", "crl_container_ref", "", "Signed by that CA."),
    (
        "pool",
        "members",
        "[]",
        "Only when the load balancer is created in one call.",
    ),
    (
        "pool",
        "healthmonitor",
        "",
        "Only when the load balancer is created in one call.",
    ),
    (
        "session_persistence",
        "cookie_name",
        "",
        "APP_COOKIE needs it, the others forbid it.",
    ),
    (
        "session_persistence",
        "persistence_timeout",
        "",
        "Seconds; UDP and SCTP only.",
    ),
    (
        "session_persistence",
        "persistence_granularity",
        "",
        "A netmask; UDP and SCTP only.",
    ),
    (
        "member",
        "address",
        "",
        "Unique with the port in its pool, else 409.",
    ),
    ("member", "weight", "1", "0: no new connections."),
    (
        "member",
        "backup",
        "false",
        "Used when no other member is up.",
    ),
    (
        "member",
        "subnet_id",
        "",
        "Where the member is reached; default: the VIP's subnet.",
    ),
    (
        "member",
        "monitor_address",
        "",
        "Probed instead of address.",
    ),
    (
        "member",
        "monitor_port",
        "",
        "Probed instead of protocol_port.",
    ),
    (
        "member",
        "request_sriov",
        "false",
        "Needs a flavor with allow_member_sriov.",
    ),
    ("healthmonitor", "delay", "", "Seconds between probes."),
    ("healthmonitor", "timeout", "", "Seconds a probe may take."),
    (
        "healthmonitor",
        "max_retries",
        "",
        "Probes that must succeed for ONLINE.",
    ),
    (
        "healthmonitor",
        "max_retries_down",
        "3",
        "Probes that must fail for ERROR.",
    ),
    (
        "healthmonitor",
        "http_method",
        "\"GET\"",
        "HTTP and HTTPS only.",
    ),
    ("healthmonitor", "url_path", "\"/\"", "HTTP and HTTPS only."),
    (
        "healthmonitor",
        "expected_codes",
        "\"200\"",
        "A code, a list, or one range; HTTP and HTTPS only.",
    ),
    ("healthmonitor", "http_version", "", "1.0 or 1.1."),
    (
        "healthmonitor",
        "domain_name",
        "",
        "Sent as Host; needs http_version 1.1.",
    ),
    (
        "l7policy",
        "position",
        "2147483647",
        "From 1; the default appends.",
    ),
    (
        "l7policy",
        "redirect_http_code",
        "302",
        "301, 302, 303, 307 or 308.",
    ),
    (
        "l7policy",
        "redirect_url",
        "",
        "http or https, with a host.",
    ),
    (
        "l7policy",
        "redirect_prefix",
        "",
        "http or https, with a host.",
    ),
    (
        "l7policy",
        "redirect_pool_id",
        "",
        "A pool of the same load balancer.",
    ),
    (
        "rule",
        "key",
        "",
        "HEADER, COOKIE and SSL_DN_FIELD need it.",
    ),
    ("rule", "value", "", "A REGEX must compile."),
    ("rule", "invert", "false", ""),
    ("flavor", "enabled", "true", ""),
    (
        "flavorprofile",
        "flavor_data",
        "",
        "A JSON document as text.",
    ),
    (
        "availability_zone",
        "name",
        "",
        "Unique: it is the identity.",
    ),
    ("availability_zone", "enabled", "true", ""),
    (
        "availability_zone_profile",
        "availability_zone_data",
        "",
        "A JSON document as text.",
    ),
];

/// Arguments of lists: name and meaning.
pub(super) const LIST_ARGUMENTS: &[(&str, &str)] = &[
    (
        "limit",
        "Items on a page; below 1 or `infinite`: as many as the server allows.",
    ),
    ("marker", "The last item of the page before."),
    ("page_reverse", "`True`: the page before the marker."),
    ("sort", "`key[:asc|desc],…`. Default: created_at, then id."),
    ("sort_key", "Older form of sort."),
    ("sort_dir", "Directions for sort_key."),
];

pub(super) const TAG_ARGUMENTS: &[(&str, &str)] = &[
    ("tags", "Has all of these."),
    ("tags-any", "Has one of these."),
    ("not-tags", "Does not have all of these together."),
    ("not-tags-any", "Has none of these."),
];

pub(super) const FIELDS_ARGUMENT: (&str, &str) = (
    "fields",
    "Only these fields are answered; repeated, or with commas.",
);
