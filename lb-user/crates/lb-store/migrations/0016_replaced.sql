-- By which id clients know an amphora: another one after each failover, which replaces it. Hosts, ports
-- and servers of the version before go by its place's, which stays.
ALTER TABLE amphorae ADD COLUMN shown_id TEXT;
CREATE INDEX amphorae_shown ON amphorae ((COALESCE(shown_id, id)));
