-- What each host's agent declares that its data path can do: a JSON list of names. A host without a
-- row has an agent that declares nothing yet.
CREATE TABLE host_capabilities (
    host TEXT NOT NULL PRIMARY KEY,
    names TEXT NOT NULL
);
