-- Closed runs that still owe messages to other workflows. Few at any time: they leave the index when the messages are delivered.
CREATE INDEX execution_owing ON engine.execution (shard_id, run_id) WHERE status IS NOT NULL AND wake_at < 0;
