//! Patches and steps.

use super::*;
use crate::event::{Marker, MarkerRecorded, StepMarker, StepOutcome};
use crate::ids::{PatchId, StepName};

fn patch_id(text: &str) -> PatchId {
    PatchId::from_trusted(text)
}

fn value(json: &str) -> StepOutcome {
    StepOutcome::Completed { result: Some(Payload::json(json.to_owned())) }
}

impl History {
    fn marker(mut self, marker: Marker) -> Self {
        let workflow_task_completed_event_id = EventId::NONE;
        self.add(EventKind::MarkerRecorded(Box::new(MarkerRecorded { workflow_task_completed_event_id, marker })));
        self
    }

    fn patch(self, text: &str, deprecated: bool) -> Self {
        self.marker(Marker::Patch { patch_id: patch_id(text), deprecated })
    }

    fn step(self, step_id: u64, name: &str, json: &str) -> Self {
        let name = StepName::from_trusted(name);
        let took = Duration::ZERO;
        self.marker(Marker::Step(StepMarker { step_id, name, outcome: value(json), attempt: 2, took }))
    }
}

fn begin(replayer: &mut Replayer, name: &str) -> Handle {
    replayer.begin_step(StepName::from_trusted(name))
}

fn finish(replayer: &mut Replayer, handle: Handle, json: &str) -> bool {
    replayer.finish_step(handle, value(json), 1, Duration::ZERO)
}

fn result(replayer: &mut Replayer, handle: Handle) -> String {
    match replayer.take_resolution(handle).expect("the step is over").resolution {
        Resolution::Completed { result: Some(payload) } => String::from_utf8_lossy(&payload.data).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_run_takes_the_new_path_and_records_it_once() {
    let mut replayer = fed(&History::new().task());
    activation(&mut replayer);
    assert!(replayer.patched(patch_id("p"), false));
    assert!(replayer.patched(patch_id("p"), false));
    assert!(replayer.patched(patch_id("p"), true));
    assert_eq!(names(replayer.finish_activation().unwrap()), ["RecordMarker"]);
}

#[test]
fn a_replay_takes_the_path_that_the_run_took() {
    let patched = History::new().task().completed().patch("p", false).timer("1").signal("a").task();
    let old = History::new().task().completed().timer("1").signal("a").task();
    for (history, answer) in [(&patched, true), (&old, false)] {
        for deprecated in [false, true] {
            let mut replayer = fed(history);
            activation(&mut replayer);
            assert_eq!(replayer.patched(patch_id("p"), deprecated), answer);
            replayer.start_timer(Duration::from_secs(1), String::new());
            assert_eq!(replayer.finish_activation().unwrap(), None);
            activation(&mut replayer);
            assert_eq!(replayer.patched(patch_id("p"), deprecated), answer, "the first answer holds for the run");
            assert!(replayer.patched(patch_id("later"), false), "a live task takes every new path");
            assert_eq!(names(replayer.finish_activation().unwrap()), ["RecordMarker"]);
        }
    }
}

#[test]
fn a_marker_that_the_code_does_not_ask_for_is_a_contradiction_unless_it_is_deprecated() {
    for deprecated in [false, true] {
        let history = History::new().task().completed().patch("p", deprecated).timer("1").task();
        let mut replayer = fed(&history);
        activation(&mut replayer);
        replayer.start_timer(Duration::from_secs(1), String::new());
        let finished = replayer.finish_activation();
        if deprecated {
            assert_eq!(finished.unwrap(), None);
        } else {
            let difference = nondeterminism(finished);
            assert_eq!((difference.expected.as_str(), difference.actual.as_str()), ("Patch p", "StartTimer (id 1)"));
        }
    }
}

#[test]
fn a_step_is_recorded_where_the_code_learned_of_its_end() {
    let mut live = fed(&History::new().task());
    activation(&mut live);
    let (slow, quick) = (begin(&mut live, "slow"), begin(&mut live, "quick"));
    live.start_timer(Duration::from_secs(1), String::new());
    assert!(finish(&mut live, quick, "2"));
    assert!(!finish(&mut live, quick, "3"), "a step ends once");
    assert_eq!(result(&mut live, quick), "2");
    live.start_timer(Duration::from_secs(1), String::new());
    assert!(finish(&mut live, slow, "1"));
    assert_eq!(names(live.finish_activation().unwrap()), ["StartTimer", "RecordMarker", "StartTimer", "RecordMarker"]);

    let history =
        History::new().task().completed().timer("1").step(2, "quick", "2").timer("2").step(1, "slow", "1").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    let (slow, quick) = (begin(&mut replayer, "slow"), begin(&mut replayer, "quick"));
    replayer.start_timer(Duration::from_secs(1), String::new());
    assert_eq!(replayer.next_recorded_step(), Some(quick));
    assert_eq!(result(&mut replayer, quick), "2");
    replayer.start_timer(Duration::from_secs(1), String::new());
    assert_eq!(replayer.next_recorded_step(), Some(slow));
    assert_eq!(replayer.next_recorded_step(), None);
    assert_eq!(replayer.finish_activation().unwrap(), None);
    activation(&mut replayer);
    assert_eq!(result(&mut replayer, slow), "1");
}

#[test]
fn a_step_may_end_tasks_after_it_began() {
    let history = History::new().task().completed().task().completed().step(1, "slow", "7").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    let handle = begin(&mut replayer, "slow");
    assert_eq!(replayer.next_recorded_step(), None);
    replayer.finish_activation().unwrap();
    activation(&mut replayer);
    assert_eq!(replayer.next_recorded_step(), Some(handle));
    assert_eq!(result(&mut replayer, handle), "7");
    replayer.finish_activation().unwrap();
    assert!(!activation(&mut replayer).replaying);
    assert_eq!(replayer.open_count(), 0);
}

#[test]
fn nobody_hears_of_a_step_that_was_given_up() {
    let mut replayer = fed(&History::new().task());
    activation(&mut replayer);
    let (dropped, canceled) = (begin(&mut replayer, "a"), begin(&mut replayer, "b"));
    replayer.abandon(dropped);
    replayer.request_cancel(canceled);
    assert!(!finish(&mut replayer, dropped, "1") && !finish(&mut replayer, canceled, "1"));
    assert!(matches!(
        replayer.take_resolution(canceled).unwrap().resolution,
        Resolution::Failed { retry_state: RetryState::CancelRequested, .. }
    ));
    assert!(names(replayer.finish_activation().unwrap()).is_empty());
}

#[test]
fn another_step_than_recorded_is_shown_beside_it() {
    let history = History::new().task().completed().step(1, "quote", "7").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    begin(&mut replayer, "price");
    assert_eq!(replayer.next_recorded_step(), None);
    let difference = nondeterminism(replayer.finish_activation());
    assert_eq!(difference.event_id, EventId(5));
    assert_eq!(difference.diff.lines().last(), Some(">      5  RunStep quote (id 1)  RunStep price (id 1)"));
}

#[test]
fn the_place_of_a_step_is_where_it_was_begun() {
    let history = History::new().task().completed().activity("1", "charge_card").task();
    let mut replayer = fed(&history);
    activation(&mut replayer);
    let place = Location::caller();
    let step = replayer.at(place, |replayer| replayer.begin_step(StepName::from_trusted("rate")));
    replayer.finish_step(step, StepOutcome::Completed { result: None }, 1, Duration::ZERO);
    let difference = nondeterminism(replayer.finish_activation());
    assert_eq!(difference.actual, format!("RunStep rate (id 1) at {}:{}", place.file(), place.line()));
}
