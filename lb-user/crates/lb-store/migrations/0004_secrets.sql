-- What the Key Manager API tells of a secret beside its payload. `sealed` and `content_type` are ''
-- while a secret made in two steps has no payload.
ALTER TABLE secrets ADD COLUMN updated_at BIGINT;
ALTER TABLE secrets ADD COLUMN expires_at BIGINT;
ALTER TABLE secrets ADD COLUMN creator_id TEXT;
ALTER TABLE secrets ADD COLUMN algorithm TEXT;
ALTER TABLE secrets ADD COLUMN mode TEXT;
ALTER TABLE secrets ADD COLUMN bit_length BIGINT;
ALTER TABLE secrets ADD COLUMN secret_type TEXT NOT NULL DEFAULT 'opaque';
ALTER TABLE secrets ADD COLUMN acl TEXT;

CREATE TABLE secret_containers (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    creator_id TEXT,
    acl TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE INDEX secret_containers_project ON secret_containers (project_id, created_at, id);

-- No reference to secrets: a container may outlive one.
CREATE TABLE secret_container_items (
    container_id TEXT NOT NULL REFERENCES secret_containers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    secret_id TEXT NOT NULL,
    PRIMARY KEY (container_id, name)
);
CREATE INDEX secret_container_items_secret ON secret_container_items (secret_id);

-- Consumers that clients registered with a secret or container; they bind nothing.
CREATE TABLE secret_registrations (
    owner_id TEXT NOT NULL,
    service TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner_id, service, resource_type, resource_id)
);

-- The last good copy of what a load balancer uses of a key manager, sealed. No reference to
-- load_balancers: it is written before the load balancer that is to use it.
CREATE TABLE secret_copies (
    load_balancer_id TEXT NOT NULL,
    secret_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    sealed TEXT NOT NULL,
    lost BOOLEAN NOT NULL DEFAULT FALSE,
    fetched_at BIGINT NOT NULL,
    PRIMARY KEY (load_balancer_id, secret_id, kind)
);
CREATE INDEX secret_copies_fetched ON secret_copies (fetched_at);
