-- One text for SQLite and PostgreSQL: ids TEXT (36 characters), times BIGINT microseconds since the
-- Unix epoch, counters BIGINT, lists TEXT holding JSON that is never queried inside, no triggers,
-- no autoincrement.

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE load_balancers (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    vip_address TEXT NOT NULL,
    vip_port_id TEXT NOT NULL,
    vip_subnet_id TEXT NOT NULL,
    vip_network_id TEXT NOT NULL,
    additional_vips TEXT NOT NULL,
    provider TEXT NOT NULL,
    topology TEXT NOT NULL,
    generation BIGINT NOT NULL,
    failover_count BIGINT NOT NULL
);
CREATE INDEX load_balancers_project ON load_balancers (project_id, created_at, id);
CREATE INDEX load_balancers_name ON load_balancers (name);
CREATE INDEX load_balancers_created ON load_balancers (created_at, id);
CREATE INDEX load_balancers_status ON load_balancers (provisioning_status);

CREATE TABLE listeners (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    protocol TEXT NOT NULL,
    protocol_port BIGINT NOT NULL,
    connection_limit BIGINT,
    default_pool_id TEXT,
    default_tls_container_ref TEXT,
    sni_container_refs TEXT NOT NULL,
    insert_headers TEXT NOT NULL,
    timeout_client_data BIGINT,
    timeout_member_connect BIGINT,
    timeout_member_data BIGINT,
    timeout_tcp_inspect BIGINT,
    client_ca_tls_container_ref TEXT,
    client_authentication TEXT NOT NULL,
    client_crl_container_ref TEXT,
    allowed_cidrs TEXT NOT NULL,
    tls_ciphers TEXT,
    tls_versions TEXT,
    alpn_protocols TEXT,
    hsts_max_age BIGINT,
    hsts_include_subdomains BOOLEAN NOT NULL,
    hsts_preload BOOLEAN NOT NULL
);
CREATE INDEX listeners_load_balancer ON listeners (load_balancer_id);
CREATE INDEX listeners_project ON listeners (project_id, created_at, id);
CREATE INDEX listeners_name ON listeners (name);

CREATE TABLE pools (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    protocol TEXT NOT NULL,
    lb_algorithm TEXT NOT NULL,
    session_persistence TEXT,
    tls_enabled BOOLEAN NOT NULL,
    tls_container_ref TEXT,
    ca_tls_container_ref TEXT,
    crl_container_ref TEXT,
    tls_ciphers TEXT,
    tls_versions TEXT,
    alpn_protocols TEXT
);
CREATE INDEX pools_load_balancer ON pools (load_balancer_id);
CREATE INDEX pools_project ON pools (project_id, created_at, id);
CREATE INDEX pools_name ON pools (name);

CREATE TABLE members (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    pool_id TEXT NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    address TEXT NOT NULL,
    protocol_port BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    backup BOOLEAN NOT NULL,
    subnet_id TEXT,
    monitor_address TEXT,
    monitor_port BIGINT
);
CREATE INDEX members_load_balancer ON members (load_balancer_id);
CREATE INDEX members_pool ON members (pool_id, created_at, id);
CREATE INDEX members_project ON members (project_id);
CREATE INDEX members_name ON members (name);

CREATE TABLE health_monitors (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    pool_id TEXT NOT NULL UNIQUE REFERENCES pools (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    type TEXT NOT NULL,
    delay BIGINT NOT NULL,
    timeout BIGINT NOT NULL,
    max_retries BIGINT NOT NULL,
    max_retries_down BIGINT NOT NULL,
    http_method TEXT,
    url_path TEXT,
    expected_codes TEXT,
    http_version TEXT,
    domain_name TEXT
);
CREATE INDEX health_monitors_load_balancer ON health_monitors (load_balancer_id);
CREATE INDEX health_monitors_project ON health_monitors (project_id, created_at, id);
CREATE INDEX health_monitors_name ON health_monitors (name);

CREATE TABLE l7policies (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    listener_id TEXT NOT NULL REFERENCES listeners (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    action TEXT NOT NULL,
    redirect_pool_id TEXT,
    redirect_url TEXT,
    redirect_prefix TEXT,
    redirect_http_code BIGINT
);
CREATE INDEX l7policies_load_balancer ON l7policies (load_balancer_id);
CREATE INDEX l7policies_listener ON l7policies (listener_id);
CREATE INDEX l7policies_project ON l7policies (project_id, created_at, id);
CREATE INDEX l7policies_name ON l7policies (name);

CREATE TABLE l7rules (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    l7policy_id TEXT NOT NULL REFERENCES l7policies (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BOOLEAN NOT NULL,
    provisioning_status TEXT NOT NULL,
    operating_status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    type TEXT NOT NULL,
    compare_type TEXT NOT NULL,
    rule_key TEXT,
    value TEXT NOT NULL,
    invert BOOLEAN NOT NULL
);
CREATE INDEX l7rules_load_balancer ON l7rules (load_balancer_id);
CREATE INDEX l7rules_policy ON l7rules (l7policy_id, created_at, id);
CREATE INDEX l7rules_project ON l7rules (project_id);
CREATE INDEX l7rules_name ON l7rules (name);

-- Tags are queried (tags, tags-any, not-tags, not-tags-any), so they are rows. An object's tags live
-- and die with its load balancer, or are removed with the object by the code that removes its row.
CREATE TABLE tags (
    resource_id TEXT NOT NULL,
    tag TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    PRIMARY KEY (resource_id, tag)
);
CREATE INDEX tags_load_balancer ON tags (load_balancer_id);

CREATE TABLE amphorae (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    slot BIGINT NOT NULL,
    host TEXT NOT NULL,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    UNIQUE (load_balancer_id, slot)
);

-- Every address that is ours. The reference is deferred so that a VIP can be reserved before the row
-- of its load balancer is written, in the same transaction.
CREATE TABLE ports (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT NOT NULL
        REFERENCES load_balancers (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    project_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    amphora_id TEXT,
    network_id TEXT NOT NULL,
    subnet_id TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (network_id, address)
);
CREATE INDEX ports_load_balancer ON ports (load_balancer_id);
CREATE INDEX ports_subnet ON ports (subnet_id);

CREATE TABLE secrets (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX secrets_project ON secrets (project_id, created_at, id);

-- Which load balancer names which secret. No reference to secrets: a listener may outlive one.
CREATE TABLE secret_consumers (
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    secret_id TEXT NOT NULL,
    PRIMARY KEY (load_balancer_id, secret_id)
);
CREATE INDEX secret_consumers_secret ON secret_consumers (secret_id);

CREATE TABLE hosts (
    name TEXT NOT NULL PRIMARY KEY,
    addresses TEXT NOT NULL,
    last_seen BIGINT NOT NULL
);

CREATE TABLE member_health (
    member_id TEXT NOT NULL PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    up BOOLEAN NOT NULL,
    since BIGINT NOT NULL
);
CREATE INDEX member_health_load_balancer ON member_health (load_balancer_id);

-- Totals survive restarts of whatever counts: last_* is the counter as it was last reported, and only
-- what it grew by is added.
CREATE TABLE listener_stats (
    listener_id TEXT NOT NULL REFERENCES listeners (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    load_balancer_id TEXT NOT NULL REFERENCES load_balancers (id) ON DELETE CASCADE,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    active_connections BIGINT NOT NULL,
    total_connections BIGINT NOT NULL,
    request_errors BIGINT NOT NULL,
    last_bytes_in BIGINT NOT NULL,
    last_bytes_out BIGINT NOT NULL,
    last_total_connections BIGINT NOT NULL,
    last_request_errors BIGINT NOT NULL,
    PRIMARY KEY (listener_id, host)
);
CREATE INDEX listener_stats_load_balancer ON listener_stats (load_balancer_id);
