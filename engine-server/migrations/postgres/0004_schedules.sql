-- One row for each schedule: what it is and how far it has come, as one value that its shard's owner replaces as a whole.
CREATE TABLE engine.schedule (
    wake_at      int8 NOT NULL,
    revision     int8 NOT NULL,
    shard_id     int4 NOT NULL,
    namespace_id int4 NOT NULL,
    schedule_id  text COLLATE "C" NOT NULL,
    schedule     bytea NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, schedule_id)
) WITH (fillfactor = 50);
-- Which are due.
CREATE INDEX schedule_wake ON engine.schedule (shard_id, wake_at, namespace_id, schedule_id);
-- What lists read.
CREATE INDEX schedule_visible ON engine.schedule (namespace_id, schedule_id);

-- Writes a schedule if the epoch is its shard's and the revision is the one expected (0: there is none); without a value, deletes it.
-- 0: fenced. 1: done. 2: it has another revision. FOR SHARE is the fence, as in `commit_batch`.
CREATE FUNCTION engine.write_schedule(
    p_shard int4, p_epoch int8, p_namespace int4, p_schedule_id text, p_replaces int8, p_wake_at int8, p_schedule bytea
) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE
    v_rows int8;
BEGIN
    PERFORM 1 FROM engine.shard s WHERE s.id = p_shard AND s.epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF p_schedule IS NULL THEN
        DELETE FROM engine.schedule s WHERE s.shard_id = p_shard AND s.namespace_id = p_namespace
            AND s.schedule_id = p_schedule_id AND s.revision = p_replaces;
    ELSIF p_replaces = 0 THEN
        INSERT INTO engine.schedule (wake_at, revision, shard_id, namespace_id, schedule_id, schedule)
        VALUES (p_wake_at, 1, p_shard, p_namespace, p_schedule_id, p_schedule) ON CONFLICT DO NOTHING;
    ELSE
        UPDATE engine.schedule s SET wake_at = p_wake_at, revision = p_replaces + 1, schedule = p_schedule
        WHERE s.shard_id = p_shard AND s.namespace_id = p_namespace AND s.schedule_id = p_schedule_id
            AND s.revision = p_replaces;
    END IF;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN CASE WHEN v_rows = 1 THEN 1 ELSE 2 END;
END;
$$;
