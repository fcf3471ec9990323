//! The server's own limits, with their reasons. Those of the rules are in [`engine_core::limits`].

use std::time::Duration;

/// Most row operations in one group commit. At 7 µs a row a batch of this size keeps its callers waiting about 15 ms.
pub const BATCH_ROWS_MAX: usize = 2_000;

/// Most bytes in one group commit.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most requests that wait for a lane. Beyond it callers wait, so that a slow database slows its users instead of filling
/// memory.
pub const LANE_INBOX_MAX: usize = 8_192;

/// From this many waiting requests on, a lane refuses starts with RESOURCE_EXHAUSTED: work that was accepted goes first.
pub const LANE_SHED_STARTS: usize = 6_000;

/// Most requests handled before a lane looks at its database work again.
pub const LANE_DRAIN_MAX: usize = 1_024;

/// Most results of workers that wait for a shard that is being recovered. Beyond it the worker's stream is ended; the worker
/// sends them again.
pub const HELD_RESULTS_MAX: usize = 4_096;

/// Most messages to other workflows that a lane has on their way at once. The rest waits in the runs that owe them.
pub const MESSAGES_IN_FLIGHT_MAX: usize = 1_024;

/// First pause before a message that could not be delivered is tried again; doubled up to [`MESSAGE_RETRY_MAX`].
pub const MESSAGE_RETRY_INITIAL: Duration = Duration::from_millis(50);

/// Longest pause before a message is tried again.
pub const MESSAGE_RETRY_MAX: Duration = Duration::from_secs(5);

/// Most runs that one read of the store loads.
pub const LOAD_RUNS_MAX: usize = 256;

/// How much of the end of a run's history stays in memory. A workflow task that needs more sends the worker to read the rest.
pub const HISTORY_TAIL_BYTES: usize = 256 * 1024;

/// Default budget for runs in memory, for each lane: some 10,000 idle runs. Runs with work under way are kept beyond it.
pub const CACHE_BYTES_DEFAULT: usize = 32 * 1024 * 1024;

/// How long an idle run stays in memory before it is parked.
pub const PARK_AFTER: Duration = Duration::from_secs(10);

/// A run whose next deadline is nearer than this is not parked for its age: loading it again would cost more.
pub const PARK_HORIZON: Duration = Duration::from_secs(60);

/// Most events in one row of history. A turn rarely has as many; the beginning of a run that goes on from a point of another one has all
/// that the two share, and readers take whole rows.
pub const TURN_EVENTS_MAX: usize = 1_000;

/// Most bytes of history that a run can have to be reset: it is read into memory, and its beginning is written in one batch.
pub const RESET_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How often a reset is tried while the run goes on between reading and deciding.
pub const RESET_TRIES: u32 = 5;

/// Most bytes of history in one workflow task, and in one page of history, before the rest is left to the next page.
pub const HISTORY_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Most queues that one worker may serve.
pub const QUEUES_PER_WORKER_MAX: usize = 100;

/// Most types that one worker may have.
pub const TYPES_PER_WORKER_MAX: usize = 10_000;

/// Most credits that a worker may hold, of each kind: more is a mistake, and would only move the backlog to its memory.
pub const CREDITS_MAX: u32 = 100_000;

/// Longest grace that a worker may ask for.
pub const ACTIVITY_GRACE_MAX: Duration = Duration::from_secs(600);

/// How long the activities of a broken stream wait for their worker, unless it asked otherwise.
pub const ACTIVITY_GRACE_DEFAULT: Duration = Duration::from_secs(2);

/// How long a recovered shard waits for workers to claim what they had in hand, by default.
pub const RECOVERY_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// How often the server sends something on each worker's stream, at least.
pub const SESSION_KEEPALIVE: Duration = Duration::from_secs(5);

/// How long a new stream may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Most tasks and acknowledgements gathered into one message to a worker.
pub const SESSION_GATHER_MAX: usize = 256;

/// Size from which a message to a worker takes no further task, in bytes. With one task of the largest payload on top it stays well
/// below the largest gRPC message.
pub const SESSION_MESSAGE_BYTES: usize = 1024 * 1024;

/// Default lease of a node. A dead server's shards are free after it, unless the server comes back under its name.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);

/// Most requests that wait for one schedule. It answers within a write of the store.
pub const SCHEDULE_INBOX_MAX: usize = 256;

/// How many due schedules are read at once.
pub const SCHEDULES_PER_READ: u32 = 100;

/// First pause before a schedule tries again what the server cannot do now; doubled up to [`SCHEDULE_RETRY_MAX`].
pub const SCHEDULE_RETRY_INITIAL: Duration = Duration::from_millis(20);

/// Longest pause before a schedule tries again.
pub const SCHEDULE_RETRY_MAX: Duration = Duration::from_secs(5);

/// Most deployments in a namespace: each server keeps all of them in memory, and a person looks through them.
pub const DEPLOYMENTS_MAX: usize = 100;

/// Most versions of a deployment. When another one connects, the one that has been out of use for the longest is forgotten, of those that no
/// open run is pinned to.
pub const VERSIONS_MAX: usize = 100;

/// Largest deployment with its versions and their task queues, in bytes: it is one row, written and read as a whole.
pub const DEPLOYMENT_BYTES_MAX: usize = 1024 * 1024;

/// How often a server reads the deployments again, if there are any: for so long it may act by a routing that another has changed.
pub const DEPLOYMENTS_REFRESH: Duration = Duration::from_secs(10);

/// Most batches of a namespace that are kept, at work or over: so many can be listed at once and looked through by a person.
pub const BATCHES_MAX: u32 = 1000;

/// How many runs a second a batch reaches that does not say: a small share of what a server does.
pub const BATCH_RATE_DEFAULT: u32 = 100;

/// The fastest that a batch may go: it shares the lanes with everything else.
pub const BATCH_RATE_MAX: u32 = 1000;

/// How many runs a batch reads at once, if its rate allows as many in a second.
pub const BATCH_RUNS_PER_READ: u32 = 200;

/// How many runs of a batch are on their way at once.
pub const BATCH_RUNS_UNDER_WAY: usize = 32;

/// How many resets of a batch are on their way at once: each reads a history of up to [`RESET_BYTES_MAX`] into memory.
pub const BATCH_RESETS_UNDER_WAY: usize = 4;

/// How many of the runs that refused are kept with their reasons.
pub const BATCH_FAILURES_KEPT: usize = 10;

/// Largest content of a batch's signal, in bytes: it is in the batch's row, which is written about once a second.
pub const BATCH_INPUT_BYTES_MAX: usize = 64 * 1024;

/// How often a batch tries to delete a run about which something is under way: some 20 s in all.
pub const BATCH_DELETE_TRIES: usize = 12;

/// First pause before a batch tries again what the server cannot do now; doubled up to [`BATCH_RETRY_MAX`].
pub const BATCH_RETRY_INITIAL: Duration = Duration::from_millis(20);

/// Longest pause before a batch tries again.
pub const BATCH_RETRY_MAX: Duration = Duration::from_secs(5);

/// Longest wait of one GetWorkflowResult call.
pub const RESULT_WAIT_MAX: Duration = Duration::from_secs(60);

/// Wait of a GetWorkflowResult call that does not say how long.
pub const RESULT_WAIT_DEFAULT: Duration = Duration::from_secs(20);

/// Longest wait of one call for what becomes of an update.
pub const UPDATE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Wait of such a call that does not say how long.
pub const UPDATE_WAIT_DEFAULT: Duration = Duration::from_secs(20);

/// Longest wait for the answer to a query.
pub const QUERY_WAIT_MAX: Duration = Duration::from_secs(60);

/// Wait for the answer to a query that does not say how long.
pub const QUERY_WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// Most queries of one run that may wait for its workflow task. Each is a caller that waits, with a few words of memory.
pub const QUERIES_WAITING_MAX: usize = 1_000;

/// Most queries that one worker may have in hand. A worker that answers none of them is asked no more.
pub const QUERIES_IN_HAND_MAX: usize = 200;

/// Failures in a row of a run's workflow task from which its queries are refused instead of waiting for it.
pub const QUERY_TASK_FAILURES: u32 = 2;

/// Most namespaces. Each server keeps all of them in memory.
pub const NAMESPACES_MAX: usize = 1_000;

/// How often a server looks for what need not be kept, and reads the namespaces again, which others change too. Long: an idle server
/// leaves its database alone.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(300);

/// Most runs that housekeeping looks at in one read.
pub const HOUSEKEEPING_PAGE: u32 = 200;

/// Number of events from which runs are deleted in a transaction of their own: what one transaction deletes, but for one larger run.
pub const HOUSEKEEPING_EVENTS: u64 = 5_000;

/// Pause after a page of which something was deleted, so that the database has time for others: at most 2,000 runs a second go.
pub const HOUSEKEEPING_PAUSE: Duration = Duration::from_millis(100);

/// Shortest retention: time to read a result.
pub const RETENTION_MIN: Duration = Duration::from_secs(60);

/// Longest retention that is not for ever.
pub const RETENTION_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// How many standalone activities one step of a call that runs many again reads whole and starts: each may have 2 MiB of arguments.
pub const AGAIN_PAGE: u32 = 50;

/// Most standalone activities that one call runs again, unless it says how many.
pub const AGAIN_DEFAULT: u32 = 10_000;

/// Most standalone activities that one call can run again: it is a stream that somebody reads, and a repeat goes on where it ended.
pub const AGAIN_MAX: u32 = 1_000_000;

/// Largest page of a list.
pub const LIST_PAGE_MAX: u32 = 1_000;

/// Page of a list that does not say how large.
pub const LIST_PAGE_DEFAULT: u32 = 100;

/// Largest page of a history, in events.
pub const HISTORY_PAGE_MAX: u32 = 10_000;

/// Page of a history that does not say how large, in events.
pub const HISTORY_PAGE_DEFAULT: u32 = 1_000;

/// Longest text for people in a request: identity, reason.
pub const PEOPLE_TEXT_MAX: usize = 1_000;
