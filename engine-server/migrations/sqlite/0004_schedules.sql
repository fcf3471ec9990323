-- One row for each schedule: what it is and how far it has come, as one value that its shard's owner replaces as a whole.
CREATE TABLE schedule (
    shard_id     INTEGER NOT NULL,
    namespace_id INTEGER NOT NULL,
    schedule_id  TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    wake_at      INTEGER NOT NULL,
    schedule     BLOB NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, schedule_id)
) STRICT;
CREATE INDEX schedule_wake ON schedule (shard_id, wake_at, namespace_id, schedule_id);
CREATE INDEX schedule_visible ON schedule (namespace_id, schedule_id);
