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

/// Most starts in one StartWorkflows call: enough that the cost of the call disappears in that of its starts, few enough that
/// one caller cannot fill a lane's inbox.
pub const STARTS_MAX: usize = 1_000;

/// Largest failure, with its chain of causes, in bytes. Larger ones are cut: a stack trace must not fail a task.
pub const FAILURE_BYTES_MAX: usize = 256 * 1024;

/// Deepest chain of causes that is kept.
pub const FAILURE_CAUSES_MAX: usize = 20;

/// Most activities of one run that may be open at once. Each is held in memory while the run is active.
pub const PENDING_ACTIVITIES_MAX: usize = 10_000;

/// Most timers of one run that may be open at once.
pub const PENDING_TIMERS_MAX: usize = 10_000;

/// Most names under which one run may publish. With [`PUBLISHED_VALUE_BYTES_MAX`] it keeps all that a run has published, which is
/// held in memory while the run is active and shown by describe, within [`PAYLOAD_BYTES_MAX`].
pub const PUBLISHED_NAMES_MAX: usize = 64;

/// Largest published value, in bytes: it is for people and dashboards; results belong into the workflow's result.
pub const PUBLISHED_VALUE_BYTES_MAX: usize = 32 * 1024;

/// Most children that are open and messages to other workflows that are under way, of one run.
pub const PENDING_PEERS_MAX: usize = 10_000;

/// Longest reason of a request to another workflow to stop, in bytes. Longer ones are cut.
pub const REASON_BYTES_MAX: usize = 1_000;

/// Most commands in one workflow task completion. A workflow that wants more issues them over several tasks.
pub const COMMANDS_PER_TASK_MAX: usize = 20_000;

/// Most events that may wait, unnumbered, while a workflow task runs. Above it further signals are refused with
/// RESOURCE_EXHAUSTED until the task ends: a worker that hangs must not fill memory.
pub const BUFFERED_EVENTS_MAX: usize = 50_000;

/// Most bytes of payload in buffered events of one run.
pub const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many signal request ids a run remembers. A repeat that comes after this many later signals counts twice.
pub const SIGNAL_REQUEST_IDS_MAX: usize = 10_000;

/// How many signal request ids a run hands to the next run of its chain, whose first event holds them. A repeat comes seconds
/// after the first try; a run takes some thousand signals a second.
pub const SIGNAL_REQUEST_IDS_CARRIED: usize = 1_000;

/// Most signals that a run may hand unread to the run that continues it. Code that leaves more unread does not receive them.
pub const UNREAD_SIGNALS_MAX: usize = 50_000;
/// Most updates of one run that may be under way at once: admitted, or accepted and not completed. Each may hold its payload in
/// memory. Further ones are refused with RESOURCE_EXHAUSTED until one is answered.
pub const UPDATES_IN_FLIGHT_MAX: usize = 10;

/// Most pauses of one run. Each is remembered for as long as the run is open: what its timers and timeouts are depends on all of them.
pub const PAUSES_MAX: usize = 1_000;

/// Most updates that one run may accept. Each is remembered, so that a repeat finds its outcome.
pub const UPDATES_PER_RUN_MAX: usize = 2000;

/// Number of accepted updates from which a workflow task suggests continue-as-new: 90 % of [`UPDATES_PER_RUN_MAX`].
pub const UPDATES_SUGGEST: usize = UPDATES_PER_RUN_MAX / 10 * 9;

/// Most bytes of arguments of updates that one workflow task brings; the first is always brought. The message that carries the
/// task also carries history.
pub const UPDATE_BYTES_PER_TASK_MAX: usize = 4 * 1024 * 1024;

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

/// Longest time for which a run's workflow tasks may follow each other without news, because a step of its code is still at work.
/// Each such task grows the history by three events; work that takes longer is for an activity.
pub const STEP_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Most search attributes of one run.
pub const SEARCH_ATTRIBUTES_MAX: usize = 100;

/// Largest value of a search attribute, in bytes, but for texts: values are compared as a whole, and sorted by.
pub const SEARCH_VALUE_BYTES_MAX: usize = 1000;

/// Longest name of a deployment or of a build, in bytes: both are keywords by which runs are listed, and each is in many histories.
pub const VERSION_NAME_BYTES_MAX: usize = 200;

/// Longest name under which a search attribute is registered, in bytes.
pub const SEARCH_NAME_BYTES_MAX: usize = 64;

/// Most search attributes that a namespace can have registered: each error about an unknown one names them all.
pub const SEARCH_TYPES_MAX: usize = 100;

/// Most bytes of names and values of a run's search attributes together. They are part of the row by which the run is listed.
pub const SEARCH_ATTRIBUTES_BYTES_MAX: usize = 40 * 1024;

/// Longest summary (of a run, an activity, a timer), in bytes: one line in a list.
pub const SUMMARY_BYTES_MAX: usize = 400;

/// Longest details of a run, in bytes: a page for people.
pub const DETAILS_BYTES_MAX: usize = 20_000;

/// Longest filter of a list or count, in bytes.
pub const FILTER_BYTES_MAX: usize = 10_000;

/// Most parentheses and NOTs of a filter within each other: each is a call on the stack.
pub const FILTER_DEPTH_MAX: usize = 50;

/// Most conditions in a filter.
pub const FILTER_CONDITIONS_MAX: usize = 200;

/// Most values in one IN of a filter: each is a parameter of a statement.
pub const FILTER_VALUES_MAX: usize = 500;

/// Most calendars, cron expressions, intervals and exclusions of one schedule: each is searched for each time.
pub const SCHEDULE_TIMES_MAX: usize = 100;

/// Most ranges in one field of a calendar: no field has more values.
pub const CALENDAR_RANGES_MAX: usize = 200;

/// How many excluded stretches of a schedule's times are passed in search of the next time that is not. Each is at least a second, and
/// as long as an hour or a day if the exclusion is of whole hours or days. A schedule that excludes more has no further times.
pub const SCHEDULE_EXCLUSIONS_MAX: usize = 10_000;

/// Most starts of one schedule that are decided and not made: on their way, or waiting for a run to end. Times of a schedule that buffers
/// all are dropped, and counted, when it is reached; backfills wait.
pub const SCHEDULE_WAITING_MAX: usize = 1_000;

/// Most starts of one schedule that are on their way at once. Further ones wait; none is dropped for this.
pub const SCHEDULE_STARTING_MAX: usize = 50;

/// Most open runs of one schedule whose end it waits for. Runs beyond it (of a schedule that allows all) are started and not watched: they
/// neither hold up others nor pause the schedule when they fail.
pub const SCHEDULE_RUNNING_MAX: usize = 500;

/// How many of its latest starts a schedule remembers for people.
pub const SCHEDULE_RECENT_MAX: usize = 10;

/// Most backfills of one schedule that are not done.
pub const SCHEDULE_BACKFILLS_MAX: usize = 100;

/// How many request ids of patches a schedule remembers. A repeat that comes after this many later patches counts twice.
pub const SCHEDULE_REQUEST_IDS_MAX: usize = 100;

/// How many times one decision of a schedule passes; then it is stored, and the next decision goes on.
pub const SCHEDULE_STEPS_MAX: usize = 1_000;

/// Most times that one call lists.
pub const SCHEDULE_LISTED_TIMES_MAX: usize = 1_000;

/// Longest id of a schedule and of the workflows that it starts, without the time that is added to the latter, in bytes.
pub const SCHEDULE_ID_LENGTH_MAX: usize = ID_LENGTH_MAX - 40;

/// Longest note of a schedule, in bytes: a sentence or two for people. Longer ones of the engine's own are cut.
pub const SCHEDULE_NOTE_BYTES_MAX: usize = 1_000;

/// How late a time of a schedule may happen, unless it says otherwise: after an outage of any length that is worth catching up with.
pub const CATCH_UP_WINDOW_DEFAULT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Shortest catch-up window: shorter than a take-over of its server it would lose times.
pub const CATCH_UP_WINDOW_MIN: Duration = Duration::from_secs(10);

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
