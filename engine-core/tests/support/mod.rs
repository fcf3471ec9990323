//! A run with a store and a clock, for tests: sends inputs, keeps what would be on disk, and writes down what happened.
//!
//! After every input it verifies that what is stored gives the state that a crash at this moment would leave, so each test that
//! uses it is a test of recovery as well. Shared by the unit tests of `execution/` and by the tests in this folder.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test crate uses its own part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::command::{Command, ScheduleActivity};
use engine_core::event::{
    ActivityTimeouts, Event, EventKind, Marker, PauseChange, TaskVersioning, UpdateOutcome, UpdateRequest,
    VersioningBehavior, VersioningOverride, WorkerMetadata, WorkerVersion, WorkflowOptionsUpdated, WorkflowStarted,
    WorkflowTaskFailureCause,
};
use engine_core::execution::{
    ActivityChange, ActivityProgress, ActivityRef, ActivityToken, Effect, Execution, Fact, Input, NextRun,
    RejectedUpdate, Rejection, Reply, Transition, UpdateAnswer, UpdateStanding, WorkflowTaskToken,
};
use engine_core::execution::{IdReusePolicy, PeerAnswer};
use engine_core::failure::Failure;
use engine_core::ids::{
    ActivityId, ActivityType, BuildId, DeploymentName, EventId, Namespace, PublishedName, RequestId, RunId, SignalName,
    TaskQueueName, TimerId, UpdateId, UpdateName, WorkflowId, WorkflowType,
};
use engine_core::payload::Payload;
use engine_core::peer::{
    CancelPeer, ChildOutcome, ParentClosePolicy, PeerCommand, PeerEvent, PeerFailureCause, PeerTarget, SignalPeer,
    StartChild,
};
use engine_core::retry::RetryPolicy;
use engine_core::search::SearchAttributes;
use engine_core::time::Timestamp;

/// When every test begins.
pub const BEGIN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A start without limits and retries.
pub fn start_attributes() -> WorkflowStarted {
    let run_id = RunId::from_parts(BEGIN, [7; 10]);
    WorkflowStarted {
        namespace: Namespace::from_trusted("default"),
        workflow_id: WorkflowId::from_trusted("order-1"),
        run_id,
        workflow_type: WorkflowType::from_trusted("checkout"),
        task_queue: TaskQueueName::from_trusted("orders"),
        input: Vec::new(),
        execution_timeout: None,
        run_timeout: None,
        task_timeout: seconds(10),
        execution_deadline: None,
        retry_policy: None,
        attempt: 1,
        continued_from: None,
        first_run_id: run_id,
        continued_failure: None,
        last_result: None,
        versioning: None,
        cron: None,
        first_task_backoff: Duration::ZERO,
        request_id: None,
        identity: "client".to_owned(),
        memo: Vec::new(),
        search_attributes: SearchAttributes::new(),
        summary: String::new(),
        details: String::new(),
        seen_request_ids: Vec::new(),
        reset: None,
        parent: None,
        activity: None,
    }
}

/// A policy of 1 s, 2 s, 4 s … without jitter.
pub fn retry(maximum_attempts: u32) -> RetryPolicy {
    RetryPolicy { maximum_attempts, jitter: 0.0, ..RetryPolicy::default() }
}

/// An activity with a start-to-close timeout of 10 s and the policy of [`retry`] without end.
pub fn activity(id: &str) -> ScheduleActivity {
    ScheduleActivity {
        activity_id: ActivityId::from_trusted(id),
        activity_type: ActivityType::from_trusted("charge"),
        task_queue: None,
        input: Vec::new(),
        timeouts: ActivityTimeouts { start_to_close: Some(seconds(10)), ..ActivityTimeouts::default() },
        retry_policy: Some(retry(0)),
        summary: String::new(),
    }
}

/// The command for `activity`, changed.
pub fn schedule_with(id: &str, change: impl FnOnce(&mut ScheduleActivity)) -> Command {
    let mut command = activity(id);
    change(&mut command);
    Command::ScheduleActivity(Box::new(command))
}

pub fn schedule(id: &str) -> Command {
    schedule_with(id, |_| {})
}

pub fn cancel_activity(id: &str) -> Command {
    Command::RequestCancelActivity { activity_id: ActivityId::from_trusted(id) }
}

pub fn start_timer(id: &str, duration: Duration) -> Command {
    Command::StartTimer { timer_id: TimerId::from_trusted(id), duration, summary: String::new() }
}

pub fn cancel_timer(id: &str) -> Command {
    Command::CancelTimer { timer_id: TimerId::from_trusted(id) }
}

pub fn publish(name: &str, json: &str) -> Command {
    let value = Payload::json(json.as_bytes().to_vec());
    Command::PublishState { name: PublishedName::from_trusted(name), value }
}

pub fn complete() -> Command {
    Command::CompleteWorkflow { result: None }
}

pub fn fail(type_name: &str) -> Command {
    Command::FailWorkflow { failure: Failure::application(type_name, "no") }
}

/// A run with what its store holds.
#[derive(Debug, Clone)]
pub struct Run {
    pub execution: Execution,
    pub history: Vec<Event>,
    pub buffered: Vec<Event>,
    pub progress: BTreeMap<EventId, ActivityProgress>,
    pub now: Timestamp,
    /// The run that follows this one, once it is closed and if one does.
    pub next_run: Option<NextRun>,
    /// What happened since it was last taken, one line each.
    pub log: Vec<String>,
    /// What completes its workflow tasks.
    pub worker: WorkerMetadata,
}

impl Run {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut WorkflowStarted)) -> Self {
        let mut started = start_attributes();
        change(&mut started);
        Self::begin(started, BEGIN).expect("the start is valid")
    }

    pub fn begin(started: WorkflowStarted, now: Timestamp) -> Result<Self, Rejection> {
        Self::of(Execution::begin(started, now)?, now)
    }

    /// The run that continues another one.
    pub fn begin_next(next: NextRun, now: Timestamp) -> Result<Self, Rejection> {
        Self::of(Execution::begin_next(next, now)?, now)
    }

    fn of(transition: Transition, now: Timestamp) -> Result<Self, Rejection> {
        let execution = Execution::replay(transition.events.clone()).expect("a beginning is a history");
        let mut log = Vec::new();
        write_transition(&mut log, &transition, &BTreeMap::new());
        let (buffered, progress) = (Vec::new(), BTreeMap::new());
        let worker = WorkerMetadata::default();
        Ok(Self { execution, history: transition.events, buffered, progress, now, next_run: None, log, worker })
    }

    /// Decides and absorbs, and stores what must be stored.
    pub fn send(&mut self, input: Input) -> Result<Transition, Rejection> {
        let before = self.execution.clone();
        let decided = self.execution.decide(input.clone(), self.now);
        assert_eq!(before, self.execution, "deciding changed the state");
        assert_eq!(decided, self.execution.decide(input, self.now), "deciding twice gave two answers");
        let transition = match decided {
            Ok(transition) => transition,
            Err(rejection) => {
                self.log.push(format!("! {rejection}"));
                return Err(rejection);
            }
        };
        self.execution.absorb(&transition);
        self.store(&transition);
        for effect in &transition.effects {
            if let Effect::StartRun(next) = effect {
                self.next_run = Some((**next).clone());
            }
        }
        write_transition(&mut self.log, &transition, &self.progress);
        let recovered = self.recovered();
        assert_eq!(
            recovered,
            self.execution.durable_view(),
            "what is stored does not give the state that a crash leaves"
        );
        Ok(transition)
    }

    fn store(&mut self, transition: &Transition) {
        for fact in &transition.facts {
            match fact {
                Fact::EventBuffered(event) => self.buffered.push(event.clone()),
                Fact::BufferFlushed => self.buffered.clear(),
                _ => {}
            }
        }
        self.history.extend(transition.events.iter().cloned());
        for id in &transition.progress {
            match self.execution.activity_progress(*id) {
                Some(row) => self.progress.insert(*id, row),
                None => self.progress.remove(id),
            };
        }
    }

    /// The state that what is stored gives.
    pub fn recovered(&self) -> Execution {
        let mut execution = Execution::replay(self.history.iter().cloned()).expect("the history is one of ours");
        let progress = self.progress.values().cloned().collect();
        execution.restore(self.buffered.clone(), progress).expect("the rows are ours");
        execution
    }

    /// The server dies and recovers.
    pub fn crash(&mut self) {
        self.execution = self.recovered();
        self.execution.mark_in_doubt();
        self.log.push("crash".to_owned());
    }

    /// The server stops in order, and another takes over. Only to be called while no worker has the workflow task.
    pub fn hand_over(&mut self) {
        self.send(Input::RecordInHand).expect("what is in hand can be recorded");
        self.execution = self.recovered();
        self.execution.mark_recorded_in_doubt();
        self.log.push("handed over".to_owned());
    }

    pub fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Goes to the next deadline and lets what is due happen.
    pub fn advance_to_deadline(&mut self) {
        let deadline = self.execution.next_deadline().expect("the run has a deadline");
        self.now = self.now.max(deadline);
        self.due();
    }

    /// Lets happen what is due.
    pub fn due(&mut self) {
        self.send(Input::DeadlinePassed).expect("a deadline is never refused");
    }

    pub fn signal(&mut self, name: &str) {
        let _ = self.send(signal(name, None));
    }

    pub fn update(&mut self, id: &str) {
        let _ = self.send(Input::Update(Box::new(update(id))));
    }

    pub fn cancel(&mut self) {
        self.send(Input::RequestCancel { reason: "stop".into(), identity: "desk".into(), request_id: None })
            .expect("a request to cancel is never refused");
    }

    pub fn pause(&mut self) {
        let _ = self.send(Input::Pause(pause_change("wait", None)));
    }

    pub fn resume(&mut self) {
        let _ = self.send(Input::Resume(pause_change("go on", None)));
    }

    /// The receiver of a message has it.
    pub fn accepted(&mut self, initiated: u64) {
        let answer = PeerAnswer::Accepted { run_id: peer_run() };
        self.send(Input::PeerAnswered { initiated_event_id: EventId(initiated), answer }).expect("never refused");
    }

    /// The receiver of a message is not there, or is taken.
    pub fn refused(&mut self, initiated: u64, cause: PeerFailureCause) {
        let answer = PeerAnswer::Refused(cause);
        self.send(Input::PeerAnswered { initiated_event_id: EventId(initiated), answer }).expect("never refused");
    }

    pub fn child_closed(&mut self, initiated: u64, outcome: ChildOutcome) {
        let (initiated_event_id, run_id) = (EventId(initiated), peer_run());
        self.send(Input::ChildClosed { initiated_event_id, run_id, outcome }).expect("never refused");
    }

    pub fn terminate(&mut self) {
        let _ = self.send(Input::Terminate { reason: "enough".into(), details: None, identity: "desk".into() });
    }

    /// Hands the workflow task out.
    pub fn take_task(&mut self) -> WorkflowTaskToken {
        let input = Input::StartWorkflowTask { identity: "worker".into(), history_size_bytes: 100 };
        match self.send(input).expect("the task is offered").reply {
            Reply::WorkflowTask(task) => {
                assert_eq!(task.events[0].id, self.execution.next_event_id());
                task.token
            }
            other => panic!("no task but {other:?}"),
        }
    }

    pub fn finish_task(&mut self, token: WorkflowTaskToken, commands: Vec<Command>) {
        self.end_task(token, commands, &[], false);
    }

    /// Completes the workflow task while a step is at work.
    pub fn extend_task(&mut self, token: WorkflowTaskToken, commands: Vec<Command>) {
        self.end_task(token, commands, &[], true);
    }

    /// Completes the task, rejecting updates.
    pub fn answer_task(&mut self, token: WorkflowTaskToken, commands: Vec<Command>, rejected: &[&str]) {
        self.end_task(token, commands, rejected, false);
    }

    fn end_task(&mut self, token: WorkflowTaskToken, commands: Vec<Command>, rejected: &[&str], force_new_task: bool) {
        let (worker, identity) = (self.worker.clone(), "worker".to_owned());
        let reject = |id: &&str| RejectedUpdate {
            update_id: UpdateId::from_trusted(id),
            failure: Failure::application("Invalid", "no"),
        };
        let rejected_updates = rejected.iter().map(reject).collect();
        let input = Input::CompleteWorkflowTask { token, commands, rejected_updates, worker, force_new_task, identity };
        let _ = self.send(input);
    }

    /// From here on workers of this build complete its workflow tasks.
    pub fn served_by(&mut self, build_id: &str, behavior: VersioningBehavior) {
        let deployment = version(build_id).deployment;
        let versioning = Some(Box::new(TaskVersioning { deployment, behavior }));
        self.worker = WorkerMetadata { build_id: build_id.to_owned(), versioning, ..WorkerMetadata::default() };
    }

    /// Hands the workflow task out and completes it.
    pub fn turn(&mut self, commands: Vec<Command>) {
        let token = self.take_task();
        self.finish_task(token, commands);
    }

    pub fn fail_task(&mut self, token: WorkflowTaskToken) {
        let (cause, failure) = (WorkflowTaskFailureCause::Panic, Failure::application("Panic", "boom"));
        let _ = self.send(Input::FailWorkflowTask { token, cause, failure, identity: "worker".into() });
    }

    /// Hands out the current attempt of an activity.
    pub fn take_activity(&mut self, id: &str) -> ActivityToken {
        let pending = self.execution.pending_activities();
        let pending = pending.iter().find(|pending| pending.activity_id.as_str() == id).expect("the activity is open");
        let (scheduled_event_id, attempt) = (pending.scheduled_event_id, pending.attempt);
        let input = Input::StartActivity { scheduled_event_id, attempt, identity: "worker".into() };
        match self.send(input).expect("the attempt is offered").reply {
            Reply::ActivityTask(task) => task.token,
            other => panic!("no task but {other:?}"),
        }
    }

    pub fn complete_activity(&mut self, activity: impl Into<Named>) {
        let activity = activity.into().0;
        let _ = self.send(Input::CompleteActivity { activity, result: None, identity: "worker".into() });
    }

    pub fn fail_activity(&mut self, activity: impl Into<Named>, failure: Failure) {
        let activity = activity.into().0;
        let _ = self.send(Input::FailActivity { activity, failure, identity: "worker".into() });
    }

    pub fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join("\n")
    }

    /// The history, one line per event.
    pub fn history_text(&self) -> String {
        self.history.iter().map(event_line).collect::<Vec<_>>().join("\n")
    }
}

/// Names an activity by a token or by its id.
pub struct Named(pub ActivityRef);

impl From<ActivityToken> for Named {
    fn from(token: ActivityToken) -> Self {
        Self(ActivityRef::Token(token))
    }
}

impl From<&str> for Named {
    fn from(id: &str) -> Self {
        Self(ActivityRef::Id(ActivityId::from_trusted(id)))
    }
}

pub fn signal(name: &str, request_id: Option<&str>) -> Input {
    Input::Signal {
        name: SignalName::from_trusted(name),
        input: vec![Payload::json("1")],
        identity: "desk".into(),
        request_id: request_id.map(RequestId::from_trusted),
    }
}

/// An update of name "set".
pub fn update(id: &str) -> UpdateRequest {
    UpdateRequest {
        id: UpdateId::from_trusted(id),
        name: UpdateName::from_trusted("set"),
        input: vec![Payload::json("1")],
        identity: "desk".into(),
    }
}

pub fn accept(id: &str) -> Command {
    Command::AcceptUpdate(Box::new(update(id)))
}

pub fn answer(id: &str) -> Command {
    let outcome = UpdateOutcome::Completed { result: None };
    Command::CompleteUpdate { update_id: UpdateId::from_trusted(id), outcome }
}

/// Compares what `when` makes of the run `given` with `expect`, line by line; see [`write_transition`] for the lines.
#[track_caller]
pub fn check(given: Run, when: impl FnOnce(&mut Run), expect: &str) -> Run {
    let mut run = given;
    run.log.clear();
    when(&mut run);
    let expected: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let actual = run.take_log();
    assert_eq!(actual, expected.join("\n"), "\n--- what happened:\n{actual}\n---");
    run
}

/// One line for each event (`number name references`), buffered event (`~`), other fact (`~`), row of progress (`%`), effect
/// (`>`) and answer that is not plain (`=`).
fn write_transition(log: &mut Vec<String>, transition: &Transition, rows: &BTreeMap<EventId, ActivityProgress>) {
    log.extend(transition.facts.iter().map(fact_line));
    log.extend(transition.events.iter().map(event_line));
    for id in &transition.progress {
        log.push(match rows.get(id) {
            None => format!("% {id} deleted"),
            Some(row) => {
                let mut line = format!("% {id} attempt={} counted={}", row.attempt, row.counted_attempts);
                if row.started_at.is_some() {
                    line += " started";
                }
                if row.heartbeat_details.is_some() {
                    line += " details";
                }
                line
            }
        });
    }
    log.extend(transition.effects.iter().map(effect_line));
    match &transition.reply {
        Reply::Done | Reply::WorkflowTask(_) | Reply::ActivityTask(_) => {}
        Reply::Unchanged => log.push("= unchanged".to_owned()),
        Reply::WorkflowTaskDropped => log.push("= dropped".to_owned()),
        Reply::Update(standing) => log.push(format!("= update {}", standing_text(*standing))),
        Reply::WorkflowTaskRefused { cause, message } => log.push(format!("= refused {cause:?}: {message}")),
        Reply::Heartbeat { cancel_requested, paused } => {
            let paused = if *paused { " paused" } else { "" };
            log.push(format!("= heartbeat cancel_requested={cancel_requested}{paused}"));
        }
    }
}

fn standing_text(standing: UpdateStanding) -> String {
    match standing {
        UpdateStanding::Admitted => "admitted".to_owned(),
        UpdateStanding::Accepted { event_id } => format!("accepted {event_id}"),
        UpdateStanding::Completed { event_id } => format!("completed {event_id}"),
        UpdateStanding::LeftBehind => "left behind".to_owned(),
    }
}

fn fact_line(fact: &Fact) -> String {
    match fact {
        Fact::EventBuffered(event) => format!("~ buffered {}", event_line(event).trim_start_matches("0 ")),
        Fact::BufferFlushed => "~ buffer flushed".to_owned(),
        Fact::WorkflowTaskStarted { token, .. } => format!("~ task started attempt={}", token.attempt),
        Fact::WorkflowTaskReleased => "~ task released".to_owned(),
        Fact::WorkflowTaskAttemptFailed { attempt, cause, .. } => {
            format!("~ task attempt {attempt} failed cause={cause:?}")
        }
        Fact::WorkflowTaskOffered => "~ task offered".to_owned(),
        Fact::WorkflowTaskDropped => "~ task dropped".to_owned(),
        Fact::UpdateAdmitted { request, .. } => format!("~ update {} admitted", request.id),
        Fact::UpdatesSent { .. } => "~ updates sent".to_owned(),
        Fact::UpdateRejected { update_id } => format!("~ update {update_id} rejected"),
        Fact::ActivityStarted { token, .. } => {
            format!("~ activity {} started attempt={}", token.scheduled_event_id, token.attempt)
        }
        Fact::ActivityAttemptFailed { scheduled_event_id, counted, failure, .. } => {
            format!("~ activity {scheduled_event_id} attempt failed counted={counted}: {}", failure.message)
        }
        Fact::ActivityOffered { scheduled_event_id, .. } => format!("~ activity {scheduled_event_id} offered"),
        Fact::ActivityHeartbeat { scheduled_event_id, details, .. } => {
            format!("~ activity {scheduled_event_id} heartbeat{}", if details.is_some() { " details" } else { "" })
        }
        Fact::ActivityInHandRecorded { scheduled_event_id, .. } => {
            format!("~ activity {scheduled_event_id} recorded as in hand")
        }
        Fact::ActivityOperated { scheduled_event_id, change, .. } => {
            let change = match change {
                ActivityChange::Paused(_) => "paused",
                ActivityChange::Unpaused => "unpaused",
                ActivityChange::AttemptsForgotten { .. } => "attempts forgotten",
                ActivityChange::Options(_) => "options",
            };
            format!("~ activity {scheduled_event_id} operated: {change}")
        }
        Fact::GraceEnded => "~ grace ended".to_owned(),
    }
}

fn effect_line(effect: &Effect) -> String {
    match effect {
        Effect::OfferWorkflowTask { attempt, .. } => format!("> OfferWorkflowTask attempt={attempt}"),
        Effect::WithdrawWorkflowTask => "> WithdrawWorkflowTask".to_owned(),
        Effect::OfferActivity { scheduled_event_id, attempt, task_queue } => {
            format!("> OfferActivity {scheduled_event_id} attempt={attempt} queue={task_queue}")
        }
        Effect::WithdrawActivity { scheduled_event_id, attempt } => {
            format!("> WithdrawActivity {scheduled_event_id} attempt={attempt}")
        }
        Effect::CancelActivity { scheduled_event_id, attempt } => {
            format!("> CancelActivity {scheduled_event_id} attempt={attempt}")
        }
        Effect::PauseActivity { scheduled_event_id, attempt } => {
            format!("> PauseActivity {scheduled_event_id} attempt={attempt}")
        }
        Effect::Deliver { initiated_event_id } => format!("> Deliver {initiated_event_id}"),
        Effect::StartRun(next) => {
            format!("> StartRun attempt={} backoff={:?}", next.started.attempt, next.started.first_task_backoff)
        }
        Effect::UpdateAnswered { update_id, answer } => {
            let answer = match answer {
                UpdateAnswer::Accepted { .. } => "accepted".to_owned(),
                UpdateAnswer::Rejected { failure } => format!("rejected: {}", failure.message),
                UpdateAnswer::Completed { outcome: UpdateOutcome::Completed { .. } } => "completed".to_owned(),
                UpdateAnswer::Completed { outcome: UpdateOutcome::Failed { failure } } => {
                    format!("failed: {}", failure.message)
                }
                UpdateAnswer::RunClosed => "run closed".to_owned(),
            };
            format!("> UpdateAnswered {update_id} {answer}")
        }
        Effect::Closed(status) => format!("> Closed {status:?}"),
    }
}

fn peer_line(event: &PeerEvent) -> String {
    match event {
        PeerEvent::StartChildInitiated { child, workflow_task_completed_event_id } => {
            format!("{} task={workflow_task_completed_event_id}", child.workflow_id)
        }
        PeerEvent::SignalInitiated { signal, workflow_task_completed_event_id } => {
            format!("{} {} task={workflow_task_completed_event_id}", signal.target.workflow_id, signal.name)
        }
        PeerEvent::CancelInitiated { cancel, workflow_task_completed_event_id } => {
            format!("{} task={workflow_task_completed_event_id}", cancel.target.workflow_id)
        }
        PeerEvent::ChildStarted { initiated_event_id, workflow_id, .. } => {
            format!("{workflow_id} initiated={initiated_event_id}")
        }
        PeerEvent::ChildClosed { initiated_event_id, started_event_id, workflow_id, .. } => {
            format!("{workflow_id} initiated={initiated_event_id} started={started_event_id}")
        }
        PeerEvent::Signaled { initiated_event_id, workflow_id, .. }
        | PeerEvent::CancelDelivered { initiated_event_id, workflow_id, .. } => {
            format!("{workflow_id} initiated={initiated_event_id}")
        }
        PeerEvent::StartChildFailed { initiated_event_id, workflow_id, cause, .. }
        | PeerEvent::SignalFailed { initiated_event_id, workflow_id, cause }
        | PeerEvent::CancelFailed { initiated_event_id, workflow_id, cause } => {
            format!("{workflow_id} initiated={initiated_event_id} cause={cause:?}")
        }
    }
}

/// Starts a child with this workflow id and policy.
pub fn start_child_with(id: &str, parent_close_policy: ParentClosePolicy) -> Command {
    Command::Peer(Box::new(PeerCommand::StartChild(StartChild {
        workflow_id: WorkflowId::from_trusted(id),
        workflow_type: WorkflowType::from_trusted("ship"),
        task_queue: None,
        input: vec![Payload::json("1")],
        execution_timeout: None,
        run_timeout: None,
        task_timeout: None,
        retry_policy: None,
        parent_close_policy,
        id_reuse_policy: IdReusePolicy::AllowDuplicate,
        memo: Vec::new(),
        search_attributes: SearchAttributes::new(),
        summary: String::new(),
        details: String::new(),
    })))
}

pub fn start_child(id: &str) -> Command {
    start_child_with(id, ParentClosePolicy::Terminate)
}

/// Why an operator pauses a run, or lets it go on.
pub fn pause_change(reason: &str, request_id: Option<&str>) -> PauseChange {
    let request_id = request_id.map(RequestId::from_trusted);
    PauseChange { reason: reason.into(), identity: "desk".into(), request_id }
}

/// Which workers an operator sends the run to.
pub fn moved(versioning_override: Option<VersioningOverride>) -> Input {
    let (reason, identity) = ("move".into(), "desk".into());
    Input::Move(Box::new(WorkflowOptionsUpdated { versioning_override, reason, identity, request_id: None }))
}

pub fn pinned(build_id: &str) -> VersioningOverride {
    VersioningOverride::Pinned(Arc::new(version(build_id)))
}

/// A build of the deployment of these tests.
pub fn version(build_id: &str) -> WorkerVersion {
    WorkerVersion { deployment: DeploymentName::from_trusted("shop"), build_id: BuildId::from_trusted(build_id) }
}

fn override_text(versioning_override: Option<&VersioningOverride>) -> String {
    match versioning_override {
        Some(VersioningOverride::Pinned(version)) => format!("pinned to {version}"),
        Some(VersioningOverride::AutoUpgrade) => "auto-upgrade".to_owned(),
        None => "as the code says".to_owned(),
    }
}

fn target(id: &str, child_only: bool) -> PeerTarget {
    PeerTarget { workflow_id: WorkflowId::from_trusted(id), run_id: None, child_only }
}

pub fn signal_peer(id: &str) -> Command {
    let name = SignalName::from_trusted("go");
    let signal = SignalPeer { target: target(id, false), name, input: vec![Payload::json("1")] };
    Command::Peer(Box::new(PeerCommand::Signal(signal)))
}

pub fn cancel_peer(id: &str, child_only: bool) -> Command {
    let cancel = CancelPeer { target: target(id, child_only), reason: "enough".to_owned() };
    Command::Peer(Box::new(PeerCommand::RequestCancel(cancel)))
}

/// The run that every peer of these tests has.
pub fn peer_run() -> RunId {
    RunId::from_parts(BEGIN, [8; 10])
}

/// An event as histories in tests show it: number, name, subject, references.
pub fn event_line(event: &Event) -> String {
    let rest = match &event.kind {
        EventKind::WorkflowStarted(e) => format!("attempt={}", e.attempt),
        EventKind::WorkflowCompleted(e) => {
            let continued = if e.new_run_id.is_some() { " continued" } else { "" };
            format!("task={}{continued}", e.workflow_task_completed_event_id)
        }
        EventKind::WorkflowFailed(e) => {
            format!("task={} retry_state={:?}", e.workflow_task_completed_event_id, e.retry_state)
        }
        EventKind::WorkflowTimedOut(e) => format!("retry_state={:?}", e.retry_state),
        EventKind::WorkflowCanceled(e) => format!("task={}", e.workflow_task_completed_event_id),
        EventKind::WorkflowTerminated(e) => e.reason.clone(),
        EventKind::Peer(e) => peer_line(e),
        EventKind::WorkflowContinuedAsNew(e) => format!("task={}", e.workflow_task_completed_event_id),
        EventKind::WorkflowCancelRequested(e) => e.reason.clone(),
        EventKind::WorkflowSignaled(e) => e.name.to_string(),
        EventKind::WorkflowUpdateAdmitted(e) => format!("{} {}", e.id, e.name),
        EventKind::WorkflowRepaired(e) => format!("scheduled={}", e.scheduled_event_id),
        EventKind::WorkflowPaused(e) | EventKind::WorkflowResumed(e) => e.reason.clone(),
        EventKind::WorkflowOptionsUpdated(e) => override_text(e.versioning_override.as_ref()),
        EventKind::WorkflowTaskScheduled(e) => format!("attempt={}", e.attempt),
        EventKind::WorkflowTaskStarted(e) => format!("scheduled={}", e.scheduled_event_id),
        EventKind::WorkflowTaskCompleted(e) => {
            let forces = if e.force_new_task { " forces a task" } else { "" };
            format!("scheduled={} started={}{forces}", e.scheduled_event_id, e.started_event_id)
        }
        EventKind::WorkflowTaskFailed(e) => {
            format!("scheduled={} started={} cause={:?}", e.scheduled_event_id, e.started_event_id, e.cause)
        }
        EventKind::WorkflowTaskTimedOut(e) => {
            format!("scheduled={} started={} timeout={:?}", e.scheduled_event_id, e.started_event_id, e.timeout)
        }
        EventKind::ActivityScheduled(e) => format!("{} task={}", e.activity_id, e.workflow_task_completed_event_id),
        EventKind::ActivityStarted(e) => {
            let last = e.last_failure.as_ref().map(|failure| format!(" last_failure={:?}", failure.message));
            format!("scheduled={} attempt={}{}", e.scheduled_event_id, e.attempt, last.unwrap_or_default())
        }
        EventKind::ActivityCompleted(e) => {
            format!("scheduled={} started={}", e.scheduled_event_id, e.started_event_id)
        }
        EventKind::ActivityFailed(e) => format!(
            "scheduled={} started={} retry_state={:?} failure={:?}",
            e.scheduled_event_id, e.started_event_id, e.retry_state, e.failure.message
        ),
        EventKind::ActivityTimedOut(e) => format!(
            "scheduled={} started={} retry_state={:?} failure={:?}",
            e.scheduled_event_id,
            e.started_event_id,
            e.retry_state,
            e.failure.chain().map(|failure| failure.message.as_str()).collect::<Vec<_>>().join(" < ")
        ),
        EventKind::ActivityCancelRequested(e) => {
            format!("scheduled={} task={}", e.scheduled_event_id, e.workflow_task_completed_event_id)
        }
        EventKind::ActivityCanceled(e) => format!(
            "scheduled={} started={} requested={}",
            e.scheduled_event_id, e.started_event_id, e.cancel_requested_event_id
        ),
        EventKind::TimerStarted(e) => {
            format!("{} task={} duration={:?}", e.timer_id, e.workflow_task_completed_event_id, e.duration)
        }
        EventKind::TimerFired(e) => format!("{} started={}", e.timer_id, e.started_event_id),
        EventKind::TimerCanceled(e) => {
            format!("{} started={} task={}", e.timer_id, e.started_event_id, e.workflow_task_completed_event_id)
        }
        EventKind::StatePublished(e) => {
            let value = String::from_utf8_lossy(&e.value.data);
            format!("{} task={} value={value}", e.name, e.workflow_task_completed_event_id)
        }
        EventKind::MarkerRecorded(e) => {
            let what = match &e.marker {
                Marker::Patch { patch_id, deprecated: false } => patch_id.to_string(),
                Marker::Patch { patch_id, deprecated: true } => format!("{patch_id} deprecated"),
                Marker::Step(step) => format!("{} {}", step.step_id, step.name),
            };
            format!("{} {what} task={}", e.marker.kind(), e.workflow_task_completed_event_id)
        }
        EventKind::SearchAttributesUpserted(e) => {
            let names: Vec<&str> = e.changes.keys().map(|name| name.as_str()).collect();
            format!("{} task={}", names.join(" "), e.workflow_task_completed_event_id)
        }
        EventKind::PropertiesModified(e) => {
            let keys: Vec<&str> = e.changes.memo.keys().map(String::as_str).collect();
            format!("memo={} task={}", keys.join(","), e.workflow_task_completed_event_id)
        }
        EventKind::WorkflowUpdateAccepted(e) => {
            format!("{} {} task={}", e.update.id, e.update.name, e.workflow_task_completed_event_id)
        }
        EventKind::WorkflowUpdateCompleted(e) => {
            let failed = if matches!(e.outcome, UpdateOutcome::Failed { .. }) { " failed" } else { "" };
            let (accepted, task) = (e.accepted_event_id, e.workflow_task_completed_event_id);
            format!("{} accepted={accepted} task={task}{failed}", e.update_id)
        }
    };
    format!("{} {} {rest}", event.id, event.kind.name())
}
