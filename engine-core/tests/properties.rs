//! What must hold whatever reaches a run, in whatever order, with crashes in between.
//!
//! Random inputs drive a run with a model of its surroundings: task queues that follow effects, and workers that keep every
//! token they ever got, so that late, repeated and wrong words are common. [`support::Run::send`] verifies after each input that
//! deciding changed nothing, and that what is stored gives the state that a crash would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine_core::command::Command;
use engine_core::cron::Cron;
use engine_core::event::{
    ActivityTimeouts, CloseStatus, Event, EventKind, Marker, PeerEvent, PropertyChanges, ResetTo, StandaloneActivity,
    StepMarker, StepOutcome, VersioningBehavior, VersioningOverride, WorkerMetadata, WorkflowStarted,
    WorkflowTaskFailureCause,
};
use engine_core::execution::{
    ActivityOperation, ActivityOptionChanges, ActivityRef, ActivityToken, Effect, Execution, Input, PeerAnswer,
    PendingActivity, PendingTaskState, PendingUpdate, RejectedUpdate, Reply, Reset, ResetPoint, Transition,
    WorkflowTaskToken,
};
use engine_core::failure::Failure;
use engine_core::ids::{
    ActivityId, EventId, PatchId, SearchAttributeName, StepName, TaskQueueName, UpdateId, WorkflowId,
};
use engine_core::limits;
use engine_core::payload::Payload;
use engine_core::peer::{ChildOutcome, ParentClosePolicy, PeerFailureCause};
use engine_core::search::SearchValue;
use engine_core::time::Timestamp;
use proptest::prelude::*;

mod support;

use support::{
    Run, accept, answer, cancel_activity, cancel_peer, cancel_timer, complete, fail, moved, pause_change, peer_run,
    pinned, publish, retry, schedule_with, seconds, signal, signal_peer, start_child_with, start_timer, update,
};

/// One thing that happens. Numbers pick one of what there is.
#[derive(Debug, Clone)]
enum Step {
    Signal { request_id: Option<u8> },
    Update { id: u8 },
    Cancel,
    Pause,
    Resume,
    Move { to: u8 },
    Reset { pick: u8 },
    Terminate,
    TakeTask,
    CompleteTask { token: u8, commands: Vec<Code>, rejected: Vec<u8>, force_new_task: bool },
    FailTask { token: u8 },
    ReleaseTask { token: u8 },
    ClaimTask { token: u8 },
    TakeActivity { which: u8 },
    CompleteActivity { token: u8, by_id: bool },
    FailActivity { token: u8, by_id: bool },
    StopActivity { token: u8 },
    Heartbeat { token: u8, details: bool },
    Operate { which: u8, operation: ActivityOperation },
    AnswerPeer { which: u8, accepted: bool },
    CloseChild { which: u8 },
    LoseActivity { token: u8 },
    ReleaseActivity { token: u8 },
    ClaimActivity { token: u8 },
    Wait { deciseconds: u16 },
    WaitForDeadline,
    ClockSetBack { deciseconds: u16 },
    Crash,
    HandOver,
    EndGrace,
    Park,
}

/// One command of the workflow code. Numbers pick among ids that make it valid, unless it is wild.
#[derive(Debug, Clone)]
struct Code {
    verb: Verb,
    pick: u8,
    wild: bool,
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Schedule { maximum_attempts: u32, timeouts: u8 },
    CancelActivity,
    StartTimer { deciseconds: u16 },
    CancelTimer,
    Publish,
    AcceptUpdate,
    CompleteUpdate,
    Patch,
    Step,
    Upsert,
    Modify,
    StartChild,
    SignalPeer,
    CancelPeer,
    Close(End),
}

/// How the code closes the run.
#[derive(Debug, Clone, Copy)]
enum End {
    Completed,
    Failed,
    ContinuedAsNew,
}

fn code() -> impl Strategy<Value = Code> {
    let verb = prop_oneof![
        8 => (0..3_u32, 0..8_u8).prop_map(|(maximum_attempts, timeouts)| Verb::Schedule { maximum_attempts, timeouts }),
        3 => Just(Verb::CancelActivity),
        5 => (0..60_u16).prop_map(|deciseconds| Verb::StartTimer { deciseconds }),
        3 => Just(Verb::CancelTimer),
        2 => Just(Verb::StartChild),
        1 => Just(Verb::SignalPeer),
        1 => Just(Verb::CancelPeer),
        2 => Just(Verb::Publish),
        1 => Just(Verb::Patch),
        1 => Just(Verb::Step),
        1 => Just(Verb::Upsert),
        1 => Just(Verb::Modify),
        3 => Just(Verb::AcceptUpdate),
        2 => Just(Verb::CompleteUpdate),
    ];
    (verb, any::<u8>(), proptest::bool::weighted(0.03)).prop_map(|(verb, pick, wild)| Code { verb, pick, wild })
}

/// What the code asks for in one task; sometimes it ends by closing the run.
fn codes() -> impl Strategy<Value = Vec<Code>> {
    let close = proptest::option::weighted(
        0.06,
        prop_oneof![Just(End::Completed), Just(End::Failed), Just(End::ContinuedAsNew)],
    );
    (proptest::collection::vec(code(), 0..5), close).prop_map(|(mut codes, close)| {
        codes.extend(close.map(|end| Code { verb: Verb::Close(end), pick: 0, wild: false }));
        codes
    })
}

/// What an operator does to an activity; to unpause is likelier than to pause.
fn operation() -> impl Strategy<Value = ActivityOperation> {
    let changes = (0..3_u32, any::<bool>()).prop_map(|(maximum_attempts, elsewhere)| {
        let task_queue = elsewhere.then(|| TaskQueueName::from_trusted("elsewhere"));
        let retry_policy = Some(retry(maximum_attempts));
        let changes = ActivityOptionChanges { task_queue, retry_policy, ..ActivityOptionChanges::default() };
        ActivityOperation::ChangeOptions(Box::new(changes))
    });
    prop_oneof![
        2 => Just(ActivityOperation::Pause { reason: String::new(), identity: String::new() }),
        3 => any::<bool>().prop_map(|forget_attempts| ActivityOperation::Unpause { forget_attempts }),
        1 => any::<(bool, bool)>().prop_map(|(keep_paused, forget_heartbeat)| ActivityOperation::Reset {
            keep_paused,
            forget_heartbeat,
        }),
        1 => changes,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let recent = || prop_oneof![6 => Just(0_u8), 1 => any::<u8>()];
    let rejected = || proptest::collection::vec(0..POOL, 0..3);
    prop_oneof![
        6 => proptest::option::of(0..6_u8).prop_map(|request_id| Step::Signal { request_id }),
        6 => (0..POOL).prop_map(|id| Step::Update { id }),
        1 => Just(Step::Cancel),
        2 => Just(Step::Pause),
        3 => Just(Step::Resume),
        2 => any::<u8>().prop_map(|to| Step::Move { to }),
        1 => any::<u8>().prop_map(|pick| Step::Reset { pick }),
        1 => prop_oneof![9 => Just(Step::EndGrace), 1 => Just(Step::Terminate)],
        12 => Just(Step::TakeTask),
        14 => (recent(), codes(), rejected(), proptest::bool::weighted(0.1)).prop_map(
            |(token, commands, rejected, force_new_task)| Step::CompleteTask { token, commands, rejected, force_new_task },
        ),
        4 => (recent(), rejected()).prop_map(|(token, rejected)| Step::CompleteTask {
            token,
            commands: Vec::new(),
            rejected,
            force_new_task: false,
        }),
        3 => recent().prop_map(|token| Step::FailTask { token }),
        2 => recent().prop_map(|token| Step::ReleaseTask { token }),
        2 => recent().prop_map(|token| Step::ClaimTask { token }),
        12 => any::<u8>().prop_map(|which| Step::TakeActivity { which }),
        4 => (recent(), any::<bool>()).prop_map(|(token, by_id)| Step::CompleteActivity { token, by_id }),
        5 => (recent(), any::<bool>()).prop_map(|(token, by_id)| Step::FailActivity { token, by_id }),
        2 => recent().prop_map(|token| Step::StopActivity { token }),
        3 => (recent(), any::<bool>()).prop_map(|(token, details)| Step::Heartbeat { token, details }),
        4 => (0..POOL, operation()).prop_map(|(which, operation)| Step::Operate { which, operation }),
        2 => recent().prop_map(|token| Step::LoseActivity { token }),
        2 => recent().prop_map(|token| Step::ReleaseActivity { token }),
        2 => recent().prop_map(|token| Step::ClaimActivity { token }),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(which, accepted)| Step::AnswerPeer { which, accepted }),
        4 => any::<u8>().prop_map(|which| Step::CloseChild { which }),
        6 => (0..40_u16).prop_map(|deciseconds| Step::Wait { deciseconds }),
        4 => Just(Step::WaitForDeadline),
        1 => (0..30_u16).prop_map(|deciseconds| Step::ClockSetBack { deciseconds }),
        3 => Just(Step::Crash),
        2 => Just(Step::HandOver),
        4 => Just(Step::EndGrace),
        3 => Just(Step::Park),
    ]
}

/// One thing that happens to a standalone activity.
fn step_of_activity() -> impl Strategy<Value = Step> {
    let recent = || prop_oneof![6 => Just(0_u8), 1 => any::<u8>()];
    prop_oneof![
        1 => Just(Step::Cancel),
        1 => Just(Step::Pause),
        3 => Just(Step::Resume),
        2 => any::<u8>().prop_map(|to| Step::Move { to }),
        1 => prop_oneof![9 => Just(Step::EndGrace), 1 => Just(Step::Terminate)],
        12 => any::<u8>().prop_map(|which| Step::TakeActivity { which }),
        2 => (recent(), any::<bool>()).prop_map(|(token, by_id)| Step::CompleteActivity { token, by_id }),
        6 => (recent(), any::<bool>()).prop_map(|(token, by_id)| Step::FailActivity { token, by_id }),
        2 => recent().prop_map(|token| Step::StopActivity { token }),
        3 => (recent(), any::<bool>()).prop_map(|(token, details)| Step::Heartbeat { token, details }),
        2 => recent().prop_map(|token| Step::LoseActivity { token }),
        2 => recent().prop_map(|token| Step::ReleaseActivity { token }),
        2 => recent().prop_map(|token| Step::ClaimActivity { token }),
        6 => (0..40_u16).prop_map(|deciseconds| Step::Wait { deciseconds }),
        4 => Just(Step::WaitForDeadline),
        1 => (0..30_u16).prop_map(|deciseconds| Step::ClockSetBack { deciseconds }),
        3 => Just(Step::Crash),
        2 => Just(Step::HandOver),
        4 => Just(Step::EndGrace),
        3 => Just(Step::Park),
    ]
}

/// A run with what surrounds it.
struct World {
    run: Run,
    task_tokens: Vec<WorkflowTaskToken>,
    activity_tokens: Vec<ActivityToken>,
    /// The workflow task in its queue, by its attempt.
    offered_task: Option<u32>,
    /// Activities in their queues, with their attempts.
    offered_activities: BTreeMap<EventId, u32>,
    /// Whether the run stays with another version since the input that is being followed.
    has_moved: bool,
    signals_accepted: usize,
    /// Signals that came while the code ran and went to the run that continues it.
    signals_handed_over: usize,
    /// How often an activity that may run only once was given to a worker that got it.
    only_once: BTreeMap<EventId, i32>,
}

impl World {
    fn new(run: Run) -> Self {
        let offered_task = run.execution.next_deadline().is_none_or(|_| {
            run.execution.pending_workflow_task().is_some_and(|task| task.state == PendingTaskState::Scheduled)
        });
        Self {
            run,
            task_tokens: Vec::new(),
            activity_tokens: Vec::new(),
            offered_task: offered_task.then_some(1),
            offered_activities: BTreeMap::new(),
            has_moved: false,
            signals_accepted: 0,
            signals_handed_over: 0,
            only_once: BTreeMap::new(),
        }
    }

    fn send(&mut self, input: Input) -> Option<Transition> {
        let pin = self.run.execution.pinned_to().cloned();
        let transition = self.run.send(input).ok()?;
        self.has_moved = pin.as_ref() != self.run.execution.pinned_to();
        self.follow(&transition.effects);
        self.has_moved = false;
        Some(transition)
    }

    /// Moves tasks into queues and out of them.
    fn follow(&mut self, effects: &[Effect]) {
        for effect in effects {
            let offers = matches!(effect, Effect::OfferWorkflowTask { .. } | Effect::OfferActivity { .. });
            assert!(!offers || self.run.execution.paused().is_none(), "something of a paused run was offered");
            match effect {
                Effect::OfferWorkflowTask { attempt, .. } => {
                    // What waits is offered anew if the run goes to other workers.
                    let before =
                        self.offered_task.replace(*attempt).filter(|before| !self.has_moved || before != attempt);
                    assert_eq!(before, None, "a workflow task was offered twice");
                }
                Effect::WithdrawWorkflowTask => self.offered_task = None,
                Effect::OfferActivity { scheduled_event_id, attempt, .. } => {
                    let before = self.offered_activities.insert(*scheduled_event_id, *attempt);
                    let before = before.filter(|before| !self.has_moved || before != attempt);
                    assert_eq!(before, None, "an activity was offered twice");
                }
                Effect::WithdrawActivity { scheduled_event_id, attempt } => {
                    let before = self.offered_activities.remove(scheduled_event_id);
                    assert!(before.is_none_or(|before| before == *attempt), "another attempt was withdrawn");
                }
                Effect::UpdateAnswered { .. }
                | Effect::CancelActivity { .. }
                | Effect::PauseActivity { .. }
                | Effect::Closed(_)
                | Effect::Deliver { .. } => {}
                Effect::StartRun(next) => {
                    self.signals_handed_over += next.signals.len();
                    self.check_next(&next.started);
                    Run::begin_next((**next).clone(), self.run.now).expect("the next run of a chain can start");
                }
            }
        }
    }

    /// What the next run knows of this one, which has just closed.
    fn check_next(&self, next: &WorkflowStarted) {
        let before = self.run.execution.started();
        assert_eq!((next.first_run_id, next.continued_from), (before.first_run_id, Some(before.run_id)));
        assert_eq!(next.cron, before.cron, "a chain keeps its cron");
        let (last_result, failed) = match &self.run.history.last().expect("it has events").kind {
            EventKind::WorkflowCompleted(end) => (&end.result, false),
            EventKind::WorkflowFailed(_) | EventKind::WorkflowTimedOut(_) => (&before.last_result, true),
            EventKind::WorkflowContinuedAsNew(_) => (&before.last_result, false),
            other => panic!("no run follows {other:?}"),
        };
        assert_eq!(&next.last_result, last_result, "the last result is handed on");
        assert_eq!(next.continued_failure.is_some(), failed);
        let waits = next.first_task_backoff > Duration::ZERO;
        assert!(waits || matches!(self.run.execution.close_status(), Some(CloseStatus::ContinuedAsNew)));
    }

    fn task_token(&self, pick: u8) -> Option<WorkflowTaskToken> {
        pick_from_last(&self.task_tokens, pick)
    }

    fn activity_token(&self, pick: u8) -> Option<ActivityToken> {
        pick_from_last(&self.activity_tokens, pick)
    }

    fn activity_ref(&self, pick: u8, by_id: bool) -> Option<ActivityRef> {
        if by_id {
            return Some(ActivityRef::Id(ActivityId::from_trusted(activity_name(pick % POOL))));
        }
        self.activity_token(pick).map(ActivityRef::Token)
    }

    fn take(&mut self, step: Step) {
        let identity = "worker".to_owned();
        match step {
            Step::Signal { request_id } => {
                let input = signal("go", request_id.map(|id| id.to_string()).as_deref());
                if self.send(input).is_some_and(|transition| transition.reply == Reply::Done) {
                    self.signals_accepted += 1;
                }
            }
            Step::Cancel => self.run_cancel(),
            Step::Pause => {
                self.send(Input::Pause(pause_change("", None)));
            }
            Step::Resume => {
                self.send(Input::Resume(pause_change("", None)));
            }
            Step::Move { to } => {
                let versioning_override = match to % 4 {
                    0 => None,
                    1 => Some(VersioningOverride::AutoUpgrade),
                    build => Some(pinned(&build.to_string())),
                };
                self.send(moved(versioning_override));
            }
            Step::Update { id } => {
                self.send(Input::Update(Box::new(update(&update_name(id)))));
            }
            Step::Terminate => {
                self.send(Input::Terminate { reason: String::new(), details: None, identity });
            }
            Step::AnswerPeer { which, accepted } => {
                // Sometimes one that was answered before, or never asked.
                let owed = self.run.execution.undelivered();
                let id = owed.get(usize::from(which) % (owed.len() + 1)).map_or(EventId(u64::from(which)), |id| *id);
                let answer = match accepted {
                    true => PeerAnswer::Accepted { run_id: peer_run() },
                    false => PeerAnswer::Refused(PeerFailureCause::NotFound),
                };
                self.send(Input::PeerAnswered { initiated_event_id: id, answer });
            }
            Step::CloseChild { which } => {
                let children = self.run.execution.pending_children();
                let child = children.get(usize::from(which) % (children.len() + 1));
                let id = child.map_or(EventId(u64::from(which)), |child| child.initiated_event_id);
                let outcome = ChildOutcome::Completed { result: None };
                self.send(Input::ChildClosed { initiated_event_id: id, run_id: peer_run(), outcome });
            }
            Step::TakeTask => self.take_task(),
            Step::CompleteTask { token, commands, rejected, force_new_task } => {
                if let Some(token) = self.task_token(token) {
                    let commands = self.commands(&commands);
                    match self.run.history.len() % 4 {
                        0 | 1 => self.run.worker = WorkerMetadata::default(),
                        2 => self.run.served_by("2", VersioningBehavior::Pinned),
                        _ => self.run.served_by("3", VersioningBehavior::AutoUpgrade),
                    }
                    let worker = self.run.worker.clone();
                    let reject = |id| RejectedUpdate {
                        update_id: UpdateId::from_trusted(update_name(id)),
                        failure: Failure::application("Invalid", "no"),
                    };
                    let rejected_updates = rejected.into_iter().map(reject).collect();
                    let events = self.run.history.len();
                    let input = Input::CompleteWorkflowTask {
                        token,
                        commands,
                        rejected_updates,
                        worker,
                        force_new_task,
                        identity,
                    };
                    let dropped = self.send(input).is_some_and(|done| done.reply == Reply::WorkflowTaskDropped);
                    assert!(!dropped || self.run.history.len() == events, "a dropped task was written");
                }
            }
            Step::FailTask { token } => {
                if let Some(token) = self.task_token(token) {
                    let failure = Failure::application("Panic", "boom");
                    self.send(Input::FailWorkflowTask {
                        token,
                        cause: WorkflowTaskFailureCause::Panic,
                        failure,
                        identity,
                    });
                }
            }
            Step::ReleaseTask { token } => {
                if let Some(token) = self.task_token(token) {
                    self.send(Input::ReleaseWorkflowTask { token });
                }
            }
            Step::ClaimTask { token } => {
                if let Some(token) = self.task_token(token) {
                    self.send(Input::ClaimWorkflowTask { token, identity });
                }
            }
            Step::TakeActivity { which } => {
                let count = self.offered_activities.len();
                let nth = usize::from(which).checked_rem(count);
                if let Some((id, attempt)) = nth.and_then(|nth| self.offered_activities.iter().nth(nth)) {
                    self.take_activity(*id, *attempt);
                }
            }
            Step::CompleteActivity { token, by_id } => {
                if let Some(activity) = self.activity_ref(token, by_id) {
                    self.send(Input::CompleteActivity { activity, result: None, identity });
                }
            }
            Step::FailActivity { token, by_id } => {
                if let Some(activity) = self.activity_ref(token, by_id) {
                    let failure = Failure::application("Busy", "later");
                    self.send(Input::FailActivity { activity, failure, identity });
                }
            }
            Step::StopActivity { token } => {
                if let Some(activity) = self.activity_ref(token, false) {
                    self.send(Input::CancelActivity { activity, details: None, identity });
                }
            }
            Step::Heartbeat { token, details } => {
                if let Some(activity) = self.activity_ref(token, false) {
                    let details = details.then(|| Payload::json("7"));
                    self.send(Input::HeartbeatActivity { activity, details });
                }
            }
            Step::Operate { which, operation } => {
                let activity_id = ActivityId::from_trusted(activity_name(which));
                // What may run only once is not given more attempts while it runs: that is for its operator to answer for.
                let changes = matches!(operation, ActivityOperation::ChangeOptions(_));
                let pending = self.run.execution.pending_activities();
                let is_once = |activity: &PendingActivity| {
                    activity.activity_id == activity_id && self.only_once.contains_key(&activity.scheduled_event_id)
                };
                if !changes || !pending.iter().any(is_once) {
                    self.send(Input::OperateActivity { activity_id, operation });
                }
            }
            Step::Reset { pick } => self.reset(pick),
            Step::LoseActivity { token } => {
                if let Some(token) = self.activity_token(token) {
                    self.send(Input::LoseActivity { token });
                }
            }
            Step::ReleaseActivity { token } => {
                if let Some(token) = self.activity_token(token)
                    && self.send(Input::ReleaseActivity { token }).is_some()
                {
                    // Only the driver knows that the worker never got it, so here it did not.
                    self.activity_tokens.retain(|known| *known != token);
                    if let Some(times) = self.only_once.get_mut(&token.scheduled_event_id) {
                        *times -= 1;
                    }
                }
            }
            Step::ClaimActivity { token } => {
                if let Some(token) = self.activity_token(token) {
                    self.send(Input::ClaimActivity { token, identity });
                }
            }
            Step::Wait { deciseconds } => {
                self.run.advance(seconds(u64::from(deciseconds)) / 10);
                self.due();
            }
            Step::WaitForDeadline => {
                if let Some(deadline) = self.run.execution.next_deadline() {
                    self.run.now = self.run.now.max(deadline);
                    self.due();
                }
            }
            Step::ClockSetBack { deciseconds } => {
                self.run.now = self.run.now - seconds(u64::from(deciseconds)) / 10;
            }
            Step::Crash => {
                self.run.crash();
                self.offered_task = None;
                self.offered_activities.clear();
            }
            Step::HandOver => {
                let is_closed = self.run.execution.close_status().is_some();
                if !is_closed && !self.run.execution.is_workflow_task_in_hand() {
                    self.run.hand_over();
                    let offers = self.run.execution.offers();
                    self.offered_task = None;
                    self.offered_activities.clear();
                    self.follow(&offers);
                }
            }
            Step::EndGrace => {
                self.send(Input::EndGrace);
            }
            Step::Park => {
                if self.run.execution.is_idle() {
                    let wake_at = self.run.execution.wake_at();
                    self.run.execution = self.run.recovered();
                    assert_eq!(self.run.execution.wake_at(), wake_at);
                    assert_eq!(self.run.execution.offers(), [], "a parked run had something in a queue");
                }
            }
        }
        self.check();
    }

    fn commands(&self, codes: &[Code]) -> Vec<Command> {
        let [mut activities, mut timers] = open_ids(&self.run.history);
        let number =
            |update: &PendingUpdate| update.update_id.as_str()[1..].parse::<u8>().expect("a letter and a number");
        let pending = self.run.execution.pending_updates();
        let of_stage = |accepted| {
            pending.iter().filter(move |update| update.accepted_event_id.is_some() == accepted).map(number).collect()
        };
        let (mut admitted, mut accepted): (BTreeSet<u8>, BTreeSet<u8>) = (of_stage(false), of_stage(true));
        let free = |open: &BTreeSet<u8>| (0..POOL).filter(|id| !open.contains(id)).collect::<Vec<u8>>();
        let command = |code: &Code| {
            Some(match code.verb {
                Verb::Schedule { maximum_attempts, timeouts } => {
                    let id = pick_id(code, free(&activities).into_iter())?;
                    activities.insert(id);
                    schedule(id, maximum_attempts, timeouts)
                }
                Verb::CancelActivity => {
                    let id = pick_id(code, activities.iter().copied())?;
                    activities.remove(&id);
                    cancel_activity(&activity_name(id))
                }
                Verb::StartTimer { deciseconds } => {
                    let id = pick_id(code, free(&timers).into_iter())?;
                    timers.insert(id);
                    start_timer(&format!("t{id}"), seconds(u64::from(deciseconds)) / 10)
                }
                Verb::CancelTimer => {
                    let id = pick_id(code, timers.iter().copied())?;
                    timers.remove(&id);
                    cancel_timer(&format!("t{id}"))
                }
                Verb::Publish => publish(&format!("p{}", code.pick % POOL), &code.pick.to_string()),
                Verb::Patch => {
                    let patch_id = PatchId::from_trusted(format!("p{}", code.pick));
                    Command::RecordMarker(Box::new(Marker::Patch { patch_id, deprecated: code.wild }))
                }
                Verb::Step => Command::RecordMarker(Box::new(Marker::Step(StepMarker {
                    step_id: u64::from(code.pick),
                    name: StepName::from_trusted("quote"),
                    outcome: StepOutcome::Completed { result: Some(Payload::json("1")) },
                    attempt: 1,
                    took: Duration::ZERO,
                }))),
                Verb::Upsert => {
                    let value = (!code.pick.is_multiple_of(3)).then(|| SearchValue::Int(code.pick.into()));
                    let value = if code.wild { Some(SearchValue::Double(f64::NAN)) } else { value };
                    let name = SearchAttributeName::from_trusted(format!("a{}", code.pick % POOL));
                    Command::UpsertSearchAttributes { changes: BTreeMap::from([(name, value)]) }
                }
                Verb::Modify => {
                    let value = (!code.pick.is_multiple_of(3)).then(|| Payload::json("2"));
                    let memo = BTreeMap::from([(format!("m{}", code.pick % POOL), value)]);
                    let current_details = code.wild.then(|| "x".repeat(limits::DETAILS_BYTES_MAX + 1));
                    Command::ModifyProperties(PropertyChanges { memo, current_details })
                }
                Verb::AcceptUpdate => {
                    let id = pick_id(code, admitted.iter().copied())?;
                    admitted.remove(&id);
                    accepted.insert(id);
                    accept(&update_name(id))
                }
                Verb::CompleteUpdate => {
                    let id = pick_id(code, accepted.iter().copied())?;
                    accepted.remove(&id);
                    answer(&update_name(id))
                }
                Verb::StartChild => {
                    let policies =
                        [ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon];
                    start_child_with(&format!("c{}", code.pick % POOL), policies[usize::from(code.pick) % 3])
                }
                Verb::SignalPeer => signal_peer("other"),
                Verb::CancelPeer => cancel_peer(&format!("c{}", code.pick % POOL), !code.wild),
                Verb::Close(End::Completed) => complete(),
                Verb::Close(End::Failed) => fail("Declined"),
                Verb::Close(End::ContinuedAsNew) => Command::ContinueAsNew(Box::default()),
            })
        };
        codes.iter().filter_map(command).collect()
    }

    /// The run goes on from an earlier point, in a new one.
    fn reset(&mut self, pick: u8) {
        let point = match pick % 3 {
            0 => ResetPoint::FirstWorkflowTask,
            1 => ResetPoint::LastWorkflowTask,
            _ => ResetPoint::FailedActivity { activity_id: None, result: (pick > 100).then(|| Payload::json("1")) },
        };
        let (reason, identity) = (String::new(), String::new());
        let reset = Reset {
            point,
            excludes_signals: pick.is_multiple_of(5),
            excludes_updates: pick.is_multiple_of(7),
            reason,
            identity,
            request_id: None,
        };
        let Ok(cut) = reset.cut(&self.run.history) else { return };
        let run_id = self.run.execution.started().run_id.successor(cut.forked_at, self.run.now);
        if self.run.execution.close_status().is_none() {
            let (reason, identity) = (String::new(), String::new());
            let to = ResetTo { run_id, forked_at: cut.forked_at };
            self.send(Input::GoOnElsewhere { reason, identity, to }).expect("an open run can be closed");
        }
        let events = reset.begin(cut, &self.run.history, run_id, self.run.now).expect("the point is there");
        let execution = Execution::replay(events.clone()).expect("what a reset writes is a history");
        assert_eq!(execution.durable_view(), execution, "nothing of a run that was just reset is volatile");
        let effects = execution.begun_by_reset();
        self.run = Run {
            execution,
            history: events,
            buffered: Vec::new(),
            progress: BTreeMap::new(),
            now: self.run.now,
            next_run: None,
            log: Vec::new(),
            worker: self.run.worker.clone(),
        };
        // What the workers of the old run have names the old run.
        (self.task_tokens, self.activity_tokens) = (Vec::new(), Vec::new());
        (self.offered_task, self.offered_activities) = (None, BTreeMap::new());
        (self.only_once, self.signals_handed_over) = (BTreeMap::new(), 0);
        self.signals_accepted = self.run.history.iter().filter(|event| is_signal(event)).count();
        self.follow(&effects);
    }

    fn run_cancel(&mut self) {
        self.send(Input::RequestCancel { reason: String::new(), identity: String::new(), request_id: None });
    }

    fn take_task(&mut self) {
        if self.offered_task.take().is_some() {
            let input = Input::StartWorkflowTask { identity: "worker".into(), history_size_bytes: 1 };
            let transition = self.send(input).expect("what is in the queue can be taken");
            let Reply::WorkflowTask(task) = transition.reply else { panic!("no task: {:?}", transition.reply) };
            self.task_tokens.push(task.token);
        }
    }

    fn take_activity(&mut self, scheduled_event_id: EventId, attempt: u32) {
        self.offered_activities.remove(&scheduled_event_id);
        let input = Input::StartActivity { scheduled_event_id, attempt, identity: "worker".into() };
        let transition = self.send(input).expect("what is in the queue can be taken");
        let Reply::ActivityTask(task) = transition.reply else { panic!("no task: {:?}", transition.reply) };
        self.activity_tokens.push(task.token);
        if task.retry_policy.maximum_attempts == 1 {
            let times = self.only_once.entry(scheduled_event_id).or_default();
            *times += 1;
            assert!(*times <= 1, "an activity that may run only once was handed out twice");
        }
    }

    fn due(&mut self) {
        self.send(Input::DeadlinePassed);
        let next = self.run.execution.next_deadline();
        assert!(next.is_none_or(|next| next > self.run.now), "what was due is still due");
    }

    /// What holds at every moment.
    fn check(&self) {
        let run = &self.run.execution;
        let scheduled_task = run
            .pending_workflow_task()
            .filter(|task| task.state == PendingTaskState::Scheduled && run.paused().is_none())
            .map(|task| task.attempt);
        assert_eq!(self.offered_task, scheduled_task, "the queue and the run disagree about the workflow task");
        let scheduled_activities: BTreeMap<EventId, u32> = run
            .pending_activities()
            .into_iter()
            .filter(|activity| activity.state == PendingTaskState::Scheduled)
            .filter(|activity| activity.paused.is_none() && run.paused().is_none())
            .map(|activity| (activity.scheduled_event_id, activity.attempt))
            .collect();
        assert_eq!(self.offered_activities, scheduled_activities, "the queue and the run disagree about activities");
        check_history(&self.run.history);
        let recorded = self.run.history.iter().chain(&self.run.buffered).filter(|event| is_signal(event)).count();
        let known = recorded + self.signals_handed_over;
        assert_eq!(known, self.signals_accepted, "an acknowledged signal was lost or doubled");
        assert_eq!(run.buffered_len(), self.run.buffered.len());
        let in_memory = run.pending_updates().iter().any(|update| !update.accepted_event_id.is_some());
        assert!(!in_memory || run.pending_workflow_task().is_some(), "an update waits for no workflow task");
        let task = run.pending_workflow_task().map(|task| task.state);
        if !matches!(task, Some(PendingTaskState::Started | PendingTaskState::InDoubt)) {
            assert_eq!(run.buffered_len(), 0, "events wait for a workflow task that does not run");
        }
        if run.close_status().is_some() {
            assert!(self.run.buffered.is_empty() && self.run.progress.is_empty(), "rows of a closed run are left");
            assert_eq!(run.next_deadline(), None);
        }
    }

    /// Workers do all that is offered until the run closes: whatever happened before, a run can be finished.
    fn finish(&mut self) {
        self.take(Step::EndGrace);
        self.take(Step::Resume);
        for which in 0..POOL {
            self.take(Step::Operate { which, operation: ActivityOperation::Unpause { forget_attempts: false } });
        }
        for _ in 0..100 {
            if self.run.execution.close_status().is_some() {
                return;
            }
            self.take(Step::Signal { request_id: None });
            self.take(Step::TakeTask);
            self.take(Step::CompleteTask {
                token: 0,
                force_new_task: false,
                commands: vec![Code { verb: Verb::Close(End::Completed), pick: 0, wild: false }],
                rejected: Vec::new(),
            });
            self.take(Step::Wait { deciseconds: 600 });
        }
        panic!("the run cannot be finished: {:?}", self.run.execution.pending_workflow_task());
    }
}

/// The last of `known` for 0, else any.
fn pick_from_last<T: Copy>(known: &[T], pick: u8) -> Option<T> {
    let back = usize::from(pick).checked_rem(known.len())?;
    known.iter().rev().nth(back).copied()
}

fn activity_name(id: u8) -> String {
    format!("a{id}")
}

fn update_name(id: u8) -> String {
    format!("u{id}")
}

/// How many ids of each kind the code uses.
const POOL: u8 = 6;

fn schedule(id: u8, maximum_attempts: u32, timeouts: u8) -> Command {
    schedule_with(&activity_name(id), |activity| {
        activity.retry_policy = Some(retry(maximum_attempts));
        let set = |bit: u8, deciseconds: u64| (timeouts & bit != 0).then(|| seconds(deciseconds) / 10);
        activity.timeouts.schedule_to_close = set(1, 95);
        activity.timeouts.schedule_to_start = set(2, 30);
        activity.timeouts.heartbeat = set(4, 15);
    })
}

/// Picks one of `ids`, or any of the pool if the pick is wild.
fn pick_id(code: &Code, ids: impl Iterator<Item = u8>) -> Option<u8> {
    if code.wild {
        return Some(code.pick % POOL);
    }
    let ids: Vec<u8> = ids.collect();
    ids.get(usize::from(code.pick).checked_rem(ids.len())?).copied()
}

/// Ids that the code believes to be open, from what it has seen: the history.
fn open_ids(history: &[Event]) -> [BTreeSet<u8>; 2] {
    let mut activities = BTreeMap::new();
    let mut timers = BTreeMap::new();
    let number = |id: &str| id[1..].parse::<u8>().expect("ids are a letter and a number");
    for event in history {
        match &event.kind {
            EventKind::ActivityScheduled(scheduled) => {
                activities.insert(event.id, number(scheduled.activity_id.as_str()));
            }
            EventKind::TimerStarted(timer) => {
                timers.insert(event.id, number(timer.timer_id.as_str()));
            }
            EventKind::TimerFired(timer) => {
                timers.remove(&timer.started_event_id);
            }
            EventKind::TimerCanceled(timer) => {
                timers.remove(&timer.started_event_id);
            }
            kind => {
                if let Some((scheduled_event_id, _)) = kind.activity_end() {
                    activities.remove(&scheduled_event_id);
                }
            }
        }
    }
    [activities.into_values().collect(), timers.into_values().collect()]
}

fn is_signal(event: &Event) -> bool {
    matches!(event.kind, EventKind::WorkflowSignaled(_))
}

/// Checks a history with nothing but the history.
fn check_history(history: &[Event]) {
    let mut scheduled = BTreeSet::new();
    let mut ended = BTreeSet::new();
    let mut timers: BTreeMap<EventId, Timestamp> = BTreeMap::new();
    let mut clock = Timestamp::EPOCH;
    let mut updates: BTreeMap<&UpdateId, Option<EventId>> = BTreeMap::new();
    // By the event that asked for them; true once they run.
    let mut children: BTreeMap<EventId, bool> = BTreeMap::new();
    let mut messages: BTreeSet<EventId> = BTreeSet::new();
    for (event, number) in history.iter().zip(1..) {
        assert_eq!(event.id, EventId(number), "ids are not contiguous");
        match &event.kind {
            EventKind::WorkflowTaskStarted(_) => {
                assert!(event.at >= clock, "the clock of the code ran backwards");
                clock = event.at;
            }
            EventKind::ActivityScheduled(_) => {
                scheduled.insert(event.id);
            }
            EventKind::TimerStarted(timer) => {
                timers.insert(event.id, event.at + timer.duration);
            }
            EventKind::TimerFired(timer) => {
                let fire_at = timers.remove(&timer.started_event_id).expect("a timer fired that was not open");
                assert!(event.at >= fire_at, "a timer fired early");
            }
            EventKind::WorkflowUpdateAccepted(accepted) => {
                let before = updates.insert(&accepted.update.id, Some(event.id));
                assert_eq!(before, None, "an update was accepted twice");
            }
            EventKind::WorkflowUpdateCompleted(end) => {
                let accepted = updates.get_mut(&end.update_id).and_then(Option::take);
                assert_eq!(accepted, Some(end.accepted_event_id), "an update was completed that was not open");
            }
            EventKind::TimerCanceled(timer) => {
                timers.remove(&timer.started_event_id).expect("a timer was canceled that was not open");
            }
            EventKind::Peer(peer) => match &**peer {
                PeerEvent::StartChildInitiated { .. } => drop(children.insert(event.id, false)),
                PeerEvent::StartChildFailed { initiated_event_id, .. } => {
                    let was = children.remove(initiated_event_id);
                    assert_eq!(was, Some(false), "a child that was not awaited could not be started");
                }
                PeerEvent::ChildStarted { initiated_event_id, .. } => {
                    let was = children.insert(*initiated_event_id, true);
                    assert_eq!(was, Some(false), "a child started twice, or was never asked for");
                }
                PeerEvent::ChildClosed { initiated_event_id, started_event_id, .. } => {
                    let was = children.remove(initiated_event_id);
                    assert_eq!(was, Some(true), "a child ended twice, or never ran");
                    assert!(initiated_event_id < started_event_id && *started_event_id < event.id);
                }
                PeerEvent::SignalInitiated { .. } | PeerEvent::CancelInitiated { .. } => {
                    messages.insert(event.id);
                }
                PeerEvent::Signaled { initiated_event_id, .. }
                | PeerEvent::SignalFailed { initiated_event_id, .. }
                | PeerEvent::CancelDelivered { initiated_event_id, .. }
                | PeerEvent::CancelFailed { initiated_event_id, .. } => {
                    assert!(messages.remove(initiated_event_id), "a message was answered twice, or never sent");
                }
            },
            kind => {
                if let Some((id, _)) = kind.activity_end() {
                    assert!(
                        scheduled.contains(&id) && ended.insert(id),
                        "an activity ended twice or was never scheduled"
                    );
                }
            }
        }
    }
    let by_code = history.iter().rev().skip_while(|event| {
        matches!(
            event.kind,
            EventKind::WorkflowCompleted(_) | EventKind::WorkflowFailed(_) | EventKind::WorkflowCanceled(_)
        )
    });
    let has_code = !matches!(history.first().map(|event| &event.kind), Some(EventKind::WorkflowStarted(it)) if it.activity.is_some());
    if has_code && by_code.clone().count() < history.len() {
        let mut last_task = by_code.take_while(|event| !matches!(event.kind, EventKind::WorkflowTaskCompleted(_)));
        let unseen =
            last_task.find(|event| event.kind.is_news() && !matches!(event.kind, EventKind::ActivityCanceled(_)));
        assert_eq!(unseen, None, "the code closed the run over an event that it had not seen");
    }
    let closings = history.iter().filter(|event| event.kind.close_status().is_some()).count();
    assert!(closings <= 1, "the run closed twice");
    assert!(closings == 0 || history.last().is_some_and(|event| event.kind.close_status().is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(
        timeouts in 0..4_u8,
        retries in any::<bool>(),
        delayed in any::<bool>(),
        cron in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..75),
    ) {
        let run = Run::start_with(|started| {
            started.run_timeout = (timeouts & 1 != 0).then(|| seconds(40));
            started.execution_timeout = (timeouts & 2 != 0).then(|| seconds(60));
            started.retry_policy = retries.then(|| retry(0));
            started.first_task_backoff = if delayed && !cron { seconds(2) } else { seconds(0) };
            // Every ten seconds: within all timeouts.
            started.cron = cron.then(|| Box::new(Cron { expression: "*/10 * * * * *".into(), time_zone: String::new() }));
        });
        let mut world = World::new(run);
        for step in steps {
            world.take(step);
        }
        world.finish();
    }

    #[test]
    fn a_standalone_activity_ends_once_whatever_happens(
        maximum_attempts in 0..3_u32,
        timeouts in 0..8_u8,
        delayed in any::<bool>(),
        steps in proptest::collection::vec(step_of_activity(), 1..40),
    ) {
        let run = Run::start_with(|started| {
            let set = |bit: u8, deciseconds: u64| (timeouts & bit != 0).then(|| seconds(deciseconds) / 10);
            let timeouts = ActivityTimeouts {
                schedule_to_close: set(1, 95),
                schedule_to_start: set(2, 30),
                start_to_close: Some(seconds(10)),
                heartbeat: set(4, 15),
            };
            started.workflow_id = WorkflowId::from_trusted(activity_name(0));
            started.first_task_backoff = if delayed { seconds(2) } else { seconds(0) };
            started.activity = Some(Box::new(StandaloneActivity { timeouts, retry_policy: retry(maximum_attempts) }));
        });
        let mut world = World::new(run);
        world.offered_task = None;
        if !delayed {
            world.offered_activities.insert(EventId::FIRST, 1);
        }
        for step in steps {
            world.take(step);
        }
        let history = &world.run.history;
        let of_code = history.iter().find(|event| matches!(event.kind, EventKind::WorkflowTaskScheduled(_)));
        prop_assert_eq!(of_code, None, "it has no code");
        let starts = history.iter().filter(|event| matches!(event.kind, EventKind::ActivityStarted(_))).count();
        let is_closed = world.run.execution.close_status().is_some();
        prop_assert!(starts <= usize::from(is_closed), "its last attempt is recorded with its end");
        prop_assert_eq!(world.run.execution.pending_activities().len(), usize::from(!is_closed));
        prop_assert!(!is_closed || (world.offered_activities.is_empty() && world.run.progress.is_empty()));
        let closings = history.iter().filter(|event| event.kind.close_status().is_some()).count();
        prop_assert_eq!(closings, usize::from(is_closed));
    }
}
