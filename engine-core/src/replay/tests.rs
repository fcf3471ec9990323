//! Histories, and where code that runs over them departs.

mod markers;

use std::panic::Location;
use std::time::Duration;

use super::*;
use crate::command::ScheduleActivity;
use crate::event::{
    ActivityCancelRequested, ActivityScheduled, ActivityTimeouts, Fork, ParentClosePolicy, ResetOrigin, TimerCanceled,
    TimerStarted, WorkerMetadata, WorkflowCompleted, WorkflowTaskCompleted, WorkflowTaskFailed,
    WorkflowTaskFailureCause, WorkflowTaskScheduled,
};
use crate::execution::IdReusePolicy;
use crate::ids::{ActivityType, Namespace, RunId, TaskQueueName, TimerId, WorkflowId, WorkflowType};
use crate::peer::StartChild;
use crate::retry::RetryPolicy;

/// Writes a history by hand. Each event is one second later than the one before.
#[derive(Clone)]
struct History {
    events: Vec<Event>,
    flags: Vec<u32>,
}

impl History {
    fn new() -> Self {
        let run_id = RunId::from_parts(Timestamp::from_micros(1_000_000), [7; 10]);
        let mut history = Self { events: Vec::new(), flags: vec![FLAG_MATCH_IDS] };
        history.add(EventKind::WorkflowStarted(Box::new(WorkflowStarted {
            namespace: Namespace::from_trusted("default"),
            workflow_id: WorkflowId::from_trusted("order-42"),
            run_id,
            workflow_type: WorkflowType::from_trusted("checkout"),
            task_queue: queue(),
            input: vec![Payload::json("1")],
            execution_timeout: None,
            run_timeout: None,
            task_timeout: Duration::from_secs(10),
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
            identity: "test".into(),
            memo: Vec::new(),
            search_attributes: crate::search::SearchAttributes::new(),
            summary: String::new(),
            details: String::new(),
            seen_request_ids: Vec::new(),
            reset: None,
            parent: None,
            activity: None,
        })));
        history
    }

    fn add(&mut self, kind: EventKind) -> EventId {
        let id = EventId(self.events.len() as u64 + 1);
        self.events.push(Event { id, at: Timestamp::from_micros(id.0 as i64 * 1_000_000), kind });
        id
    }

    /// A task is handed out.
    fn task(mut self) -> Self {
        let scheduled_event_id = self.add(EventKind::WorkflowTaskScheduled(WorkflowTaskScheduled {
            task_queue: queue(),
            start_to_close: Duration::from_secs(10),
            attempt: 1,
        }));
        self.add(EventKind::WorkflowTaskStarted(WorkflowTaskStarted {
            scheduled_event_id,
            identity: "test".into(),
            history_size_bytes: 100 * scheduled_event_id.0,
            suggest_continue_as_new: ContinueAsNewReasons::default(),
        }));
        self
    }

    fn completed(mut self) -> Self {
        let started = EventId(self.events.len() as u64);
        self.add(EventKind::WorkflowTaskCompleted(WorkflowTaskCompleted {
            scheduled_event_id: EventId(started.0 - 1),
            started_event_id: started,
            identity: "test".into(),
            worker: WorkerMetadata { flags: self.flags.clone(), ..WorkerMetadata::default() },
            force_new_task: false,
        }));
        self
    }

    fn task_failed(mut self) -> Self {
        let started = EventId(self.events.len() as u64);
        self.add(EventKind::WorkflowTaskFailed(WorkflowTaskFailed {
            scheduled_event_id: EventId(started.0 - 1),
            started_event_id: started,
            cause: WorkflowTaskFailureCause::Panic,
            failure: Failure::application("Panic", "oops"),
            identity: "test".into(),
        }));
        self
    }

    fn activity(mut self, id: &str, activity_type: &str) -> Self {
        self.add(EventKind::ActivityScheduled(Box::new(ActivityScheduled {
            workflow_task_completed_event_id: EventId::NONE,
            activity_id: ActivityId::from_trusted(id),
            activity_type: ActivityType::from_trusted(activity_type),
            task_queue: queue(),
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: RetryPolicy::default(),
            summary: String::new(),
        })));
        self
    }

    fn activity_completed(mut self, scheduled: u64) -> Self {
        let scheduled_event_id = EventId(scheduled);
        let started = ActivityStarted { scheduled_event_id, attempt: 2, identity: "test".into(), last_failure: None };
        let started_event_id = self.add(EventKind::ActivityStarted(started));
        self.add(EventKind::ActivityCompleted(ActivityCompleted {
            scheduled_event_id,
            started_event_id,
            result: Some(Payload::json("9")),
            identity: "test".into(),
        }));
        self
    }

    fn activity_cancel_requested(mut self, scheduled: u64) -> Self {
        self.add(EventKind::ActivityCancelRequested(ActivityCancelRequested {
            workflow_task_completed_event_id: EventId::NONE,
            scheduled_event_id: EventId(scheduled),
        }));
        self
    }

    fn activity_canceled(mut self, scheduled: u64, requested: u64) -> Self {
        self.add(EventKind::ActivityCanceled(ActivityCanceled {
            scheduled_event_id: EventId(scheduled),
            started_event_id: EventId::NONE,
            cancel_requested_event_id: EventId(requested),
            details: None,
            identity: "test".into(),
        }));
        self
    }

    fn timer(mut self, id: &str) -> Self {
        self.add(EventKind::TimerStarted(TimerStarted {
            workflow_task_completed_event_id: EventId::NONE,
            timer_id: TimerId::from_trusted(id),
            duration: Duration::from_secs(60),
            summary: String::new(),
        }));
        self
    }

    fn timer_fired(mut self, id: &str, started: u64) -> Self {
        let fired = TimerFired { timer_id: TimerId::from_trusted(id), started_event_id: EventId(started) };
        self.add(EventKind::TimerFired(fired));
        self
    }

    fn timer_canceled(mut self, id: &str, started: u64) -> Self {
        self.add(EventKind::TimerCanceled(TimerCanceled {
            workflow_task_completed_event_id: EventId::NONE,
            timer_id: TimerId::from_trusted(id),
            started_event_id: EventId(started),
        }));
        self
    }

    fn signal(mut self, name: &str) -> Self {
        self.add(EventKind::WorkflowSignaled(WorkflowSignaled {
            name: SignalName::from_trusted(name),
            input: Vec::new(),
            identity: "test".into(),
            request_id: None,
        }));
        self
    }

    fn closed(mut self) -> Self {
        self.add(EventKind::WorkflowCompleted(WorkflowCompleted {
            workflow_task_completed_event_id: EventId::NONE,
            result: None,
            new_run_id: None,
        }));
        self
    }

    fn child(mut self, id: &str) -> Self {
        let child = start_child(WorkflowId::from_trusted(id));
        let workflow_task_completed_event_id = EventId::NONE;
        self.add(EventKind::Peer(Box::new(PeerEvent::StartChildInitiated { workflow_task_completed_event_id, child })));
        self
    }

    /// As if it had been reset to before its event `until`, from the run with this id.
    fn reset(mut self, base_run_id: RunId, until: u64) -> Self {
        let EventKind::WorkflowStarted(started) = &mut self.events[0].kind else {
            panic!("the first event is the start")
        };
        let forked_at = EventId(until);
        started.reset = Some(Box::new(ResetOrigin {
            base_run_id,
            original_run_id: base_run_id,
            forked_at,
            forks: vec![Fork { run_id: base_run_id, until: forked_at }],
            reason: String::new(),
            identity: String::new(),
        }));
        self
    }

    fn from(&self, id: u64) -> Vec<Event> {
        self.events[id as usize - 1..].to_vec()
    }
}

fn queue() -> TaskQueueName {
    TaskQueueName::from_trusted("orders")
}

fn fed(history: &History) -> Replayer {
    let mut replayer = Replayer::new();
    replayer.feed(history.events.clone()).unwrap();
    replayer
}

fn activation(replayer: &mut Replayer) -> Activation {
    replayer.next_activation().unwrap().expect("a task whose code must run")
}

fn schedule(replayer: &mut Replayer, activity_type: &str) -> Handle {
    replayer.schedule_activity(None, ActivityType::from_trusted(activity_type), |activity_id, activity_type| {
        ScheduleActivity {
            activity_id,
            activity_type,
            task_queue: None,
            input: Vec::new(),
            timeouts: ActivityTimeouts::default(),
            retry_policy: None,
            summary: String::new(),
        }
    })
}

fn start_child(workflow_id: WorkflowId) -> StartChild {
    StartChild {
        workflow_id,
        workflow_type: WorkflowType::from_trusted("ship"),
        task_queue: None,
        input: Vec::new(),
        execution_timeout: None,
        run_timeout: None,
        task_timeout: None,
        retry_policy: None,
        parent_close_policy: ParentClosePolicy::Terminate,
        id_reuse_policy: IdReusePolicy::AllowDuplicate,
        memo: Vec::new(),
        search_attributes: crate::search::SearchAttributes::new(),
        summary: String::new(),
        details: String::new(),
    }
}

/// Starts a child that is given no id, and gives the one that it gets.
fn child(replayer: &mut Replayer) -> String {
    let id = replayer.next_child_id();
    replayer.start_child(id.clone(), WorkflowType::from_trusted("ship"), |id, _| start_child(id));
    id.to_string()
}

fn names(commands: Option<Vec<Command>>) -> Vec<&'static str> {
    commands.expect("a live task").iter().map(Command::name).collect()
}

fn nondeterminism(result: Result<Option<Vec<Command>>, ReplayError>) -> Nondeterminism {
    match result.unwrap_err() {
        ReplayError::Nondeterminism(difference) => *difference,
        other => panic!("{other}"),
    }
}

fn complete() -> Command {
    Command::CompleteWorkflow { result: None }
}

#[test]
fn step_by_step_and_from_scratch_are_the_same_walk() {
    let one = History::new().task();
    let two = one.clone().completed().activity("1", "charge").signal("early").activity_completed(5).task();
    let three = two.clone().completed().closed();

    let mut live = fed(&one);
    let first = activation(&mut live);
    assert_eq!((first.replaying, first.now, first.history_length), (false, Timestamp::from_micros(3_000_000), 3));
    let handle = schedule(&mut live, "charge");
    assert_eq!(names(live.finish_activation().unwrap()), ["ScheduleActivity"]);
    assert_eq!(live.take_new_flags(), [FLAG_MATCH_IDS]);
    assert_eq!(live.next_activation().unwrap(), None);
    live.feed(two.from(4)).unwrap();
    let second = activation(&mut live);

    let mut replayed = fed(&two);
    assert!(activation(&mut replayed).replaying);
    assert_eq!(schedule(&mut replayed, "charge"), handle);
    assert_eq!(replayed.finish_activation().unwrap(), None);
    assert_eq!(activation(&mut replayed), second);
    assert!(matches!(second.outcomes[..], [Outcome::Signaled { .. }, Outcome::Resolved(it)] if it == handle));
    assert_eq!((second.history_size_bytes, second.history_length), (900, 10));

    for replayer in [&mut live, &mut replayed] {
        let resolved = replayer.take_resolution(handle).unwrap();
        assert_eq!((resolved.event_id, resolved.attempt), (EventId(5), 2));
        assert_eq!(resolved.resolution, Resolution::Completed { result: Some(Payload::json("9")) });
        assert_eq!(replayer.take_resolution(handle), None);
        replayer.close(complete());
        assert_eq!(names(replayer.finish_activation().unwrap()), ["CompleteWorkflow"]);
        replayer.feed(three.from(11)).unwrap();
        assert_eq!(replayer.next_activation().unwrap(), None);
        assert!(replayer.is_closed() && replayer.open_count() == 0);
    }
}

#[test]
fn a_failed_task_is_skipped_and_its_outcomes_belong_to_the_next() {
    let history = History::new().task().completed().timer("1").signal("a").task().task_failed().signal("b").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    replayer.start_timer(Duration::from_secs(60), String::new());
    replayer.finish_activation().unwrap();
    let second = activation(&mut replayer);
    let signals: Vec<&str> = second
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Signaled { name, .. } => name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(signals, ["a", "b"]);
    assert_eq!((second.now, second.replaying), (Timestamp::from_micros(12_000_000), false));
}

#[test]
fn a_child_that_was_begun_before_a_reset_keeps_its_id_and_a_later_one_has_the_new_run_s() {
    let base = RunId::from_parts(Timestamp::from_micros(1), [1; 10]);
    let of_base = History::new().task().completed().child(&format!("{base}/1")).signal("go").task();
    let history = of_base.reset(base, 9).task_failed().task();
    let mut replayer = fed(&history);
    assert!(activation(&mut replayer).replaying);
    assert_eq!(child(&mut replayer), format!("{base}/1"));
    replayer.finish_activation().unwrap();
    assert!(!activation(&mut replayer).replaying);
    let own = replayer.started().unwrap().run_id;
    assert_eq!(child(&mut replayer), format!("{own}/2"));
}

#[test]
fn what_is_withdrawn_in_its_own_task_leaves_no_trace_but_keeps_its_number() {
    let mut replayer = fed(&History::new().task());
    activation(&mut replayer);
    let timer = replayer.start_timer(Duration::from_secs(1), String::new());
    let activity = schedule(&mut replayer, "charge");
    replayer.abandon(timer);
    replayer.request_cancel(activity);
    assert!(matches!(
        replayer.take_resolution(activity).unwrap().resolution,
        Resolution::Failed { retry_state: RetryState::CancelRequested, .. }
    ));
    let later = replayer.start_timer(Duration::from_secs(2), String::new());
    assert_eq!(later.index(), 1, "the last freed slot is used again");
    let commands = replayer.finish_activation().unwrap().unwrap();
    assert_eq!(
        commands,
        [Command::StartTimer {
            timer_id: TimerId::from_trusted("2"),
            duration: Duration::from_secs(2),
            summary: String::new()
        }]
    );
}

#[test]
fn a_recorded_timer_or_activity_that_nobody_wants_is_canceled_once() {
    let history = History::new().task().completed().timer("1").activity("1", "charge").signal("go").task();
    let closed = history
        .clone()
        .completed()
        .timer_canceled("1", 5)
        .activity_cancel_requested(6)
        .activity_canceled(6, 12)
        .task()
        .completed()
        .closed();
    for events in [&history, &closed] {
        let mut replayer = fed(events);
        activation(&mut replayer);
        let timer = replayer.start_timer(Duration::from_secs(60), String::new());
        let activity = schedule(&mut replayer, "charge");
        replayer.finish_activation().unwrap();
        activation(&mut replayer);
        replayer.abandon(timer);
        replayer.request_cancel(activity);
        replayer.request_cancel(activity);
        replayer.abandon(activity);
        let commands = replayer.finish_activation().unwrap();
        if commands.is_some() {
            assert_eq!(names(commands), ["CancelTimer", "RequestCancelActivity"]);
            assert_eq!(replayer.open_count(), 2, "open until history has closed them");
            continue;
        }
        assert_eq!(activation(&mut replayer).outcomes, [], "nobody wants to know");
        assert_eq!(replayer.open_count(), 0);
        replayer.close(complete());
        assert_eq!(replayer.finish_activation().unwrap(), None);
        assert!(replayer.is_closed());
    }
}

#[test]
fn a_detached_activity_goes_on_and_its_outcome_is_dropped() {
    let history =
        History::new().task().completed().activity("1", "log").activity_completed(5).task().completed().closed();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    let handle = schedule(&mut replayer, "log");
    replayer.detach(handle);
    replayer.finish_activation().unwrap();
    assert_eq!(activation(&mut replayer).outcomes, []);
    assert_eq!(replayer.open_count(), 0);
}

#[test]
fn a_difference_is_shown_aligned_with_the_first_one_marked() {
    let history =
        History::new().task().completed().activity("1", "charge_card").timer("1").activity("2", "ship").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    schedule(&mut replayer, "charge_card");
    schedule(&mut replayer, "check_stock");
    replayer.start_timer(Duration::from_secs(1), String::new());
    schedule(&mut replayer, "ship");
    let difference = nondeterminism(replayer.finish_activation());
    assert_eq!(difference.event_id, EventId(6));
    assert_eq!(
        difference.to_string(),
        "the workflow code does not follow its history: at event 6 the history has StartTimer (id 1), but the code asked \
for ScheduleActivity check_stock (id 2)
commands of the workflow task completed at event 4:
   event  history                              code
       5  ScheduleActivity charge_card (id 1)  ScheduleActivity charge_card (id 1)
>         -                                    ScheduleActivity check_stock (id 2)
       6  StartTimer (id 1)                    StartTimer (id 1)
       7  ScheduleActivity ship (id 2)         ScheduleActivity ship (id 3)"
    );
}

#[test]
fn the_commands_of_the_code_are_shown_with_their_places_where_these_are_known() {
    let history = History::new().task().completed().activity("1", "charge_card").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    let place = Location::caller();
    replayer.at(place, |replayer| replayer.start_timer(Duration::from_secs(1), String::new()));
    schedule(&mut replayer, "charge_card");
    let difference = nondeterminism(replayer.finish_activation());
    let asked = format!("{}:{}", place.file(), place.line());
    assert_eq!(difference.actual, format!("StartTimer (id 1) at {asked}"));
    let shown: Vec<&str> = difference.diff.lines().skip(2).collect();
    let expected = [
        format!(">         -                                    StartTimer (id 1)  {asked}"),
        "       5  ScheduleActivity charge_card (id 1)  ScheduleActivity charge_card (id 1)".to_owned(),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn commands_that_only_one_side_has_are_differences() {
    let history = History::new().task().completed().activity("1", "charge").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    let difference = nondeterminism(replayer.finish_activation());
    assert_eq!(
        (difference.expected.as_str(), difference.actual.as_str()),
        ("ScheduleActivity charge (id 1)", "nothing")
    );
    assert_eq!(difference.event_id, EventId(5));

    let mut replayer = fed(&history);
    activation(&mut replayer);
    schedule(&mut replayer, "charge");
    replayer.close(complete());
    let difference = nondeterminism(replayer.finish_activation());
    assert_eq!((difference.expected.as_str(), difference.actual.as_str()), ("nothing", "CompleteWorkflow"));
    assert_eq!(
        difference.diff,
        "commands of the workflow task completed at event 4:
   event  history                         code
       5  ScheduleActivity charge (id 1)  ScheduleActivity charge (id 1)
>         -                               CompleteWorkflow"
    );
}

#[test]
fn a_long_task_shows_only_the_surroundings_of_its_difference() {
    let mut history = History::new().task().completed();
    for number in 1..=100 {
        history = history.timer(&number.to_string());
    }
    let mut replayer = fed(&history.task());
    activation(&mut replayer);
    for number in 1..=100 {
        if number == 50 {
            schedule(&mut replayer, "surprise");
        }
        replayer.start_timer(Duration::from_secs(1), String::new());
    }
    let difference = nondeterminism(replayer.finish_activation());
    assert_eq!(difference.event_id, EventId(54));
    assert!(difference.diff.contains("(44 equal commands before)"), "{}", difference.diff);
    assert!(difference.diff.ends_with("(and 31 more in the history, 32 more of the code)"), "{}", difference.diff);
    assert_eq!(difference.diff.lines().filter(|line| line.starts_with('>')).count(), 1);
}

#[test]
fn without_the_flag_only_kinds_are_compared_and_a_flag_is_read_back() {
    let mut history = History::new();
    history.flags = vec![77];
    let history = history.task().completed().activity("a", "charge").activity_completed(5).task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    assert!(replayer.use_flag(77), "the task's own flags hold from its beginning");
    assert!(!replayer.use_flag(78), "a replayed task gets no new flags");
    schedule(&mut replayer, "renamed");
    assert_eq!(replayer.finish_activation().unwrap(), None);
    activation(&mut replayer);
    assert!(replayer.use_flag(78));
    replayer.finish_activation().unwrap();
    assert_eq!(replayer.take_new_flags(), [78, FLAG_MATCH_IDS]);
    assert_eq!(replayer.flags().iter().copied().collect::<Vec<_>>(), [FLAG_MATCH_IDS, 77, 78]);
}

#[test]
fn events_that_do_not_continue_are_refused_and_change_nothing() {
    let one = History::new().task();
    let mut replayer = fed(&one);
    activation(&mut replayer);
    replayer.finish_activation().unwrap();
    let two = one.clone().completed().signal("a").task();
    let out_of_step = |result: Result<(), ReplayError>| matches!(result, Err(ReplayError::OutOfStep { .. }));
    assert!(out_of_step(replayer.feed(two.from(5))), "a gap");
    assert!(out_of_step(replayer.feed(two.from(3))), "an overlap");
    assert!(out_of_step(replayer.feed(Vec::new())), "nothing");
    let refused = one.clone().task_failed().task();
    assert!(out_of_step(replayer.feed(refused.from(4))), "the answer was not taken");
    replayer.feed(two.from(4)).unwrap();
    assert_eq!(activation(&mut replayer).outcomes.len(), 1);

    let mut replayer = Replayer::new();
    assert!(out_of_step(replayer.feed(two.from(4))));
}

#[test]
fn a_history_that_no_server_wrote_is_told_from_one_that_the_code_contradicts() {
    let history = History::new().timer("1").task();
    let mut replayer = fed(&history);
    assert!(matches!(replayer.next_activation(), Err(ReplayError::Corrupt { event_id: EventId(2), .. })));
    let history = History::new().timer_fired("1", 1).task();
    let mut replayer = fed(&history);
    assert!(matches!(replayer.next_activation(), Err(ReplayError::Corrupt { event_id: EventId(2), .. })));
}

#[test]
fn the_clock_never_goes_backwards() {
    let mut history = History::new().task().completed().signal("a").task();
    history.events[6].at = Timestamp::from_micros(1);
    let mut replayer = fed(&history);
    let first = activation(&mut replayer).now;
    replayer.finish_activation().unwrap();
    assert_eq!(activation(&mut replayer).now, first);
}
