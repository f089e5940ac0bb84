-- What an operator grants and offers: quotas, flavors, availability zones, and what they are made of.

-- A project's own limits; NULL takes the configured default. The row is also what creates lock.
CREATE TABLE quotas (
    project_id TEXT NOT NULL PRIMARY KEY,
    loadbalancer BIGINT,
    listener BIGINT,
    pool BIGINT,
    member BIGINT,
    healthmonitor BIGINT,
    l7policy BIGINT,
    l7rule BIGINT
);

CREATE TABLE flavor_profiles (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    flavor_data TEXT NOT NULL
);

CREATE TABLE flavors (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    flavor_profile_id TEXT NOT NULL REFERENCES flavor_profiles (id)
);
CREATE INDEX flavors_profile ON flavors (flavor_profile_id);

CREATE TABLE availability_zone_profiles (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    availability_zone_data TEXT NOT NULL
);

CREATE TABLE availability_zones (
    name TEXT NOT NULL PRIMARY KEY,
    description TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    availability_zone_profile_id TEXT NOT NULL REFERENCES availability_zone_profiles (id)
);
CREATE INDEX availability_zones_profile ON availability_zones (availability_zone_profile_id);

ALTER TABLE load_balancers ADD COLUMN flavor_id TEXT REFERENCES flavors (id);
ALTER TABLE load_balancers ADD COLUMN availability_zone TEXT REFERENCES availability_zones (name);
ALTER TABLE load_balancers ADD COLUMN vip_vnic_type TEXT NOT NULL DEFAULT 'normal';
ALTER TABLE load_balancers ADD COLUMN member_sriov BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX load_balancers_flavor ON load_balancers (flavor_id);
CREATE INDEX load_balancers_availability_zone ON load_balancers (availability_zone);

ALTER TABLE members ADD COLUMN vnic_type TEXT NOT NULL DEFAULT 'normal';
