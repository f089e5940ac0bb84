-- What hosts carry that the database does not know, after it was restored from a backup: kept until
-- an operator confirms that it may go.
CREATE TABLE orphans (
    load_balancer_id TEXT NOT NULL,
    host TEXT NOT NULL,
    generation BIGINT NOT NULL,
    project_id TEXT,
    found_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    PRIMARY KEY (load_balancer_id, host)
);

-- Their addresses are rows of ports without a load balancer, so that nobody else is given them.
CREATE TABLE orphan_addresses (
    address_id TEXT NOT NULL PRIMARY KEY REFERENCES ports (id) ON DELETE CASCADE,
    load_balancer_id TEXT NOT NULL
);
CREATE INDEX orphan_addresses_load_balancer ON orphan_addresses (load_balancer_id);
