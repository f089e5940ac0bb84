-- Ports that users made: an address need not be a load balancer's. The columns stay as they were, in
-- their order, so that a server of the version before reads them as ever.
CREATE TABLE ports_new (
    id TEXT NOT NULL PRIMARY KEY,
    load_balancer_id TEXT
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
INSERT INTO ports_new (id, load_balancer_id, project_id, purpose, amphora_id, network_id, subnet_id,
        address, created_at)
    SELECT id, load_balancer_id, project_id, purpose, amphora_id, network_id, subnet_id, address,
        created_at
    FROM ports;
DROP TABLE ports;
ALTER TABLE ports_new RENAME TO ports;
CREATE INDEX ports_load_balancer ON ports (load_balancer_id);
CREATE INDEX ports_subnet ON ports (subnet_id);
CREATE INDEX ports_created ON ports (created_at, id);
-- Members are asked about by address alone.
CREATE INDEX ports_address ON ports (address);

-- A port that a user made. It outlives the load balancer whose VIP it holds.
CREATE TABLE user_ports (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    network_id TEXT NOT NULL,
    load_balancer_id TEXT
        REFERENCES load_balancers (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    created_at BIGINT NOT NULL
);
CREATE INDEX user_ports_project ON user_ports (project_id, created_at, id);
CREATE INDEX user_ports_load_balancer ON user_ports (load_balancer_id);

-- Its addresses: rows of ports without a load balancer.
CREATE TABLE user_port_addresses (
    address_id TEXT NOT NULL PRIMARY KEY REFERENCES ports (id) ON DELETE CASCADE,
    port_id TEXT NOT NULL REFERENCES user_ports (id) ON DELETE CASCADE,
    ordinal BIGINT NOT NULL
);
CREATE INDEX user_port_addresses_port ON user_port_addresses (port_id, ordinal);

-- What a network service is to enforce on the VIPs.
ALTER TABLE load_balancers ADD COLUMN vip_qos_policy_id TEXT;
ALTER TABLE load_balancers ADD COLUMN vip_sg_ids TEXT NOT NULL DEFAULT '[]';
