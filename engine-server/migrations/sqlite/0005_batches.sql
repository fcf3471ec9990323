-- One row for each batch: what it does and how far it has come, as one value that its shard's owner replaces as a whole.
CREATE TABLE batch (
    namespace_id INTEGER NOT NULL,
    batch_id     TEXT NOT NULL,
    shard_id     INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    is_active    INTEGER NOT NULL,
    batch        BLOB NOT NULL,
    PRIMARY KEY (namespace_id, batch_id)
) STRICT;
CREATE INDEX batch_active ON batch (shard_id) WHERE is_active = 1;
