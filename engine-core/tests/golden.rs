//! Histories as they must be, event by event: one text file per scenario in `histories/`, one line per event.
//!
//! A difference is a change of behaviour that users see in their histories and that workers of other versions must understand.
//! `BLESS=1 cargo test -p engine-core --test golden` rewrites the files; read the difference before committing it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use engine_core::command::{Command, ContinueAsNew, UnreadSignal};
use engine_core::cron::Cron;
use engine_core::event::{ActivityTimeouts, Marker, StandaloneActivity, StepMarker, StepOutcome};
use engine_core::execution::{ActivityRef, Input};
use engine_core::failure::{Failure, RetryState};
use engine_core::ids::{PatchId, SignalName, StepName};
use engine_core::payload::Payload;
use engine_core::peer::{ChildOutcome, PeerFailureCause};

mod support;

use support::{
    Run, accept, answer, cancel_activity, cancel_peer, cancel_timer, complete, fail, publish, retry, schedule,
    schedule_with, seconds, signal_peer, start_child, start_timer,
};

/// A scenario: its name, which is the file's, and what happens.
type Scenario = (&'static str, fn() -> Run);

const SCENARIOS: &[Scenario] = &[
    ("hello_world", hello_world),
    ("activity_retried", activity_retried),
    ("activity_fails_for_good", activity_fails_for_good),
    ("activity_times_out", activity_times_out),
    ("activity_canceled_before_its_start", activity_canceled_before_its_start),
    ("activity_canceled_while_it_runs", activity_canceled_while_it_runs),
    ("standalone_activity", standalone_activity),
    ("standalone_activity_canceled", standalone_activity_canceled),
    ("worker_lost", worker_lost),
    ("server_restarted", server_restarted),
    ("signal_during_a_task", signal_during_a_task),
    ("unhandled_command", unhandled_command),
    ("workflow_canceled", workflow_canceled),
    ("terminated_in_flight", terminated_in_flight),
    ("run_timeout_with_retry", run_timeout_with_retry),
    ("workflow_retried", workflow_retried),
    ("continued_as_new", continued_as_new),
    ("run_that_continues", run_that_continues),
    ("child_completes", child_completes),
    ("child_ends_during_a_task", child_ends_during_a_task),
    ("child_cannot_start", child_cannot_start),
    ("messages_to_others", messages_to_others),
    ("two_equal_timers", two_equal_timers),
    ("timer_canceled_after_it_fired", timer_canceled_after_it_fired),
    ("state_published", state_published),
    ("cron_completes", cron_completes),
    ("update_answered_at_once", update_answered_at_once),
    ("update_answered_later", update_answered_later),
    ("updates_rejected", updates_rejected),
    ("update_left_behind", update_left_behind),
    ("update_during_a_task", update_during_a_task),
    ("child_and_cancel_in_flight", child_and_cancel_in_flight),
    ("patch_and_steps", patch_and_steps),
    ("transient_task_failures", transient_task_failures),
    ("task_times_out", task_times_out),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

#[test]
fn histories_are_as_recorded() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut differences = Vec::new();
    for (name, scenario) in SCENARIOS {
        let path = folder().join(format!("{name}.txt"));
        let actual = scenario().history_text() + "\n";
        if bless {
            fs::write(&path, actual).expect("the file can be written");
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if actual != expected {
            differences.push(format!("{name}: expected\n{expected}\nbut it is\n{actual}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn every_recorded_history_has_its_scenario() {
    let recorded: BTreeSet<String> = fs::read_dir(folder())
        .expect("the folder is readable")
        .map(|entry| entry.expect("the entry is readable").file_name().to_string_lossy().into_owned())
        .collect();
    let scenarios: BTreeSet<String> = SCENARIOS.iter().map(|(name, _)| format!("{name}.txt")).collect();
    assert_eq!(recorded, scenarios);
}

fn busy() -> Failure {
    Failure::application("Busy", "later")
}

/// A run that scheduled activity "a" and waits for it.
fn waiting_for_activity(command: Command) -> Run {
    let mut run = Run::start();
    run.turn(vec![command]);
    run
}

fn hello_world() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    let token = run.take_activity("a");
    run.complete_activity(token);
    run.turn(vec![complete()]);
    run
}

fn state_published() -> Run {
    let mut run = waiting_for_activity(publish("status", "\"begun\""));
    run.signal("go");
    run.turn(vec![publish("status", "\"done\""), publish("total", "3"), complete()]);
    run
}

fn cron_completes() -> Run {
    let mut run = Run::start_with(|started| {
        started.cron = Some(Box::new(Cron { expression: "* * * * *".into(), time_zone: String::new() }));
        started.last_result = Some(Payload::json("41"));
    });
    run.signal("before its time");
    run.advance_to_deadline();
    run.turn(vec![complete()]);
    run
}

fn update_answered_at_once() -> Run {
    let mut run = Run::start();
    run.turn(vec![]);
    run.update("u1");
    run.turn(vec![accept("u1"), answer("u1")]);
    run.signal("go");
    run.turn(vec![complete()]);
    run
}

fn update_answered_later() -> Run {
    let mut run = Run::start();
    run.update("u1");
    run.turn(vec![accept("u1"), start_timer("t", seconds(1)), schedule("a")]);
    run.advance_to_deadline();
    let token = run.take_activity("a");
    run.complete_activity(token);
    run.turn(vec![answer("u1"), complete()]);
    run
}

fn updates_rejected() -> Run {
    let mut run = Run::start();
    run.turn(vec![]);
    run.update("u1");
    let token = run.take_task();
    run.answer_task(token, vec![], &["u1"]);
    run.update("u2");
    run.update("u3");
    let token = run.take_task();
    run.answer_task(token, vec![accept("u3"), answer("u3")], &["u2"]);
    run.signal("go");
    run.turn(vec![complete()]);
    run
}

fn update_left_behind() -> Run {
    let mut run = Run::start();
    run.update("u1");
    run.turn(vec![accept("u1")]);
    run.update("u2");
    run.terminate();
    run
}

fn update_during_a_task() -> Run {
    let mut run = Run::start();
    let token = run.take_task();
    run.update("u1");
    run.signal("beside it");
    run.finish_task(token, vec![start_timer("t", seconds(1))]);
    run.turn(vec![accept("u1"), answer("u1"), cancel_timer("t")]);
    run.signal("go");
    run.turn(vec![complete()]);
    run
}

fn child_and_cancel_in_flight() -> Run {
    let mut run = Run::start();
    run.turn(vec![start_child("c")]);
    run.accepted(5);
    run.turn(vec![cancel_peer("c", true)]);
    run.signal("look");
    let token = run.take_task();
    run.accepted(10);
    run.child_closed(5, ChildOutcome::Canceled { details: None });
    run.finish_task(token, vec![publish("status", "\"waiting\"")]);
    run.turn(vec![complete()]);
    run
}

fn activity_retried() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    for _ in 0..2 {
        let token = run.take_activity("a");
        run.fail_activity(token, busy());
        run.advance_to_deadline();
    }
    let token = run.take_activity("a");
    run.complete_activity(token);
    run.turn(vec![complete()]);
    run
}

fn activity_fails_for_good() -> Run {
    let mut run = waiting_for_activity(schedule_with("a", |activity| activity.retry_policy = Some(retry(2))));
    let token = run.take_activity("a");
    run.fail_activity(token, busy());
    run.advance_to_deadline();
    let token = run.take_activity("a");
    run.fail_activity(token, Failure::application("Busy", "still"));
    run.turn(vec![fail("ActivityFailed")]);
    run
}

fn activity_times_out() -> Run {
    let mut run = waiting_for_activity(schedule_with("a", |activity| {
        activity.timeouts.schedule_to_close = Some(seconds(15));
    }));
    run.take_activity("a");
    run.advance_to_deadline();
    run.advance_to_deadline();
    run.take_activity("a");
    run.advance_to_deadline();
    run.turn(vec![complete()]);
    run
}

fn activity_canceled_before_its_start() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    run.signal("stop");
    run.turn(vec![cancel_activity("a")]);
    run.turn(vec![complete()]);
    run
}

fn activity_canceled_while_it_runs() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    let token = run.take_activity("a");
    run.signal("stop");
    run.turn(vec![cancel_activity("a")]);
    let activity = ActivityRef::Token(token);
    run.send(Input::CancelActivity { activity, details: None, identity: "worker".into() })
        .expect("it was asked to stop");
    run.turn(vec![complete()]);
    run
}

/// A run that is one activity, which fails once.
fn standalone() -> Run {
    Run::start_with(|started| {
        let timeouts = ActivityTimeouts { start_to_close: Some(seconds(10)), ..ActivityTimeouts::default() };
        started.activity = Some(Box::new(StandaloneActivity { timeouts, retry_policy: retry(0) }));
    })
}

fn standalone_activity() -> Run {
    let mut run = standalone();
    let token = run.take_activity("order-1");
    run.fail_activity(token, Failure::application("Busy", "later"));
    run.advance_to_deadline();
    let token = run.take_activity("order-1");
    run.complete_activity(token);
    run
}

fn standalone_activity_canceled() -> Run {
    let mut run = standalone();
    let token = run.take_activity("order-1");
    run.cancel();
    let activity = ActivityRef::Token(token);
    run.send(Input::CancelActivity { activity, details: None, identity: "worker".into() }).expect("it was asked to");
    run
}

fn worker_lost() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    let token = run.take_activity("a");
    run.send(Input::LoseActivity { token }).expect("the worker had it");
    let token = run.take_activity("a");
    run.complete_activity(token);
    let token = run.take_task();
    run.send(Input::ReleaseWorkflowTask { token }).expect("the worker had it");
    run.turn(vec![complete()]);
    run
}

fn server_restarted() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    run.take_activity("a");
    run.signal("go");
    let task = run.take_task();
    run.crash();
    run.signal("in the grace");
    run.finish_task(task, vec![start_timer("t", seconds(1))]);
    run.send(Input::EndGrace).expect("the grace ends");
    let token = run.take_activity("a");
    run.complete_activity(token);
    run.turn(vec![complete()]);
    run
}

fn signal_during_a_task() -> Run {
    let mut run = Run::start();
    let token = run.take_task();
    run.signal("go");
    run.finish_task(token, vec![start_timer("t", seconds(60))]);
    run.turn(vec![complete()]);
    run
}

fn unhandled_command() -> Run {
    let mut run = Run::start();
    let token = run.take_task();
    run.signal("go");
    run.finish_task(token, vec![complete()]);
    run.turn(vec![complete()]);
    run
}

fn workflow_canceled() -> Run {
    let mut run = waiting_for_activity(start_timer("t", seconds(60)));
    run.cancel();
    run.turn(vec![cancel_timer("t"), Command::CancelWorkflow { details: None }]);
    run
}

fn terminated_in_flight() -> Run {
    let mut run = waiting_for_activity(schedule("a"));
    run.signal("go");
    run.take_task();
    run.signal("unseen");
    run.terminate();
    run
}

fn run_timeout_with_retry() -> Run {
    let mut run = Run::start_with(|started| {
        started.run_timeout = Some(seconds(5));
        started.retry_policy = Some(retry(2));
    });
    run.turn(vec![start_timer("t", seconds(60))]);
    run.advance_to_deadline();
    run
}

fn workflow_retried() -> Run {
    let mut first = Run::start_with(|started| started.retry_policy = Some(retry(2)));
    first.turn(vec![fail("Declined")]);
    let next = first.next_run.take().expect("a run follows");
    let mut second = Run::begin_next(next, first.now).expect("the start is valid");
    second.signal("in the pause");
    second.advance_to_deadline();
    second.turn(vec![fail("Declined")]);
    second
}

fn continued() -> Run {
    let mut run = Run::start();
    run.signal("read");
    run.signal("unread");
    let unread = UnreadSignal { name: SignalName::from_trusted("unread"), input: Vec::new() };
    let command = ContinueAsNew { unread_signals: vec![unread], ..ContinueAsNew::default() };
    let token = run.take_task();
    run.signal("unseen");
    run.finish_task(token, vec![start_timer("t", seconds(9)), Command::ContinueAsNew(Box::new(command))]);
    run
}

fn continued_as_new() -> Run {
    continued()
}

fn run_that_continues() -> Run {
    let mut first = continued();
    let next = first.next_run.take().expect("a run follows");
    let mut second = Run::begin_next(next, first.now).expect("the start is valid");
    second.turn(vec![complete()]);
    second
}

fn patch_and_steps() -> Run {
    let mut run = Run::start();
    let record = |marker| Command::RecordMarker(Box::new(marker));
    let patch = Marker::Patch { patch_id: PatchId::from_trusted("by courier"), deprecated: false };
    let step = |step_id, outcome| {
        let (name, took) = (StepName::from_trusted("ask"), seconds(1));
        record(Marker::Step(StepMarker { step_id, name, outcome, attempt: 1, took }))
    };
    let token = run.take_task();
    run.signal("while the step is at work");
    run.extend_task(token, vec![record(patch), start_timer("t", seconds(9))]);
    let failure = Failure::application("Busy", "later");
    let failed = StepOutcome::Failed { failure, retry_state: RetryState::MaximumAttemptsReached };
    run.turn(vec![step(2, StepOutcome::Completed { result: None }), step(1, failed), complete()]);
    run
}

fn child_completes() -> Run {
    let mut run = Run::start();
    run.turn(vec![start_child("c")]);
    run.accepted(5);
    run.turn(vec![]);
    run.child_closed(5, ChildOutcome::Completed { result: None });
    run.turn(vec![complete()]);
    run
}

fn child_ends_during_a_task() -> Run {
    let mut run = Run::start();
    run.turn(vec![start_child("c")]);
    run.signal("go");
    let token = run.take_task();
    run.child_closed(5, ChildOutcome::Terminated);
    run.signal("late");
    run.finish_task(token, vec![start_timer("t", seconds(9))]);
    run.turn(vec![complete()]);
    run
}

fn child_cannot_start() -> Run {
    let mut run = Run::start();
    run.turn(vec![start_child("c")]);
    run.refused(5, PeerFailureCause::AlreadyStarted);
    run.turn(vec![complete()]);
    run
}

fn messages_to_others() -> Run {
    let mut run = Run::start();
    run.turn(vec![signal_peer("a"), cancel_peer("b", false), signal_peer("gone")]);
    run.accepted(5);
    run.accepted(6);
    run.refused(7, PeerFailureCause::NotFound);
    run.turn(vec![complete()]);
    run
}

fn two_equal_timers() -> Run {
    let mut run = Run::start();
    run.turn(vec![start_timer("a", seconds(1)), start_timer("b", seconds(1))]);
    run.advance_to_deadline();
    run.turn(vec![complete()]);
    run
}

fn timer_canceled_after_it_fired() -> Run {
    let mut run = waiting_for_activity(start_timer("t", seconds(5)));
    run.signal("go");
    let token = run.take_task();
    run.advance_to_deadline();
    run.finish_task(token, vec![cancel_timer("t"), start_timer("u", seconds(1))]);
    run.advance_to_deadline();
    run.turn(vec![complete()]);
    run
}

fn transient_task_failures() -> Run {
    let mut run = Run::start();
    for _ in 0..2 {
        let token = run.take_task();
        run.fail_task(token);
    }
    for _ in 0..3 {
        run.advance_to_deadline();
        let token = run.take_task();
        run.fail_task(token);
    }
    run.advance_to_deadline();
    run.turn(vec![complete()]);
    run
}

fn task_times_out() -> Run {
    let mut run = Run::start();
    run.take_task();
    run.signal("go");
    run.advance_to_deadline();
    run.turn(vec![complete()]);
    run
}
