-- One row for each batch: what it does and how far it has come, as one value that its shard's owner replaces as a whole.
CREATE TABLE engine.batch (
    revision     int8 NOT NULL,
    shard_id     int4 NOT NULL,
    namespace_id int4 NOT NULL,
    is_active    bool NOT NULL,
    batch_id     text COLLATE "C" NOT NULL,
    batch        bytea NOT NULL,
    PRIMARY KEY (namespace_id, batch_id)
) WITH (fillfactor = 50);
-- Which go on when their shard gets an owner.
CREATE INDEX batch_active ON engine.batch (shard_id) WHERE is_active;

-- Writes a batch if the epoch is its shard's and the revision is the one expected (0: there is none); without a value, deletes it.
-- 0: fenced. 1: done. 2: it has another revision. FOR SHARE is the fence, as in `commit_batch`.
CREATE FUNCTION engine.write_batch(
    p_shard int4, p_epoch int8, p_namespace int4, p_batch_id text, p_replaces int8, p_is_active bool, p_batch bytea
) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE
    v_rows int8;
BEGIN
    PERFORM 1 FROM engine.shard s WHERE s.id = p_shard AND s.epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF p_batch IS NULL THEN
        DELETE FROM engine.batch b WHERE b.namespace_id = p_namespace AND b.batch_id = p_batch_id
            AND b.revision = p_replaces;
    ELSIF p_replaces = 0 THEN
        INSERT INTO engine.batch (revision, shard_id, namespace_id, is_active, batch_id, batch)
        VALUES (1, p_shard, p_namespace, p_is_active, p_batch_id, p_batch) ON CONFLICT DO NOTHING;
    ELSE
        UPDATE engine.batch b SET is_active = p_is_active, revision = p_replaces + 1, batch = p_batch
        WHERE b.namespace_id = p_namespace AND b.batch_id = p_batch_id AND b.revision = p_replaces;
    END IF;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN CASE WHEN v_rows = 1 THEN 1 ELSE 2 END;
END;
$$;
