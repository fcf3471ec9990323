-- What runs are listed by beyond what every run has, and what is known of namespaces; and the deletion of runs.

-- Search attributes, as store/attributes.rs writes them; null for most runs, which makes their rows no larger.
ALTER TABLE engine.execution ADD COLUMN attributes jsonb;

-- Retention, registered search attributes and the like, as the server encodes them. `version` counts updates.
ALTER TABLE engine.namespace ADD COLUMN version int8 NOT NULL DEFAULT 1;
ALTER TABLE engine.namespace ADD COLUMN settings bytea NOT NULL DEFAULT '';

-- As before, but for search attributes: `p_new_attributes` may be shorter than the runs that it belongs to, the last ones having
-- none; `p_listed_…` are those that changed.
DROP FUNCTION engine.commit_batch;
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
    p_new_attributes text[],
    p_listed_shard int4[], p_listed_namespace int4[], p_listed_workflow text[], p_listed_run uuid[], p_listed text[],
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
                                      started_at, closed_at, history_length, wake_at, request_id, attributes)
        SELECT n.shard_id, n.namespace_id, n.workflow_id, n.run_id, n.type, n.queue, n.status,
               n.started, n.closed, n.length, n.wake, n.request, n.attributes::jsonb
        FROM unnest(p_new_shard, p_new_namespace, p_new_workflow, p_new_run, p_new_type, p_new_queue,
                    p_new_status, p_new_started, p_new_closed, p_new_length, p_new_wake, p_new_request, p_new_attributes)
            AS n (shard_id, namespace_id, workflow_id, run_id, type, queue, status, started, closed, length, wake,
                  request, attributes)
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

    IF cardinality(p_listed_run) > 0 THEN
        UPDATE engine.execution e SET attributes = l.attributes::jsonb
        FROM unnest(p_listed_shard, p_listed_namespace, p_listed_workflow, p_listed_run, p_listed)
            AS l (shard_id, namespace_id, workflow_id, run_id, attributes)
        WHERE e.shard_id = l.shard_id AND e.namespace_id = l.namespace_id AND e.workflow_id = l.workflow_id
          AND e.run_id = l.run_id;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count <> cardinality(p_listed_run) THEN
            RAISE EXCEPTION 'a run whose attributes changed has no row' USING ERRCODE = 'EN002';
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

-- Deletes runs with everything beside them: a transaction by itself, fenced as a batch is. Runs that are not there are passed over.
CREATE FUNCTION engine.delete_runs(
    p_shards int4[], p_epochs int8[],
    p_shard int4[], p_namespace int4[], p_workflow text[], p_run uuid[],
    OUT fenced int4
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

    DELETE FROM engine.history h USING unnest(p_shard, p_run) AS d (shard_id, run_id)
    WHERE h.shard_id = d.shard_id AND h.run_id = d.run_id;
    DELETE FROM engine.buffered_event b USING unnest(p_shard, p_run) AS d (shard_id, run_id)
    WHERE b.shard_id = d.shard_id AND b.run_id = d.run_id;
    DELETE FROM engine.activity_progress p USING unnest(p_shard, p_run) AS d (shard_id, run_id)
    WHERE p.shard_id = d.shard_id AND p.run_id = d.run_id;
    DELETE FROM engine.execution e
    USING unnest(p_shard, p_namespace, p_workflow, p_run) AS d (shard_id, namespace_id, workflow_id, run_id)
    WHERE e.shard_id = d.shard_id AND e.namespace_id = d.namespace_id AND e.workflow_id = d.workflow_id
      AND e.run_id = d.run_id;
END
$$;
