//! The worker's loop: one task that owns all of the worker's state and waits for whatever happens next.
//!
//! Tasks come down the stream against credits. Their results go into the outbox, from there up the stream, and leave the
//! outbox when the server says that they are durable. A slot is free again once its result is on its way. While there is
//! no stream, tasks in hand go on and their results wait; the next stream begins with a hello that names them.
//!
//! | what breaks | what follows |
//! |---|---|
//! | the stream | tasks in hand go on; all results that were not acknowledged are sent again |
//! | the server | the same, for as long as it takes |
//! | this process | nothing here outlives it: the server notices the broken stream |

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_proto::v1;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::activity_tasks::{self, ActivityTasks, failed};
use super::cache::RunCache;
use super::event::Event;
use super::link::{Link, LinkEvent};
use super::options::Options;
use super::outbox::{Kind, Outbox};
use super::pool::{Pool, STUCK_AFTER};
use super::queries::Asked;
use super::registry::Registry;
use super::shutdown::ShutdownHandle;
use super::slots::{Overrun, Slots};
use super::workflow_tasks::{self, WorkflowTasks};
use super::{ABORT_GRACE, WorkerError};
use crate::activity::{CancelReason, SharedState};
use crate::client::{Client, ClientError};

/// How long a worker that drains waits for tasks that may be on their way, unless the server says that there are none.
const STRAGGLERS_WITHIN: Duration = Duration::from_secs(1);

/// How far the worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It takes tasks.
    Working,
    /// It takes no more, and ends those it has until then.
    Draining { until: Instant },
    /// Activities were asked to stop, and have until then.
    Stopping { until: Instant },
    /// All tasks are over; results may be acknowledged until then.
    Closing { until: Instant },
}

impl Phase {
    fn ends_at(self) -> Option<Instant> {
        match self {
            Phase::Working => None,
            Phase::Draining { until } | Phase::Stopping { until } | Phase::Closing { until } => Some(until),
        }
    }
}

/// The worker's loop and its state.
pub(super) struct Session {
    options: Options,
    client: Client,
    registry: Arc<Registry>,
    link: Link,
    events: mpsc::UnboundedReceiver<Event>,
    outbox: Outbox,
    workflow_slots: Slots,
    activity_slots: Slots,
    workflows: WorkflowTasks,
    activities: ActivityTasks,
    phase: Phase,
    /// Whether this stream's server was told that no more tasks are wanted.
    told_drain: bool,
    /// Tasks may still be on their way, against credits from before the drain. Until then, or until the server says that they
    /// are not.
    stragglers_until: Option<Instant>,
    /// Whether this stream's server wants to be left.
    server_drains: bool,
    /// Which stream this is, from 1: a query is answered on the stream that it came on.
    stream: u64,
    /// Queries of runs with results that the server has not dealt with.
    held_queries: Vec<Asked>,
    /// Answers on their way.
    answers: Vec<v1::QueryAnswer>,
    /// Told by each welcome.
    connected: Arc<Notify>,
    #[cfg(feature = "testing")]
    hooks: Option<super::hooks::Hooks>,
    /// It is to leave without a word.
    is_dead: bool,
}

impl Session {
    pub(super) fn new(
        options: Options,
        client: Client,
        registry: Registry,
        state: SharedState,
        connected: Arc<Notify>,
    ) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let registry = Arc::new(registry);
        // A stuck thread holds one workflow task, so more threads than slots have nothing to do.
        let pool = Pool::new(options.workflow_slots as usize);
        let cache = RunCache::new(options.cache_runs, options.cache_bytes);
        Self {
            link: Link::new(client.transport().clone()),
            events,
            outbox: Outbox::default(),
            workflow_slots: Slots::new(if registry.has_workflows() { options.workflow_slots } else { 0 }),
            activity_slots: Slots::new(if registry.has_activities() { options.activity_slots } else { 0 }),
            workflows: WorkflowTasks::new(client.clone(), Arc::clone(&registry), pool, cache, sender.clone()),
            activities: ActivityTasks::new(client.namespace().clone(), state, sender),
            phase: Phase::Working,
            told_drain: false,
            stragglers_until: None,
            server_drains: false,
            stream: 0,
            held_queries: Vec::new(),
            answers: Vec::new(),
            connected,
            options,
            client,
            registry,
            #[cfg(feature = "testing")]
            hooks: None,
            is_dead: false,
        }
    }

    /// With the hooks of a test engine.
    #[cfg(feature = "testing")]
    pub(super) fn test(mut self, hooks: Option<super::hooks::Hooks>) -> Self {
        self.activities.set_hooks(hooks.clone());
        self.hooks = hooks;
        self
    }

    /// Works until it is asked to shut down and has done so, or the server refuses the worker for good.
    pub(super) async fn run(mut self, shutdown: ShutdownHandle) -> Result<(), WorkerError> {
        loop {
            if self.is_dead || self.is_over() {
                return Ok(());
            }
            let wants_to_send = self.link.is_up() && self.has_something_to_send();
            let is_working = self.phase == Phase::Working;
            let has_backlog = self.workflows.has_backlog();
            if has_backlog {
                self.workflows.relieve();
            }
            tokio::select! {
                event = self.events.recv() => self.on_events(event.expect("this loop holds a sender")),
                happened = self.link.next(wants_to_send) => self.on_link(happened)?,
                () = sleep_until(self.activities.next_timer()) => self.activities.pass_timers(Instant::now()),
                () = sleep_until(self.phase.ends_at()) => self.next_phase(),
                () = sleep_until(self.stragglers_until) => self.stragglers_until = None,
                () = tokio::time::sleep(STUCK_AFTER), if has_backlog => {}
                () = shutdown.requested(), if is_working => self.begin_drain(),
            }
        }
    }

    fn on_events(&mut self, first: Event) {
        self.on_event(first);
        // What else is there goes into the same message. Bounded, so that the stream is not kept waiting.
        for _ in 0..1000 {
            if self.is_dead {
                return;
            }
            let Ok(event) = self.events.try_recv() else { break };
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Heartbeat(key) => self.activities.note_heartbeat(key, Instant::now()),
            Event::ActivityEnded(key, result) => {
                if let Some(finished) = self.activities.end(key, result) {
                    self.keep_activity(finished);
                }
            }
            Event::WorkflowAdvanced(advanced) => match self.workflows.end(*advanced) {
                Some(workflow_tasks::Finished::Result { run_id, token, outcome }) => {
                    #[cfg(feature = "testing")]
                    self.tell_hooks(&run_id, &token, &outcome);
                    self.outbox.push_workflow(run_id, token, outcome);
                }
                Some(workflow_tasks::Finished::Unwanted) => self.workflow_slots.free(),
                None => {}
            },
            Event::StepEnded { run_id, end } => self.workflows.note_step_end(run_id, *end),
            Event::StepsOverdue { run_id, token } => self.workflows.extend(&run_id, &token),
            Event::QueryAnswered(answered) => {
                let (stream, answer) = self.workflows.end_query(*answered);
                if stream == self.stream {
                    self.answers.push(answer);
                }
            }
        }
        let put_off = self.workflows.take_put_off();
        put_off.into_iter().for_each(|asked| self.ask(asked));
    }

    #[cfg(feature = "testing")]
    fn tell_hooks(&mut self, run_id: &str, token: &[u8], outcome: &v1::task_result::Result) {
        let Some(hooks) = &self.hooks else { return };
        if let v1::task_result::Result::WorkflowTaskFailed(failed) = outcome {
            let message = failed.failure.as_ref().map_or("", |failure| failure.message.as_str());
            hooks.host.workflow_task_failed(token, message);
        }
        self.is_dead |= hooks.host.dies(run_id);
    }

    /// Asks a run's code, once the server has dealt with all that the code has done.
    fn ask(&mut self, asked: Asked) {
        if asked.stream != self.stream {
            // The server asked somebody else.
        } else if self.outbox.has_result_of(&asked.query.run_id) {
            self.held_queries.push(asked);
        } else {
            self.workflows.ask(asked);
        }
    }

    fn keep_activity(&mut self, finished: activity_tasks::Finished) {
        match finished {
            activity_tasks::Finished::Result { token, outcome, heartbeat } => {
                self.outbox.push_activity(token, outcome, heartbeat);
            }
            activity_tasks::Finished::Unwanted => self.activity_slots.free(),
        }
    }

    fn on_link(&mut self, happened: LinkEvent) -> Result<(), WorkerError> {
        match happened {
            LinkEvent::TimeToOpen => {
                let hello = self.hello();
                self.link.open(hello);
            }
            LinkEvent::Opened => self.begin_stream(),
            LinkEvent::Message(message) => self.on_message(*message),
            LinkEvent::CanSend => {
                let message = self.message();
                self.link.send(message);
            }
            LinkEvent::Broke(status) => {
                if is_final(&status) {
                    return Err(WorkerError::Refused(ClientError::from_status(&status)));
                }
                tracing::warn!(reason = status.message(), "the stream to the server broke; will open another one");
            }
        }
        Ok(())
    }

    fn hello(&self) -> v1::Hello {
        let workflow_tasks = self.workflows.tokens().chain(self.outbox.tokens(Kind::Workflow)).cloned().collect();
        let activity_tasks = self.activities.tokens().chain(self.outbox.tokens(Kind::Activity)).cloned().collect();
        let cached = self.workflows.cached();
        v1::Hello {
            namespace: self.client.namespace().as_str().to_owned(),
            identity: self.options.identity.clone(),
            worker_id: self.options.worker_id.to_string(),
            task_queues: self.options.queues.iter().map(|queue| queue.as_str().to_owned()).collect(),
            worker: Some(v1::WorkerMetadata {
                sdk_name: super::SDK_NAME.to_owned(),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                build_id: self.options.build_id.clone(),
                deployment_name: self.options.deployment.as_ref().map_or_else(String::new, ToString::to_string),
                ..v1::WorkerMetadata::default()
            }),
            workflow_types: self.registry.workflow_types().map(str::to_owned).collect(),
            activity_types: self.registry.activity_types().map(str::to_owned).collect(),
            any_workflow_type: self.registry.has_any_workflow(),
            any_activity_type: self.registry.has_any_activity(),
            workflow_tasks_in_hand: workflow_tasks,
            activity_tasks_in_hand: activity_tasks,
            cached_runs: cached
                .map(|(run_id, last_event_id)| v1::CachedRun { run_id: run_id.to_owned(), last_event_id })
                .collect(),
            activity_grace: self.options.activity_grace.map(engine_proto::convert::duration_to_proto),
            own_task_queues: self.options.own_queues.clone(),
        }
    }

    fn begin_stream(&mut self) {
        self.workflow_slots.begin_stream();
        self.activity_slots.begin_stream();
        self.workflows.begin_stream();
        self.outbox.begin_stream();
        self.told_drain = false;
        self.stragglers_until = None;
        self.server_drains = false;
        self.stream += 1;
        self.held_queries.clear();
        self.answers.clear();
        // Named in hello as tasks in hand, so that a server that forgot them takes them up again; they are on their own.
        let detached: Vec<Vec<u8>> = self.activities.detached().cloned().collect();
        for token in detached {
            let outcome = v1::ActivityTaskDetachment { token: token.clone() };
            let outcome = v1::task_result::Result::ActivityDetached(outcome);
            self.outbox.push_activity_without_slot(token, outcome);
        }
        tracing::info!(identity = self.options.identity, "opened a stream to the server");
    }

    fn on_message(&mut self, message: v1::ServerMessage) {
        if let Some(welcome) = message.welcome {
            self.connected.notify_one();
            for token in welcome.refused_tasks {
                self.activities.stop(&token, CancelReason::NotWanted);
                (0..self.workflows.refuse(&token)).for_each(|_| self.workflow_slots.free());
            }
        }
        let is_acknowledged = !message.acks.is_empty();
        for ack in message.acks {
            self.on_ack(ack);
        }
        // Before tasks that came along: under a steady load a query would never have its turn behind them.
        if is_acknowledged {
            let held = std::mem::take(&mut self.held_queries);
            held.into_iter().for_each(|asked| self.ask(asked));
        }
        for run_id in message.evict_run_ids {
            self.workflows.evict(&run_id);
        }
        for stop in message.activity_stops {
            let reason = match stop.reason() {
                v1::ActivityStopReason::CancelRequested | v1::ActivityStopReason::Unspecified => {
                    CancelReason::Requested
                }
                v1::ActivityStopReason::NotWanted => CancelReason::NotWanted,
                v1::ActivityStopReason::Paused => CancelReason::Paused,
            };
            self.activities.stop(&stop.token, reason);
        }
        for task in message.workflow_tasks {
            if let Err(Overrun) = self.workflow_slots.take() {
                return self.refuse_overrun("workflow task");
            }
            if self.workflows.has(&task.run_id, &task.token) {
                self.workflow_slots.free();
            } else {
                self.workflows.start(task);
            }
        }
        // After the tasks: it may be about one that came along.
        for task in message.durable_tasks {
            self.workflows.note_durable(&task.run_id, &task.token);
        }
        for task in message.activity_tasks {
            if let Err(Overrun) = self.activity_slots.take() {
                return self.refuse_overrun("activity task");
            }
            self.start_activity(task);
        }
        for query in message.queries {
            self.ask(Asked { query, stream: self.stream });
        }
        if message.drain {
            tracing::info!("the server shuts down; will open a stream to another one, or to the next");
            self.server_drains = true;
        }
        if message.drained {
            self.stragglers_until = None;
        }
        self.leave_draining_server();
    }

    fn start_activity(&mut self, task: v1::ActivityTask) {
        if self.activities.has(&task.token) {
            return self.activity_slots.free();
        }
        let token = task.token.clone();
        let failure = match self.registry.activity(&task.activity_type) {
            Some(code) => match self.activities.start(&code, task) {
                Ok(()) => return,
                Err(error) => Failure::server(format!("this worker cannot read the activity task: {error}"), false),
            },
            None => Failure::server(self.registry.unknown("activity", &task.activity_type), false),
        };
        let outcome = failed(&token, &failure);
        self.outbox.push_activity(token, outcome, None);
    }

    fn on_ack(&mut self, ack: v1::ResultAck) {
        let Some(kept) = self.outbox.acknowledge(ack.result_id) else { return };
        if ack.code == 0 && ack.refused.is_empty() {
            return;
        }
        tracing::warn!(run_id = kept.run_id, reason = ack.refused, code = ack.code, "the server refused a result");
        if let Some(run_id) = &kept.run_id {
            self.workflows.evict(run_id);
        }
        // The attempt still waits for a result that the server can take.
        if Code::from_i32(ack.code) == Code::InvalidArgument && kept.is_activity_value() {
            let failure = Failure::server(format!("the activity's result was refused: {}", ack.refused), true);
            let outcome = failed(&kept.token, &failure);
            self.outbox.push_activity_without_slot(kept.token, outcome);
        }
    }

    /// A server that sends more than it may is not one that this worker understands: what it sent goes elsewhere.
    fn refuse_overrun(&mut self, what: &str) {
        tracing::error!("the server sent a {what} without credit; the stream is closed");
        self.link.close();
    }

    fn has_something_to_send(&self) -> bool {
        self.outbox.has_unsent()
            || self.activities.has_due_heartbeats()
            || self.workflows.has_evicted()
            || !self.answers.is_empty()
            || (self.phase != Phase::Working && !self.told_drain)
            || (self.may_grant() && (self.workflow_slots.has_room() || self.activity_slots.has_room()))
    }

    fn may_grant(&self) -> bool {
        self.phase == Phase::Working && !self.server_drains && !self.outbox.is_full()
    }

    /// All that is ready to go up the stream.
    fn message(&mut self) -> v1::WorkerMessage {
        let sent = self.outbox.take_batch();
        for kind in sent.freed {
            match kind {
                Kind::Workflow => self.workflow_slots.free(),
                Kind::Activity => self.activity_slots.free(),
            }
        }
        let mut heartbeats = self.activities.take_due_heartbeats(Instant::now());
        heartbeats.extend(sent.heartbeats);
        let credits = self
            .may_grant()
            .then(|| v1::Credits {
                workflow_tasks: self.workflow_slots.grant(),
                activity_tasks: self.activity_slots.grant(),
            })
            .filter(|credits| credits.workflow_tasks + credits.activity_tasks > 0);
        let drain = self.phase != Phase::Working && !self.told_drain;
        if drain {
            self.told_drain = true;
            self.stragglers_until = Some(Instant::now() + STRAGGLERS_WITHIN);
        }
        v1::WorkerMessage {
            hello: None,
            credits,
            results: sent.results,
            heartbeats,
            evicted_run_ids: self.workflows.take_evicted(),
            drain,
            query_answers: std::mem::take(&mut self.answers),
        }
    }

    /// Leaves a server that shuts down once nothing is under way on its stream.
    fn leave_draining_server(&mut self) {
        if self.server_drains && self.workflows.is_empty() && self.activities.is_empty() && self.outbox.is_empty() {
            self.link.close();
            self.server_drains = false;
        }
    }

    fn begin_drain(&mut self) {
        tracing::info!(grace = ?self.options.shutdown_grace, "the worker shuts down; it takes no more tasks");
        self.phase = Phase::Draining { until: Instant::now() + self.options.shutdown_grace };
    }

    fn next_phase(&mut self) {
        let now = Instant::now();
        self.phase = match self.phase {
            Phase::Working => Phase::Working,
            Phase::Draining { .. } => {
                self.activities.stop_all(CancelReason::WorkerShutdown);
                Phase::Stopping { until: now + ABORT_GRACE }
            }
            Phase::Stopping { .. } => {
                for finished in self.activities.abort_all() {
                    self.keep_activity(finished);
                }
                Phase::Closing { until: now + ABORT_GRACE }
            }
            // What was not acknowledged is in doubt; the server hands it out again.
            Phase::Closing { .. } => Phase::Closing { until: now },
        };
    }

    /// Whether the worker is asked to go and nothing keeps it, or nothing may keep it any longer.
    fn is_over(&self) -> bool {
        let has_tasks = !self.workflows.is_empty() || !self.activities.is_empty() || !self.outbox.is_empty();
        let may_get_tasks = self.link.is_up() && (!self.told_drain || self.stragglers_until.is_some());
        let has_nothing = !has_tasks && !may_get_tasks;
        match self.phase {
            Phase::Working => false,
            Phase::Draining { .. } | Phase::Stopping { .. } => has_nothing,
            Phase::Closing { until } => has_nothing || Instant::now() >= until,
        }
    }
}

/// Waits until then, or for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// Whether a worker that is refused like this would be refused again.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}
