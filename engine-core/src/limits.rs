//! Every limit of the engine, with its reason. A limit that is not here does not exist.

use std::time::Duration;

/// Longest identifier (namespace, workflow id, type, queue, activity id, signal name, request id), in bytes.
/// Identifiers are index keys: Postgres refuses index rows over about 2,700 bytes.
pub const ID_LENGTH_MAX: usize = 1000;

/// Largest total of payloads in one request, command or heartbeat, in bytes: small enough that a gRPC message
/// (4 MiB by default in most clients) always has room for one.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Largest gRPC message, in bytes: a workflow task completion of several commands with payloads fits.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest failure, with its chain of causes, in bytes. Larger ones are cut: a stack trace must not fail a task.
pub const FAILURE_BYTES_MAX: usize = 256 * 1024;

/// Deepest chain of causes that is kept.
pub const FAILURE_CAUSES_MAX: usize = 20;

/// Most activities of one run that may be open at once. Each is held in memory while the run is active.
pub const PENDING_ACTIVITIES_MAX: usize = 10_000;

/// Most timers of one run that may be open at once.
pub const PENDING_TIMERS_MAX: usize = 10_000;

/// Most commands in one workflow task completion. A workflow that wants more issues them over several tasks.
pub const COMMANDS_PER_TASK_MAX: usize = 20_000;

/// Most events that may wait, unnumbered, while a workflow task runs. Above it further signals are refused with
/// RESOURCE_EXHAUSTED until the task ends: a worker that hangs must not fill memory.
pub const BUFFERED_EVENTS_MAX: usize = 50_000;

/// Most bytes of payload in buffered events of one run.
pub const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many signal request ids a run remembers. A repeat that comes after this many later signals counts twice.
pub const SIGNAL_REQUEST_IDS_MAX: usize = 10_000;

/// History length from which a workflow task suggests continue-as-new, in events. Replay reads all of it.
pub const HISTORY_EVENTS_SUGGEST: u64 = 10_000;

/// History size from which a workflow task suggests continue-as-new, in bytes.
pub const HISTORY_BYTES_SUGGEST: u64 = 10 * 1024 * 1024;

/// Start-to-close timeout of a workflow task unless the start says otherwise. Workflow code only computes: a task
/// that takes longer hangs.
pub const WORKFLOW_TASK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Longest workflow task timeout that can be asked for.
pub const WORKFLOW_TASK_TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// First pause before a workflow task is offered again after two failures in a row.
pub const WORKFLOW_TASK_BACKOFF_INITIAL: Duration = Duration::from_secs(1);

/// Longest pause before a failed workflow task is offered again: a fixed deploy heals a run within this time.
pub const WORKFLOW_TASK_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How many workers in a row may vanish with one workflow task before it counts as failed, and pauses like a failed one. Code that
/// kills its process (a stack overflow, too much memory) must not go through all workers in a loop.
pub const WORKFLOW_TASK_LOSSES_MAX: u32 = 5;

/// Longest timer and timeout, 100 years: a sanity bound that keeps instants far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Default first interval of a retry policy.
pub const RETRY_INITIAL_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

/// Default growth of a retry policy's interval.
pub const RETRY_BACKOFF_COEFFICIENT_DEFAULT: f64 = 2.0;

/// Default largest interval of a retry policy, as a multiple of its first.
pub const RETRY_MAXIMUM_INTERVAL_FACTOR_DEFAULT: u32 = 100;

/// Most non-retryable type names in a retry policy.
pub const NON_RETRYABLE_TYPES_MAX: usize = 100;
