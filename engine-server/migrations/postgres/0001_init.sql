-- The tables of the engine, in a schema of their own, so that they can share a database with others.
--
-- Instants are microseconds since the Unix epoch, by the engine's clock; those of leases, by the database's.
-- There are no foreign keys, no triggers and no NOTIFY: each would cost something in every commit.

CREATE TABLE engine.namespace (
    id   int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

-- A process that owns shards. Its lease covers them all, so that renewing it is one small update.
CREATE TABLE engine.node (
    name        text COLLATE "C" PRIMARY KEY,
    incarnation uuid NOT NULL,
    lease_until int8 NOT NULL
) WITH (fillfactor = 50);

-- Who owns a shard, and the fencing number that every batch checks.
CREATE TABLE engine.shard (
    id                int4 PRIMARY KEY,
    epoch             int8 NOT NULL,
    owner             text COLLATE "C",
    owner_incarnation uuid
) WITH (fillfactor = 50);

-- One row for each run. `status` is null while the run is open.
CREATE TABLE engine.execution (
    started_at     int8 NOT NULL,
    wake_at        int8 NOT NULL,
    closed_at      int8,
    history_length int8 NOT NULL,
    shard_id       int4 NOT NULL,
    namespace_id   int4 NOT NULL,
    run_id         uuid NOT NULL,
    status         int2,
    workflow_id    text COLLATE "C" NOT NULL,
    workflow_type  text COLLATE "C" NOT NULL,
    task_queue     text COLLATE "C" NOT NULL,
    request_id     text COLLATE "C" NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, run_id)
    -- Room on each page for the version that closes the run.
) WITH (fillfactor = 80);

-- What lists read: latest run first.
CREATE INDEX execution_visible ON engine.execution (namespace_id, run_id);
-- What recovery reads: the open runs of a shard, by when they must be looked at.
CREATE INDEX execution_wake ON engine.execution (shard_id, wake_at, run_id) WHERE status IS NULL;

-- One row for each turn of a run, only ever appended. Rows of up to a page stay in line, and nothing is compressed:
-- payloads may be ciphertext, and the processor is what runs out first.
CREATE TABLE engine.history (
    first_event_id int8 NOT NULL,
    shard_id       int4 NOT NULL,
    run_id         uuid NOT NULL,
    events         bytea NOT NULL,
    PRIMARY KEY (shard_id, run_id, first_event_id)
) WITH (toast_tuple_target = 8160);
ALTER TABLE engine.history ALTER COLUMN events SET STORAGE EXTERNAL;

-- Events that wait for the running workflow task to end.
CREATE TABLE engine.buffered_event (
    position int8 NOT NULL,
    shard_id int4 NOT NULL,
    run_id   uuid NOT NULL,
    event    bytea NOT NULL,
    PRIMARY KEY (shard_id, run_id, position)
);
ALTER TABLE engine.buffered_event ALTER COLUMN event SET STORAGE EXTERNAL;

-- What is known of open activities beyond their events: attempts, last failure, heartbeat details.
CREATE TABLE engine.activity_progress (
    scheduled_event_id int8 NOT NULL,
    shard_id           int4 NOT NULL,
    run_id             uuid NOT NULL,
    progress           bytea NOT NULL,
    PRIMARY KEY (shard_id, run_id, scheduled_event_id)
) WITH (fillfactor = 70);
ALTER TABLE engine.activity_progress ALTER COLUMN progress SET STORAGE EXTERNAL;

-- Microseconds since the epoch by the database's clock.
CREATE FUNCTION engine.clock() RETURNS int8 LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8
$$;

-- Takes the wanted shards (all, if null) that are free, were the node's, or whose owner's lease has run out.
-- Gives each wanted shard: with its new epoch if it was taken, else with its owner and the rest of that one's lease.
-- Locks are taken on shards first, by number, then on nodes; `release_lease` does the same, so they cannot deadlock.
CREATE FUNCTION engine.acquire_shards(p_name text, p_incarnation uuid, p_wanted int4[])
RETURNS TABLE (shard_id int4, epoch int8, owner text, lease_left int8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_candidates int4[];
    v_taken int4[];
BEGIN
    -- Without locks, so that the batches of live owners are not held up.
    SELECT coalesce(array_agg(s.id), '{}') INTO v_candidates
    FROM engine.shard s LEFT JOIN engine.node n ON n.name = s.owner
    WHERE (p_wanted IS NULL OR s.id = ANY (p_wanted))
      AND (s.owner IS NULL OR s.owner = p_name OR n.lease_until IS NULL OR n.lease_until <= engine.clock());

    -- Waits for batches under way, which hold these rows FOR SHARE.
    PERFORM 1 FROM engine.shard s WHERE s.id = ANY (v_candidates) ORDER BY s.id FOR NO KEY UPDATE;

    PERFORM 1 FROM engine.node n WHERE n.name = p_name AND n.incarnation = p_incarnation FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the node does not hold its lease' USING ERRCODE = 'EN001';
    END IF;

    -- A statement of its own, so with a look at what was committed while this waited.
    WITH taken AS (
        UPDATE engine.shard s SET epoch = s.epoch + 1, owner = p_name, owner_incarnation = p_incarnation
        WHERE s.id = ANY (v_candidates)
          AND (s.owner IS NULL OR s.owner = p_name OR NOT EXISTS (
              SELECT 1 FROM engine.node n WHERE n.name = s.owner AND n.lease_until > engine.clock()))
        RETURNING s.id
    )
    SELECT coalesce(array_agg(taken.id), '{}') INTO v_taken FROM taken;

    RETURN QUERY
    SELECT s.id, CASE WHEN s.id = ANY (v_taken) THEN s.epoch END, coalesce(s.owner, ''),
           greatest(coalesce(n.lease_until, 0) - engine.clock(), 0)
    FROM engine.shard s LEFT JOIN engine.node n ON n.name = s.owner
    WHERE p_wanted IS NULL OR s.id = ANY (p_wanted)
    ORDER BY s.id;
END
$$;

-- Ends the lease of an incarnation, if it still has it, and frees its shards.
CREATE FUNCTION engine.release_lease(p_name text, p_incarnation uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM engine.shard s WHERE s.owner = p_name AND s.owner_incarnation = p_incarnation
    ORDER BY s.id FOR NO KEY UPDATE;
    DELETE FROM engine.node n WHERE n.name = p_name AND n.incarnation = p_incarnation;
    IF FOUND THEN
        UPDATE engine.shard s SET owner = NULL, owner_incarnation = NULL
        WHERE s.owner = p_name AND s.owner_incarnation = p_incarnation;
    END IF;
END
$$;

-- Applies one batch: a round trip, and a transaction by itself. `fenced` is null, or the number of a shard that has a newer
-- owner, and then nothing was written. `left_out` are those of the runs that were presumed to be the first of their workflow
-- ids (`p_new_first`) and are not: of these nothing was written. A shard has one writer, so nobody else can add a run
-- between the look and the insert.
--
-- FOR SHARE is the fence: it makes a takeover wait for this batch, and this batch for a takeover under way, whose epoch
-- it then sees. FOR KEY SHARE would do neither. The rows are locked by number, as in `acquire_shards`.
--
-- Its callers' connections pin the plans to nested loops over the primary keys (store/postgres/connections.rs). Not here:
-- settings of a function are put in place and taken back at each call.
CREATE FUNCTION engine.commit_batch(
    p_shards int4[], p_epochs int8[],
    p_new_shard int4[], p_new_namespace int4[], p_new_workflow text[], p_new_run uuid[],
    p_new_type text[], p_new_queue text[], p_new_status int2[], p_new_started int8[],
    p_new_closed int8[], p_new_length int8[], p_new_wake int8[], p_new_request text[], p_new_first bool[],
    p_close_shard int4[], p_close_namespace int4[], p_close_workflow text[], p_close_run uuid[],
    p_close_status int2[], p_close_at int8[], p_close_length int8[],
    p_wake_shard int4[], p_wake_namespace int4[], p_wake_workflow text[], p_wake_run uuid[], p_wake_at int8[],
    p_history_shard int4[], p_history_run uuid[], p_history_first int8[], p_history_events bytea[],
    p_unbuffer_shard int4[], p_unbuffer_run uuid[],
    p_buffer_shard int4[], p_buffer_run uuid[], p_buffer_position int8[], p_buffer_event bytea[],
    p_done_shard int4[], p_done_run uuid[], p_done_event int8[],
    p_progress_shard int4[], p_progress_run uuid[], p_progress_event int8[], p_progress bytea[],
    OUT fenced int4, OUT left_out uuid[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_count int8;
BEGIN
    SELECT count(*) INTO v_count FROM (
        SELECT 1 FROM unnest(p_shards, p_epochs) AS held (id, epoch)
        JOIN engine.shard s ON s.id = held.id AND s.epoch = held.epoch
        ORDER BY s.id FOR SHARE OF s
    ) AS current;
    IF v_count <> cardinality(p_shards) THEN
        SELECT coalesce(min(held.id), p_shards[1]) INTO fenced FROM unnest(p_shards, p_epochs) AS held (id, epoch)
        LEFT JOIN engine.shard s ON s.id = held.id WHERE s.epoch IS DISTINCT FROM held.epoch;
        RETURN;
    END IF;

    IF true = ANY (p_new_first) THEN
        SELECT array_agg(n.run_id) INTO left_out
        FROM unnest(p_new_shard, p_new_namespace, p_new_workflow, p_new_run, p_new_first)
            AS n (shard_id, namespace_id, workflow_id, run_id, first)
        CROSS JOIN LATERAL (SELECT FROM engine.execution e WHERE e.shard_id = n.shard_id
            AND e.namespace_id = n.namespace_id AND e.workflow_id = n.workflow_id LIMIT 1) AS taken
        WHERE n.first;
    END IF;

    IF cardinality(p_new_run) > 0 THEN
        INSERT INTO engine.execution (shard_id, namespace_id, workflow_id, run_id, workflow_type, task_queue, status,
                                      started_at, closed_at, history_length, wake_at, request_id)
        SELECT * FROM unnest(p_new_shard, p_new_namespace, p_new_workflow, p_new_run, p_new_type, p_new_queue,
                             p_new_status, p_new_started, p_new_closed, p_new_length, p_new_wake, p_new_request)
            AS n (shard_id, namespace_id, workflow_id, run_id)
        WHERE left_out IS NULL OR n.run_id <> ALL (left_out);
    END IF;

    IF cardinality(p_close_run) > 0 THEN
        UPDATE engine.execution e SET status = c.status, closed_at = c.at, history_length = c.length
        FROM unnest(p_close_shard, p_close_namespace, p_close_workflow, p_close_run, p_close_status, p_close_at,
                    p_close_length) AS c (shard_id, namespace_id, workflow_id, run_id, status, at, length)
        WHERE e.shard_id = c.shard_id AND e.namespace_id = c.namespace_id AND e.workflow_id = c.workflow_id
          AND e.run_id = c.run_id;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count <> cardinality(p_close_run) THEN
            RAISE EXCEPTION 'a run that was to be closed has no row' USING ERRCODE = 'EN002';
        END IF;
    END IF;

    IF cardinality(p_wake_run) > 0 THEN
        UPDATE engine.execution e SET wake_at = w.at
        FROM unnest(p_wake_shard, p_wake_namespace, p_wake_workflow, p_wake_run, p_wake_at)
            AS w (shard_id, namespace_id, workflow_id, run_id, at)
        WHERE e.shard_id = w.shard_id AND e.namespace_id = w.namespace_id AND e.workflow_id = w.workflow_id
          AND e.run_id = w.run_id;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count <> cardinality(p_wake_run) THEN
            RAISE EXCEPTION 'a run that was to be woken has no row' USING ERRCODE = 'EN002';
        END IF;
    END IF;

    IF cardinality(p_history_run) > 0 THEN
        INSERT INTO engine.history (shard_id, run_id, first_event_id, events)
        SELECT * FROM unnest(p_history_shard, p_history_run, p_history_first, p_history_events) AS h (shard_id, run_id)
        WHERE left_out IS NULL OR h.run_id <> ALL (left_out);
    END IF;

    IF cardinality(p_unbuffer_run) > 0 THEN
        DELETE FROM engine.buffered_event b
        USING unnest(p_unbuffer_shard, p_unbuffer_run) AS d (shard_id, run_id)
        WHERE b.shard_id = d.shard_id AND b.run_id = d.run_id;
    END IF;

    IF cardinality(p_buffer_run) > 0 THEN
        INSERT INTO engine.buffered_event (shard_id, run_id, position, event)
        SELECT * FROM unnest(p_buffer_shard, p_buffer_run, p_buffer_position, p_buffer_event);
    END IF;

    IF cardinality(p_done_run) > 0 THEN
        DELETE FROM engine.activity_progress p
        USING unnest(p_done_shard, p_done_run, p_done_event) AS d (shard_id, run_id, event)
        WHERE p.shard_id = d.shard_id AND p.run_id = d.run_id AND p.scheduled_event_id = d.event;
    END IF;

    IF cardinality(p_progress_run) > 0 THEN
        INSERT INTO engine.activity_progress (shard_id, run_id, scheduled_event_id, progress)
        SELECT * FROM unnest(p_progress_shard, p_progress_run, p_progress_event, p_progress)
        ON CONFLICT (shard_id, run_id, scheduled_event_id) DO UPDATE SET progress = excluded.progress;
    END IF;
END
$$;
