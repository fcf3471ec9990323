-- One row for each deployment: its versions and its routing, as one value that is replaced as a whole over a known revision.
CREATE TABLE deployment (
    namespace_id INTEGER NOT NULL,
    name         TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    deployment   BLOB NOT NULL,
    PRIMARY KEY (namespace_id, name)
) STRICT;
