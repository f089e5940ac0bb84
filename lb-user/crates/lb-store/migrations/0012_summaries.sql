-- What a list shows of a load balancer's surroundings (ids of its listeners and pools, its tags), kept
-- beside it by whoever writes it. A server of the version before leaves it as it was, so it says of
-- which state of the row it is, and counts for nothing once that is another.
ALTER TABLE load_balancers ADD COLUMN summary TEXT;
