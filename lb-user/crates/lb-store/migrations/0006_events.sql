-- What happened to a project's objects, for whoever watches (contract: beyond Octavia). Rows are
-- numbered without gaps in the order of their commits: the number is taken under a lock of the
-- project's row in event_sequences, which is held until the commit.

CREATE TABLE event_sequences (
    project_id TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);

CREATE TABLE events (
    project_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    load_balancer_id TEXT,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (project_id, sequence)
);
