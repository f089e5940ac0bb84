-- How a member's addresses were written, where that is not the usual way; and what stands for the virtual
-- machine of an amphora, which is an id of its host. Servers of the version before leave them alone.
ALTER TABLE members ADD COLUMN address_written TEXT;
ALTER TABLE members ADD COLUMN monitor_address_written TEXT;
ALTER TABLE amphorae ADD COLUMN compute_id TEXT;
