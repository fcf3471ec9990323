-- The same tables as in Postgres. Run ids are blobs of 16 bytes, so that they compare as they do there.
-- Instants are microseconds since the Unix epoch.

CREATE TABLE namespace (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE node (
    name        TEXT NOT NULL PRIMARY KEY,
    incarnation BLOB NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shard (
    id                INTEGER NOT NULL PRIMARY KEY,
    epoch             INTEGER NOT NULL,
    owner             TEXT,
    owner_incarnation BLOB
) STRICT;

-- One row for each run. `status` is null while the run is open.
CREATE TABLE execution (
    shard_id       INTEGER NOT NULL,
    namespace_id   INTEGER NOT NULL,
    workflow_id    TEXT NOT NULL,
    run_id         BLOB NOT NULL,
    workflow_type  TEXT NOT NULL,
    task_queue     TEXT NOT NULL,
    status         INTEGER,
    started_at     INTEGER NOT NULL,
    closed_at      INTEGER,
    history_length INTEGER NOT NULL,
    wake_at        INTEGER NOT NULL,
    request_id     TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX execution_key ON execution (shard_id, namespace_id, workflow_id, run_id);
CREATE INDEX execution_visible ON execution (namespace_id, run_id);
CREATE INDEX execution_wake ON execution (shard_id, wake_at, run_id) WHERE status IS NULL;

-- Only ever appended. With a row id, so that rows go to the end of the table in the order in which they come.
CREATE TABLE history (
    shard_id       INTEGER NOT NULL,
    run_id         BLOB NOT NULL,
    first_event_id INTEGER NOT NULL,
    events         BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX history_key ON history (shard_id, run_id, first_event_id);

CREATE TABLE buffered_event (
    shard_id INTEGER NOT NULL,
    run_id   BLOB NOT NULL,
    position INTEGER NOT NULL,
    event    BLOB NOT NULL,
    PRIMARY KEY (shard_id, run_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE activity_progress (
    shard_id           INTEGER NOT NULL,
    run_id             BLOB NOT NULL,
    scheduled_event_id INTEGER NOT NULL,
    progress           BLOB NOT NULL,
    PRIMARY KEY (shard_id, run_id, scheduled_event_id)
) STRICT, WITHOUT ROWID;
