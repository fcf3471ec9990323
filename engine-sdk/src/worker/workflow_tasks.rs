//! Workflow tasks that run: finding the run's code in the cache or replaying it, and moving it forward.
//!
//! At most one task of a run is worked on at a time, because the run is taken out of the cache for it. A second one, which
//! the server sends when it gave up the first (the stream broke, the task timed out), waits for the first to end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine_core::event::WorkflowTaskFailureCause;
use engine_core::failure::Failure;
use engine_core::ids::EventId;
use engine_core::version::VersioningBehavior;
use engine_proto::convert::{
    command_to_proto, duration_from_proto, failure_to_proto, rejected_update_to_proto, update_request_from_trusted,
    versioning_behavior_to_proto, workflow_task_failure_cause_to_proto,
};
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::activity_tasks::panic_message;
use super::cache::{Cached, RunCache};
use super::catch_up::{CaughtUp, catch_up, unreadable};
use super::event::Event;
use super::pool::Pool;
use super::queries::{self, Answered, Asked};
use super::registry::Registry;
use super::steps::{self, Steps};
use crate::client::{Client, HistoryPages};
use crate::workflow::{Advance, AdvanceError, StepEnd, StepWork, WorkflowRun};

/// All workflow tasks that this worker has in hand, and its cache.
pub(super) struct WorkflowTasks {
    client: Client,
    registry: Arc<Registry>,
    pool: Arc<Pool>,
    events: mpsc::UnboundedSender<Event>,
    cache: RunCache<WorkflowRun>,
    /// By run id.
    running: HashMap<String, Running>,
    steps: Steps,
    /// Runs that left the cache, which the server was not told of yet.
    evicted: Vec<String>,
    /// Queries that came while a task of their run was worked on, whose turn is once the server has that task's result.
    put_off: Vec<Asked>,
}

/// A run that is worked on.
struct Running {
    run_id: String,
    /// Of the task; a query has none.
    token: Option<Vec<u8>>,
    /// Nobody waits for the result.
    is_unwanted: bool,
    /// The run must not go back to the cache.
    is_evicted: bool,
    /// Reads the events that the cache does not have.
    fetch: Option<AbortHandle>,
    /// How long the worker has for it.
    start_to_close: Duration,
    /// How the run follows versions, as its code says.
    versioning: Option<VersioningBehavior>,
    /// The news of the task is not durable yet: steps wait until it is.
    is_early: bool,
    /// Steps that wait.
    waiting_steps: Vec<StepWork>,
    /// The run, while its code waits for steps.
    held: Option<Cached<WorkflowRun>>,
    /// The task has waited long enough for steps.
    is_overdue: bool,
    /// Says so.
    overdue: Option<AbortHandle>,
    /// What came for the same run meanwhile.
    waiting: VecDeque<Work>,
}

/// Something to do with a run.
enum Work {
    Task(v1::WorkflowTask),
    Query(Asked),
}

impl Running {
    fn new(run_id: String, token: Option<Vec<u8>>, start_to_close: Duration, waiting: VecDeque<Work>) -> Self {
        Self {
            run_id,
            token,
            is_unwanted: false,
            is_evicted: false,
            fetch: None,
            start_to_close,
            versioning: None,
            is_early: false,
            waiting_steps: Vec::new(),
            held: None,
            is_overdue: false,
            overdue: None,
            waiting,
        }
    }
}

impl Work {
    fn token(&self) -> Option<&Vec<u8>> {
        match self {
            Work::Task(task) => Some(&task.token),
            Work::Query(_) => None,
        }
    }
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
pub(super) struct TaskFailure {
    pub(super) cause: WorkflowTaskFailureCause,
    pub(super) failure: Box<Failure>,
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
        Self {
            client,
            registry,
            pool,
            events,
            cache,
            running: HashMap::new(),
            steps: Steps::default(),
            evicted: Vec::new(),
            put_off: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a task is in hand already: it was sent twice.
    pub(super) fn has(&self, run_id: &str, token: &[u8]) -> bool {
        self.running.get(run_id).is_some_and(|running| {
            let tokens = running.token.iter().chain(running.waiting.iter().filter_map(Work::token));
            tokens.into_iter().any(|known| known == token)
        })
    }

    /// Tokens of all tasks in hand.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.running
            .values()
            .flat_map(|running| running.token.iter().chain(running.waiting.iter().filter_map(Work::token)))
    }

    /// Runs in the cache, with the last event that each has seen.
    pub(super) fn cached(&self) -> impl Iterator<Item = (&str, u64)> {
        self.cache.iter().chain(self.steps.kept())
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
            Some(running) => {
                running.waiting.push_back(Work::Task(task));
                if let Some(token) = running.token.clone() {
                    let run_id = running.run_id.clone();
                    // The server gave up the one that waits for steps.
                    self.extend(&run_id, &token);
                }
            }
            None => self.begin(task, VecDeque::new()),
        }
    }

    /// Asks a run's code. Its answer comes as [`Event::QueryAnswered`], or the query comes back with
    /// [`WorkflowTasks::take_put_off`] if a task of the run is worked on.
    pub(super) fn ask(&mut self, asked: Asked) {
        match self.running.get_mut(&asked.query.run_id) {
            Some(running) => running.waiting.push_back(Work::Query(asked)),
            None => self.begin_query(asked, VecDeque::new()),
        }
    }

    /// Queries that were put off, since the last call.
    pub(super) fn take_put_off(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.put_off)
    }

    fn begin_query(&mut self, asked: Asked, waiting: VecDeque<Work>) {
        let query = &asked.query;
        let run_id = query.run_id.clone();
        let mut running = Running::new(run_id.clone(), None, Duration::ZERO, waiting);
        // A run that waits for steps between two tasks is not touched: its code has not come to rest.
        let cached = self.cache.take(&run_id);
        let has_seen =
            |cached: &Cached<WorkflowRun>| query.seen_event_id != 0 && cached.last_event_id >= query.seen_event_id;
        match cached {
            Some(cached) if has_seen(&cached) => {
                queries::submit(&self.pool, &self.events, queries::Asking::Cached(cached), asked);
            }
            cached => {
                // It is behind: its next task brings it forward, or finds it closed and throws it away.
                if let Some(behind) = cached {
                    self.keep(run_id.clone(), behind);
                }
                match self.registry.workflow_run(&query.workflow_type) {
                    None => {
                        let message = self.registry.unknown("workflow", &query.workflow_type);
                        let outcome = queries::Outcome::Unanswerable(message);
                        let _ = self.events.send(Event::QueryAnswered(Box::new(asked.answered(outcome, None))));
                    }
                    Some(run) => {
                        let (client, pool, events) = (self.client.clone(), Arc::clone(&self.pool), self.events.clone());
                        let fetch = queries::replay(client, pool, events, fresh(run), asked);
                        running.fetch = Some(tokio::spawn(fetch).abort_handle());
                    }
                }
            }
        }
        self.running.insert(run_id, running);
    }

    /// A query has its answer, which is not for a stream that is gone.
    pub(super) fn end_query(&mut self, answered: Answered) -> (u64, v1::QueryAnswer) {
        let Answered { run_id, stream, answer, run } = answered;
        if let Some(running) = self.running.remove(&run_id) {
            match run {
                Some(run) if !running.is_evicted => self.keep(run_id, run),
                run => run.into_iter().for_each(|run| self.discard(run)),
            }
            self.begin_next(running.waiting);
        }
        (stream, answer)
    }

    /// Puts a run into the cache, at the cost of others.
    fn keep(&mut self, run_id: String, run: Cached<WorkflowRun>) {
        for (evicted, run) in self.cache.put(run_id, run) {
            self.discard(run);
            self.evicted.push(evicted);
        }
    }

    fn begin_next(&mut self, mut waiting: VecDeque<Work>) {
        match waiting.pop_front() {
            Some(Work::Task(task)) => self.begin(task, waiting),
            Some(Work::Query(asked)) => self.begin_query(asked, waiting),
            None => {}
        }
    }

    fn begin(&mut self, task: v1::WorkflowTask, waiting: VecDeque<Work>) {
        let token = Some(task.token.clone());
        let run_id = task.run_id.clone();
        let mut running = Running::new(run_id.clone(), token, start_to_close(&task), waiting);
        running.is_early = task.early;
        running.versioning = self.registry.versioning(&task.workflow_type);
        running.waiting_steps = self.steps.take_waiting(&run_id);
        let cached = self.steps.take_run(&run_id).or_else(|| self.cache.take(&run_id));
        let fitting = cached.and_then(|cached| {
            if cached.run.is_continued_by(EventId(task.first_event_id)) {
                return Some(cached);
            }
            self.discard(cached);
            None
        });
        match fitting.or_else(|| self.registry.workflow_run(&task.workflow_type).map(fresh)) {
            None => {
                let cause = WorkflowTaskFailureCause::UnknownWorkflowType;
                let failure = Failure::server(self.registry.unknown("workflow", &task.workflow_type), false);
                let progress = Err(TaskFailure::new(cause, failure));
                let advanced = Advanced { run_id: task.run_id, token: task.token, progress, run: None };
                let _ = self.events.send(Event::WorkflowAdvanced(Box::new(advanced)));
            }
            Some(run) if run.last_event_id + 1 >= task.first_event_id => {
                submit(&self.pool, &self.events, CaughtUp::new(run), task);
            }
            Some(run) => running.fetch = Some(self.fetch(run, task)),
        }
        self.run_steps(&mut running);
        self.running.insert(run_id, running);
    }

    /// Has the task's steps run, unless they wait for its news to be durable.
    fn run_steps(&self, running: &mut Running) {
        if !running.is_early {
            Steps::spawn(std::mem::take(&mut running.waiting_steps), &running.run_id, &self.events);
        }
    }

    /// The news of an early task is durable.
    pub(super) fn note_durable(&mut self, run_id: &str, token: &[u8]) {
        let Some(mut running) = self.running.remove(run_id) else { return };
        for work in &mut running.waiting {
            if let Work::Task(task) = work
                && task.token == token
            {
                task.early = false;
            }
        }
        if running.token.as_deref() == Some(token) {
            running.is_early = false;
            self.run_steps(&mut running);
        }
        self.running.insert(run_id.to_owned(), running);
    }

    /// Reads and replays the events before the task's own, then works on it.
    fn fetch(&self, run: Cached<WorkflowRun>, task: v1::WorkflowTask) -> AbortHandle {
        let (client, pool, events) = (self.client.clone(), Arc::clone(&self.pool), self.events.clone());
        let fetch = async move {
            let first = task.first_event_id;
            let caught_up = match HistoryPages::new(client, &task.workflow_id, &task.run_id, first) {
                Ok(pages) => catch_up(&pool, pages, CaughtUp::new(run), first).await,
                Err(error) => Err(unreadable(first, &error)),
            };
            match caught_up {
                Ok(run) => submit(&pool, &events, run, task),
                Err(failure) => {
                    let progress = Err(failure);
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
        let (progress, run) = match (progress, run) {
            (Ok(mut progress), Some(run)) if progress.waits_for_steps && !running.is_unwanted => {
                running.waiting_steps.append(&mut progress.steps);
                self.run_steps(&mut running);
                self.hold(run_id, running, run, progress.has_commands);
                return None;
            }
            taken => taken,
        };
        if progress.as_ref().is_ok_and(|progress| progress.force_new_task) {
            // The next task follows once the result of this one is durable, and with it its news.
            self.steps.put_waiting(&run_id, std::mem::take(&mut running.waiting_steps));
        } else {
            self.steps.forget(&run_id);
        }
        let outcome = match progress {
            Ok(progress) => {
                let may_stay = !progress.closed && !running.is_evicted && !running.is_unwanted;
                let is_cached = match run {
                    Some(run) if may_stay && progress.force_new_task => self.keep_extended(&run_id, run),
                    Some(run) if may_stay && self.cache.would_keep(run.bytes) => {
                        self.keep(run_id.clone(), run);
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
                    force_new_task: progress.force_new_task,
                    rejected_updates: progress.rejected_updates.iter().map(rejected_update_to_proto).collect(),
                    versioning_behavior: running.versioning.map_or(0, |it| versioning_behavior_to_proto(it).into()),
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
        if let Some(overdue) = running.overdue.take() {
            overdue.abort();
        }
        // What the code shows from here on is not durable before the server says so.
        let is_query = |work: &Work| matches!(work, Work::Query(_));
        let (queries, waiting): (VecDeque<Work>, VecDeque<Work>) = running.waiting.into_iter().partition(is_query);
        self.put_off.extend(queries.into_iter().filter_map(|work| match work {
            Work::Query(asked) => Some(asked),
            Work::Task(_) => None,
        }));
        self.begin_next(waiting);
        Some(if running.is_unwanted { Finished::Unwanted } else { Finished::Result { run_id, token, outcome } })
    }

    /// The task waits for steps: it goes on with the next one that ends, or when it has waited long enough.
    fn hold(&mut self, run_id: String, mut running: Running, run: Cached<WorkflowRun>, has_commands: bool) {
        if let Some(end) = self.steps.take(&run_id) {
            self.resume(&run_id, &running, run, move |run| run.end_step(end));
        } else if running.is_overdue {
            self.resume(&run_id, &running, run, WorkflowRun::extend);
        } else {
            running.held = Some(run);
            if running.overdue.is_none() {
                running.overdue = Some(self.call_overdue(&running, has_commands));
            }
        }
        self.running.insert(run_id, running);
    }

    fn call_overdue(&self, running: &Running, has_commands: bool) -> AbortHandle {
        let patience = steps::patience(running.start_to_close, has_commands);
        let token = running.token.clone().expect("only a task waits for steps");
        let (run_id, events) = (running.run_id.clone(), self.events.clone());
        let call = async move {
            tokio::time::sleep(patience).await;
            let _ = events.send(Event::StepsOverdue { run_id, token });
        };
        tokio::spawn(call).abort_handle()
    }

    /// A step is over: its run learns of it now if it waits for it, else when it does.
    pub(super) fn note_step_end(&mut self, run_id: String, end: StepEnd) {
        let Some(running) = self.running.get_mut(&run_id).filter(|running| running.token.is_some()) else {
            // Between two tasks of its run, perhaps while it is queried. A run that is gone has no more steps, and its last ones mean nothing.
            if self.steps.kept().any(|(kept, _)| kept == run_id) {
                self.steps.note(run_id, end);
            }
            return;
        };
        match running.held.take() {
            Some(run) => {
                let running = &self.running[&run_id];
                self.resume(&run_id, running, run, move |run| run.end_step(end));
            }
            None => self.steps.note(run_id, end),
        }
    }

    /// The task has waited long enough for steps.
    pub(super) fn extend(&mut self, run_id: &str, token: &[u8]) {
        let Some(running) = self.running.get_mut(run_id) else { return };
        if running.token.as_deref() != Some(token) {
            return;
        }
        running.is_overdue = true;
        if let Some(run) = running.held.take() {
            let running = &self.running[run_id];
            self.resume(run_id, running, run, WorkflowRun::extend);
        }
    }

    fn resume(
        &self,
        run_id: &str,
        running: &Running,
        mut cached: Cached<WorkflowRun>,
        go_on: impl FnOnce(&mut WorkflowRun) -> Result<Advance, AdvanceError> + Send + 'static,
    ) {
        let token = running.token.clone().expect("only a task waits for steps");
        let run_id = run_id.to_owned();
        submit_work(&self.pool, &self.events, run_id.clone(), token.clone(), move || {
            let span = tracing::info_span!("workflow", run_id);
            let _entered = span.enter();
            let progress = go_on(&mut cached.run).map_err(TaskFailure::from);
            cached.bytes = cached.run.memory_size();
            Advanced { run_id, token, progress, run: Some(cached) }
        });
    }

    /// Keeps a run whose steps are at work for its next task, which follows at once. Returns whether it is kept.
    fn keep_extended(&mut self, run_id: &str, run: Cached<WorkflowRun>) -> bool {
        match self.steps.keep(run_id, run) {
            Ok(()) => true,
            Err(run) => {
                self.steps.forget(run_id);
                self.discard(run);
                false
            }
        }
    }

    /// The server gave a task to somebody else. Returns the number of slots that became free at once.
    pub(super) fn refuse(&mut self, token: &[u8]) -> usize {
        let (mut freed, mut unwanted) = (0, None);
        for running in self.running.values_mut() {
            if running.token.as_deref() == Some(token) {
                running.is_unwanted = true;
                unwanted = Some(running.run_id.clone());
            }
            let before = running.waiting.len();
            running.waiting.retain(|work| work.token().is_none_or(|known| known != token));
            freed += before - running.waiting.len();
        }
        if let Some(run_id) = unwanted {
            // It is not to wait for steps any more.
            self.extend(&run_id, token);
        }
        freed
    }

    /// Drops a run from the cache, and tells the server: its next task needs the whole history.
    pub(super) fn evict(&mut self, run_id: &str) {
        if let Some(cached) = self.steps.take_run(run_id).or_else(|| self.cache.take(run_id)) {
            self.steps.forget(run_id);
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
        let handles = self.running.values().flat_map(|running| [&running.fetch, &running.overdue]);
        handles.flatten().for_each(AbortHandle::abort);
    }
}

/// How long the worker has for a task.
fn start_to_close(task: &v1::WorkflowTask) -> Duration {
    let given = task.start_to_close.and_then(|given| duration_from_proto("start_to_close", given).ok());
    given.unwrap_or(engine_core::limits::WORKFLOW_TASK_TIMEOUT_DEFAULT)
}

/// A run that has seen nothing yet.
fn fresh(run: WorkflowRun) -> Cached<WorkflowRun> {
    Cached { run, last_event_id: 0, bytes: 0 }
}

fn submit(pool: &Pool, events: &mpsc::UnboundedSender<Event>, run: CaughtUp, task: v1::WorkflowTask) {
    let (run_id, token) = (task.run_id.clone(), task.token.clone());
    submit_work(pool, events, run_id, token, move || advance(run, task));
}

fn submit_work(
    pool: &Pool,
    events: &mpsc::UnboundedSender<Event>,
    run_id: String,
    token: Vec<u8>,
    work: impl FnOnce() -> Advanced + Send + 'static,
) {
    let events = events.clone();
    pool.submit(move || {
        let mut advanced = caught(work).unwrap_or_else(|failure| {
            let progress = Err(failure);
            Advanced { run_id, token, progress, run: None }
        });
        // A run at its end is not kept. It is dropped after the news, because the user's values may take their time or panic.
        let is_over = advanced.progress.as_ref().is_ok_and(|progress| progress.closed);
        let ended = advanced.run.take_if(|_| is_over);
        // Nobody listens once the worker is gone, and then nobody needs to.
        let _ = events.send(Event::WorkflowAdvanced(Box::new(advanced)));
        drop(ended);
    });
}

/// Runs a piece of a task. Panics of the user's code are caught nearer to it; this one keeps the task from being forgotten by a
/// bug here.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, TaskFailure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let message = format!("the worker panicked: {}", panic_message(panic.as_ref()));
        TaskFailure::new(WorkflowTaskFailureCause::Panic, Failure::application("panic", message))
    })
}

/// Moves a run's code forward by the events of a task.
fn advance(run: CaughtUp, mut task: v1::WorkflowTask) -> Advanced {
    let span = tracing::info_span!(
        "workflow",
        workflow_type = task.workflow_type,
        workflow_id = task.workflow_id,
        run_id = task.run_id,
        attempt = task.attempt,
    );
    let _entered = span.enter();
    let updates = std::mem::take(&mut task.updates).into_iter().map(update_request_from_trusted).collect();
    let (mut cached, progress) = run.advance(task.history.take().unwrap_or_default(), updates);
    cached.last_event_id = cached.run.last_event_id().0;
    cached.bytes = cached.run.memory_size();
    Advanced { run_id: task.run_id, token: task.token, progress, run: Some(cached) }
}

impl TaskFailure {
    fn new(cause: WorkflowTaskFailureCause, failure: Failure) -> Self {
        Self { cause, failure: Box::new(failure) }
    }

    /// The worker, not the code, is at fault.
    pub(super) fn of_worker(message: impl Into<String>) -> Self {
        Self::new(WorkflowTaskFailureCause::WorkerFailure, Failure::server(message, false))
    }
}

impl From<AdvanceError> for TaskFailure {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::TaskFailed(error) => TaskFailure { cause: error.cause, failure: error.failure },
            // The run is dropped with the failure, and the task's next try brings the whole history.
            AdvanceError::OutOfStep { .. } => TaskFailure::of_worker(error.to_string()),
        }
    }
}
