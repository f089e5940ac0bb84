-- What lists show of a load balancer, packed, kept beside it by whoever writes it; it takes the place of
-- the summary, which the version before still reads. It says of which state of the row it is, and
-- counts for nothing once that is another.
ALTER TABLE load_balancers ADD COLUMN shown TEXT;
