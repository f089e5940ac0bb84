-- Events as they are recorded, until they are numbered. To number them with every change would make
-- all changes of a project wait for each other's commits. A server of the version before still numbers
-- its own, and shows these once a server of this version has numbered them.
CREATE TABLE event_inbox (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    load_balancer_id TEXT,
    message TEXT NOT NULL,
    data TEXT NOT NULL
);
