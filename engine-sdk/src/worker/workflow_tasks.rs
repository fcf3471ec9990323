//! Workflow tasks that run: finding the run's code in the cache or replaying it, and moving it forward.
//!
//! At most one task of a run is worked on at a time, because the run is taken out of the cache for it. A second one, which
//! the server sends when it gave up the first (the stream broke, the task timed out), waits for the first to end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine_core::event::WorkflowTaskFailureCause;
use engine_core::failure::Failure;
use engine_proto::EncodedHistory;
use engine_proto::convert::{command_to_proto, failure_to_proto, workflow_task_failure_cause_to_proto};
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::activity_tasks::panic_message;
use super::cache::{Cached, RunCache};
use super::event::Event;
use super::pool::Pool;
use super::registry::Registry;
use crate::client::{Client, decode_events};
use crate::workflow::{Advance, AdvanceError, WorkflowRun};

/// All workflow tasks that this worker has in hand, and its cache.
pub(super) struct WorkflowTasks {
    client: Client,
    registry: Arc<Registry>,
    pool: Arc<Pool>,
    events: mpsc::UnboundedSender<Event>,
    cache: RunCache<WorkflowRun>,
    /// By run id.
    running: HashMap<String, Running>,
    /// Runs that left the cache, which the server was not told of yet.
    evicted: Vec<String>,
}

/// A run that is worked on.
struct Running {
    token: Vec<u8>,
    /// Nobody waits for the result.
    is_unwanted: bool,
    /// The run must not go back to the cache.
    is_evicted: bool,
    /// Reads the events that the cache does not have.
    fetch: Option<AbortHandle>,
    /// Tasks of the same run that came meanwhile.
    waiting: VecDeque<v1::WorkflowTask>,
}

/// What came of a task.
pub(super) struct Advanced {
    run_id: String,
    token: Vec<u8>,
    progress: Result<Advance, TaskFailure>,
    /// The run; `None` if it is not to be used any more.
    run: Option<Cached<WorkflowRun>>,
}

/// Why the code could not be moved forward.
struct TaskFailure {
    cause: WorkflowTaskFailureCause,
    failure: Failure,
}

/// What is to be told of a task that is over.
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub(super) enum Finished {
    /// Its result.
    Result { run_id: String, token: Vec<u8>, outcome: Outcome },
    /// Nothing: nobody wants its result.
    Unwanted,
}

impl WorkflowTasks {
    pub(super) fn new(
        client: Client,
        registry: Arc<Registry>,
        pool: Pool,
        cache: RunCache<WorkflowRun>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let pool = Arc::new(pool);
        Self { client, registry, pool, events, cache, running: HashMap::new(), evicted: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a task is in hand already: it was sent twice.
    pub(super) fn has(&self, run_id: &str, token: &[u8]) -> bool {
        self.running.get(run_id).is_some_and(|running| {
            running.token == token || running.waiting.iter().any(|waiting| waiting.token == token)
        })
    }

    /// Tokens of all tasks in hand.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.running
            .values()
            .flat_map(|running| std::iter::once(&running.token).chain(running.waiting.iter().map(|task| &task.token)))
    }

    /// Runs in the cache, with the last event that each has seen.
    pub(super) fn cached(&self) -> impl Iterator<Item = (&str, u64)> {
        self.cache.iter()
    }

    pub(super) fn has_evicted(&self) -> bool {
        !self.evicted.is_empty()
    }

    /// Runs that left the cache since the last call.
    pub(super) fn take_evicted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.evicted)
    }

    /// A new stream: its hello says what is in the cache.
    pub(super) fn begin_stream(&mut self) {
        self.evicted.clear();
    }

    /// Whether [`WorkflowTasks::relieve`] should be called after [`super::pool::STUCK_AFTER`].
    pub(super) fn has_backlog(&self) -> bool {
        self.pool.has_backlog()
    }

    pub(super) fn relieve(&self) {
        self.pool.relieve();
    }

    /// Works on a task. Its end comes as [`Event::WorkflowAdvanced`], now or when the run's task before is over.
    pub(super) fn start(&mut self, task: v1::WorkflowTask) {
        match self.running.get_mut(&task.run_id) {
            Some(running) => running.waiting.push_back(task),
            None => self.begin(task, VecDeque::new()),
        }
    }

    fn begin(&mut self, task: v1::WorkflowTask, waiting: VecDeque<v1::WorkflowTask>) {
        let token = task.token.clone();
        let mut running = Running { token, is_unwanted: false, is_evicted: false, fetch: None, waiting };
        let run_id = task.run_id.clone();
        let cached = self.cache.take(&run_id);
        let fitting = cached.and_then(|cached| {
            if cached.last_event_id + 1 == task.first_event_id {
                return Some(cached);
            }
            self.discard(cached);
            None
        });
        let nothing = EncodedHistory::default();
        match fitting.or_else(|| self.registry.workflow_run(&task.workflow_type).map(fresh)) {
            None => {
                let cause = WorkflowTaskFailureCause::UnknownWorkflowType;
                let failure = Failure::server(self.registry.unknown("workflow", &task.workflow_type), false);
                let progress = Err(TaskFailure { cause, failure });
                let advanced = Advanced { run_id: task.run_id, token: task.token, progress, run: None };
                let _ = self.events.send(Event::WorkflowAdvanced(Box::new(advanced)));
            }
            Some(run) if run.last_event_id + 1 >= task.first_event_id => {
                submit(&self.pool, &self.events, run, nothing, task);
            }
            Some(run) => running.fetch = Some(self.fetch(run, task)),
        }
        self.running.insert(run_id, running);
    }

    /// Reads the events before the task's own, then works on it.
    fn fetch(&self, run: Cached<WorkflowRun>, task: v1::WorkflowTask) -> AbortHandle {
        let (client, pool, events) = (self.client.clone(), Arc::clone(&self.pool), self.events.clone());
        let fetch = async move {
            match client.events_before(&task.workflow_id, &task.run_id, task.first_event_id).await {
                Ok(earlier) => submit(&pool, &events, run, earlier, task),
                Err(error) => {
                    let message = format!("cannot read the history before event {}: {error}", task.first_event_id);
                    let cause = WorkflowTaskFailureCause::WorkerFailure;
                    let progress = Err(TaskFailure { cause, failure: Failure::server(message, false) });
                    let advanced = Advanced { run_id: task.run_id, token: task.token, progress, run: None };
                    let _ = events.send(Event::WorkflowAdvanced(Box::new(advanced)));
                }
            }
        };
        tokio::spawn(fetch).abort_handle()
    }

    /// A task is over. `None` if it is not known.
    pub(super) fn end(&mut self, advanced: Advanced) -> Option<Finished> {
        let Advanced { run_id, token, progress, run } = advanced;
        let mut running = self.running.remove(&run_id)?;
        let outcome = match progress {
            Ok(progress) => {
                let may_stay = !progress.closed && !running.is_evicted && !running.is_unwanted;
                let is_cached = match run {
                    Some(run) if may_stay && self.cache.would_keep(run.bytes) => {
                        let gone = self.cache.put(run_id.clone(), run);
                        for (evicted, run) in gone {
                            self.discard(run);
                            self.evicted.push(evicted);
                        }
                        true
                    }
                    run => {
                        run.into_iter().for_each(|run| self.discard(run));
                        false
                    }
                };
                Outcome::WorkflowTaskCompleted(v1::WorkflowTaskCompletion {
                    token: token.clone(),
                    commands: progress.commands.iter().map(command_to_proto).collect(),
                    flags: progress.new_flags,
                    cached: is_cached,
                })
            }
            Err(TaskFailure { cause, failure }) => {
                tracing::warn!(run_id, ?cause, failure = %failure.message, "a workflow task failed");
                run.into_iter().for_each(|run| self.discard(run));
                Outcome::WorkflowTaskFailed(v1::WorkflowTaskFailure {
                    token: token.clone(),
                    cause: workflow_task_failure_cause_to_proto(cause).into(),
                    failure: Some(failure_to_proto(&failure)),
                })
            }
        };
        if let Some(next) = running.waiting.pop_front() {
            self.begin(next, running.waiting);
        }
        Some(if running.is_unwanted { Finished::Unwanted } else { Finished::Result { run_id, token, outcome } })
    }

    /// The server gave a task to somebody else. Returns the number of slots that became free at once.
    pub(super) fn refuse(&mut self, token: &[u8]) -> usize {
        let mut freed = 0;
        for running in self.running.values_mut() {
            if running.token == token {
                running.is_unwanted = true;
            }
            let before = running.waiting.len();
            running.waiting.retain(|task| task.token != token);
            freed += before - running.waiting.len();
        }
        freed
    }

    /// Drops a run from the cache, and tells the server: its next task needs the whole history.
    pub(super) fn evict(&mut self, run_id: &str) {
        if let Some(cached) = self.cache.take(run_id) {
            self.discard(cached);
            self.evicted.push(run_id.to_owned());
        }
        if let Some(running) = self.running.get_mut(run_id) {
            running.is_evicted = true;
        }
    }

    /// Dropping a run drops the user's values, which may take long or panic: not here.
    fn discard(&self, cached: Cached<WorkflowRun>) {
        self.pool.submit(move || drop(cached));
    }
}

impl Drop for WorkflowTasks {
    fn drop(&mut self) {
        self.running.values().filter_map(|running| running.fetch.as_ref()).for_each(AbortHandle::abort);
    }
}

/// A run that has seen nothing yet.
fn fresh(run: WorkflowRun) -> Cached<WorkflowRun> {
    Cached { run, last_event_id: 0, bytes: 0 }
}

fn submit(
    pool: &Pool,
    events: &mpsc::UnboundedSender<Event>,
    cached: Cached<WorkflowRun>,
    earlier: EncodedHistory,
    task: v1::WorkflowTask,
) {
    let events = events.clone();
    pool.submit(move || {
        let (run_id, token) = (task.run_id.clone(), task.token.clone());
        // Panics of the user's code are caught nearer to it; this one keeps the task from being forgotten by a bug here.
        let advanced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| advance(cached, earlier, task)));
        let advanced = advanced.unwrap_or_else(|panic| {
            let message = format!("the worker panicked: {}", panic_message(panic.as_ref()));
            let progress = Err(TaskFailure {
                cause: WorkflowTaskFailureCause::Panic,
                failure: Failure::application("panic", message),
            });
            Advanced { run_id, token, progress, run: None }
        });
        // Nobody listens once the worker is gone, and then nobody needs to.
        let _ = events.send(Event::WorkflowAdvanced(Box::new(advanced)));
    });
}

/// Moves a run's code forward by the events of a task.
fn advance(mut cached: Cached<WorkflowRun>, earlier: EncodedHistory, task: v1::WorkflowTask) -> Advanced {
    let span = tracing::info_span!(
        "workflow",
        workflow_type = task.workflow_type,
        workflow_id = task.workflow_id,
        run_id = task.run_id,
        attempt = task.attempt,
    );
    let _entered = span.enter();
    let mut history = earlier;
    history.events.extend(task.history.unwrap_or_default().events);
    let progress = match decode_events(history) {
        Ok(events) => cached.run.advance(events).map_err(TaskFailure::from),
        Err(error) => Err(TaskFailure {
            cause: WorkflowTaskFailureCause::WorkerFailure,
            failure: Failure::server(format!("this worker cannot read the history: {error}"), false),
        }),
    };
    cached.last_event_id = cached.run.last_event_id().0;
    cached.bytes = cached.run.memory_size();
    Advanced { run_id: task.run_id, token: task.token, progress, run: Some(cached) }
}

impl From<AdvanceError> for TaskFailure {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::TaskFailed(error) => TaskFailure { cause: error.cause, failure: *error.failure },
            // The run is dropped with the failure, and the task's next try brings the whole history.
            AdvanceError::OutOfStep { .. } => TaskFailure {
                cause: WorkflowTaskFailureCause::WorkerFailure,
                failure: Failure::server(error.to_string(), false),
            },
        }
    }
}
