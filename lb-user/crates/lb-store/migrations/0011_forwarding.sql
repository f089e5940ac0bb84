-- What a flavor decides of the data path.
ALTER TABLE load_balancers ADD COLUMN forwarding_mode TEXT NOT NULL DEFAULT 'nat';
ALTER TABLE load_balancers ADD COLUMN l4_path TEXT NOT NULL DEFAULT 'auto';
