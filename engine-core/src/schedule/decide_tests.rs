//! Tests of decisions: policies as tables, and what holds after any inputs with a crash after each.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::schedule::spec::{Interval, ScheduleSpec};
use crate::schedule::state::{SchedulePolicies, ScheduledStart};

const BEGIN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every ten seconds.
fn definition(overlap: OverlapPolicy) -> Definition {
    let spec =
        ScheduleSpec { intervals: vec![Interval { every: seconds(10), offset: Duration::ZERO }], ..Default::default() };
    let start = ScheduledStart { workflow_id: "report".into(), request: Bytes::new() };
    Definition { spec, start, policies: SchedulePolicies { overlap, ..Default::default() } }
}

/// A schedule with a clock and a world that does what it owes when it is told to.
struct World {
    schedule: Schedule,
    now: Timestamp,
    /// Starts that were made, and may be made again.
    made: BTreeSet<String>,
    log: Vec<String>,
}

impl World {
    fn new(definition: Definition, remaining: Option<u64>) -> World {
        let schedule = Schedule::create("nightly", definition, false, String::new(), remaining, BEGIN).unwrap();
        World { schedule, now: BEGIN, made: BTreeSet::new(), log: Vec::new() }
    }

    fn overlapping(overlap: OverlapPolicy) -> World {
        World::new(definition(overlap), None)
    }

    /// Decides, and crashes: what goes on is what was stored.
    fn input(&mut self, input: ScheduleInput) {
        let next = self.schedule.decide(input, self.now).unwrap();
        let restored = Schedule::restore("nightly", next.definition().clone(), next.state().clone()).unwrap();
        assert!(restored == next);
        assert_eq!(restored.obligations().collect::<Vec<_>>(), next.obligations().collect::<Vec<_>>());
        self.schedule = restored;
    }

    fn refused(&self, input: ScheduleInput) -> String {
        self.schedule.decide(input, self.now).unwrap_err().to_string()
    }

    /// Lets time pass, and makes what starts.
    fn pass(&mut self, time: u64) {
        self.now = self.now + seconds(time);
        self.tick();
        self.serve();
    }

    fn tick(&mut self) {
        for _ in 0..1000 {
            if self.schedule.next_tick().is_none_or(|at| at > self.now) {
                return;
            }
            self.input(ScheduleInput::Tick);
        }
        panic!("it wants to be asked again without end: {:?}", self.schedule.state());
    }

    /// Meets all obligations but the ends of runs.
    fn serve(&mut self) {
        loop {
            let next = self.schedule.obligations().find(|owed| !matches!(owed, Obligation::Watch(_)));
            match next {
                Some(Obligation::Start(planned)) => self.make(planned),
                Some(Obligation::Stop(running, stop)) => {
                    self.log.push(format!("{stop:?} {}", running.number));
                    self.input(ScheduleInput::StopSent { number: running.number, stop });
                    if stop == Stop::Terminate {
                        self.close(running.number, CloseStatus::Terminated);
                    }
                }
                Some(Obligation::Watch(_)) | None => return,
            }
        }
    }

    fn make(&mut self, planned: Planned) {
        assert!(self.made.insert(self.schedule.request_id(&planned)), "start {} is made twice", planned.number);
        self.log.push(format!("start {} for {}", planned.number, planned.nominal.since(BEGIN).as_secs()));
        let run_id = RunId::from_parts(self.now, [1; 10]);
        self.input(ScheduleInput::Started { number: planned.number, run_id });
    }

    fn close(&mut self, number: u64, status: CloseStatus) {
        let outcome = StartOutcome::Closed { status, message: "boom".into() };
        self.input(ScheduleInput::Closed { number, outcome });
        self.serve();
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

/// Four times come while the first run is open, which then ends (if it was not terminated), and all that follow.
#[test]
fn overlap_policies_decide_what_becomes_of_a_time_while_a_run_is_open() {
    let cases: [(OverlapPolicy, &[&str], &[&str], u64); 6] = [
        (OverlapPolicy::Skip, &["start 1 for 10"], &[], 3),
        (OverlapPolicy::BufferOne, &["start 1 for 10"], &["start 2 for 20"], 2),
        (OverlapPolicy::BufferAll, &["start 1 for 10"], &["start 2 for 20", "start 3 for 30", "start 4 for 40"], 0),
        (OverlapPolicy::CancelOther, &["start 1 for 10", "Cancel 1"], &["start 4 for 40"], 2),
        (
            OverlapPolicy::TerminateOther,
            &[
                "start 1 for 10",
                "Terminate 1",
                "start 2 for 20",
                "Terminate 2",
                "start 3 for 30",
                "Terminate 3",
                "start 4 for 40",
            ],
            &[],
            0,
        ),
        (OverlapPolicy::AllowAll, &["start 1 for 10", "start 2 for 20", "start 3 for 30", "start 4 for 40"], &[], 0),
    ];
    for (overlap, at_once, afterwards, skipped) in cases {
        let mut world = World::overlapping(overlap);
        (0..4).for_each(|_| world.pass(10));
        assert_eq!(world.log(), at_once, "{overlap:?}");
        while let Some(number) = world.schedule.state().running.first().map(|running| running.number) {
            world.close(number, CloseStatus::Completed);
        }
        assert_eq!(world.log(), afterwards, "{overlap:?}");
        assert_eq!(world.schedule.state().counters.skipped, skipped, "{overlap:?}");
        assert!(!world.schedule.is_active());
        assert_eq!(world.schedule.wake_at(), BEGIN + seconds(50));
    }
}

#[test]
fn a_run_that_starts_late_is_stopped_for_the_next_all_the_same() {
    let mut world = World::overlapping(OverlapPolicy::CancelOther);
    world.now = BEGIN + seconds(20);
    world.tick();
    assert_eq!(world.schedule.state().starting.len(), 1, "the first is on its way while the second waits");
    world.serve();
    assert_eq!(world.log(), ["start 1 for 10", "Cancel 1"]);
}

#[test]
fn an_outage_is_caught_up_with_inside_the_window() {
    let mut definition = definition(OverlapPolicy::AllowAll);
    definition.policies.catch_up_window = seconds(30);
    let mut world = World::new(definition, None);
    world.pass(75);
    assert_eq!(
        world.log(),
        ["start 5 for 50", "start 6 for 60", "start 7 for 70"].map(|line| {
            // Those that were missed took no number.
            line.replace("start 5", "start 1").replace("start 6", "start 2").replace("start 7", "start 3")
        })
    );
    assert_eq!(world.schedule.state().counters.missed, 4);
    assert_eq!(world.schedule.next_tick(), Some(BEGIN + seconds(80)));
}

#[test]
fn an_outage_of_years_is_passed_in_a_few_decisions() {
    let mut definition = definition(OverlapPolicy::Skip);
    definition.policies.catch_up_window = seconds(60);
    let mut world = World::new(definition, None);
    world.now = BEGIN + seconds(10 * 365 * 24 * 3600);
    world.input(ScheduleInput::Tick);
    world.input(ScheduleInput::Tick);
    assert!(world.schedule.next_tick() > Some(world.now), "{:?}", world.schedule.next_tick());
    assert_eq!(world.schedule.state().starting.len(), 1);
}

#[test]
fn times_that_pass_during_a_pause_are_nobodys_and_what_waits_is_let_go() {
    let mut world = World::overlapping(OverlapPolicy::BufferAll);
    world.pass(10);
    world.pass(10);
    world.input(ScheduleInput::Pause { note: "holidays".into() });
    assert_eq!(world.schedule.state().counters.skipped, 1);
    assert_eq!(world.schedule.next_tick(), None);
    assert_eq!(world.schedule.next_times(world.now, 3), []);
    world.pass(100);
    world.close(1, CloseStatus::Completed);
    assert_eq!(world.log(), ["start 1 for 10"]);
    world.input(ScheduleInput::Unpause { note: String::new() });
    assert_eq!(world.schedule.next_tick(), Some(BEGIN + seconds(130)));
    world.pass(10);
    assert_eq!(world.log(), ["start 3 for 130"]);
}

#[test]
fn a_failure_pauses_a_schedule_that_asked_for_it_and_says_why() {
    for (status, pauses) in [
        (CloseStatus::Failed, true),
        (CloseStatus::TimedOut, true),
        (CloseStatus::Completed, false),
        (CloseStatus::Canceled, false),
        (CloseStatus::Terminated, false),
    ] {
        let mut definition = definition(OverlapPolicy::Skip);
        definition.policies.pause_on_failure = true;
        let mut world = World::new(definition, None);
        world.pass(10);
        world.close(1, status);
        assert_eq!(world.schedule.state().paused, pauses, "{status:?}");
        assert_eq!(world.schedule.state().note.contains("report-2023-11-14T22:13:30Z"), pauses, "{status:?}");
        assert_eq!(world.schedule.state().version, if pauses { 2 } else { 1 });
    }
}

#[test]
fn the_limit_counts_what_the_schedule_starts_by_itself() {
    let mut world = World::new(definition(OverlapPolicy::BufferAll), Some(2));
    world.pass(10);
    world.input(ScheduleInput::Trigger { overlap: Some(OverlapPolicy::AllowAll) });
    world.serve();
    (0..3).for_each(|_| world.pass(10));
    world.close(1, CloseStatus::Completed);
    world.close(2, CloseStatus::Completed);
    assert_eq!(world.log(), ["start 1 for 10", "start 2 for 10", "start 3 for 20"]);
    assert_eq!(world.schedule.state().remaining, Some(0));
    assert_eq!(world.schedule.state().counters.skipped, 2, "those that waited behind the last one");
    assert_eq!(world.schedule.next_tick(), None);
    // A new limit is for times from now on.
    let definition = Box::new(world.schedule.definition().clone());
    world.input(ScheduleInput::Update { definition, remaining: Some(Some(1)), version: Some(1) });
    assert_eq!(world.schedule.next_tick(), Some(BEGIN + seconds(50)));
}

#[test]
fn an_update_is_refused_if_somebody_else_was_first() {
    let mut world = World::overlapping(OverlapPolicy::Skip);
    world.input(ScheduleInput::Pause { note: String::new() });
    let update = |version| ScheduleInput::Update {
        definition: Box::new(definition(OverlapPolicy::AllowAll)),
        remaining: None,
        version,
    };
    let problem = world.refused(update(Some(1)));
    assert!(problem.contains("its version is 2, not 1"), "{problem}");
    world.input(update(None));
    assert_eq!(world.schedule.state().version, 3);
    assert_eq!(world.schedule.definition().policies.overlap, OverlapPolicy::AllowAll);
}

#[test]
fn a_backfill_starts_each_of_its_times_once_and_needs_no_unpaused_schedule() {
    let mut world = World::overlapping(OverlapPolicy::Skip);
    world.now = BEGIN + seconds(1);
    world.input(ScheduleInput::Pause { note: String::new() });
    let backfill = |from, until, overlap| ScheduleInput::Backfill { from, until, overlap };
    world.input(backfill(BEGIN - seconds(40), BEGIN - seconds(10), Some(OverlapPolicy::BufferAll)));
    world.serve();
    for number in 1..=4 {
        world.close(number, CloseStatus::Completed);
    }
    assert_eq!(world.log().len(), 4);
    assert!(!world.schedule.is_active());
    assert!(world.refused(backfill(world.now, BEGIN, None)).contains("is before from"));
    assert!(world.refused(backfill(BEGIN, world.now + seconds(1), None)).contains("is in the future"));
}

#[test]
fn a_large_backfill_drops_nothing_and_its_state_stays_bounded() {
    for overlap in [OverlapPolicy::BufferAll, OverlapPolicy::AllowAll] {
        let mut world = World::overlapping(overlap);
        let all = 5_000;
        let from = BEGIN - seconds(all * 10 - 10);
        world.input(ScheduleInput::Backfill { from, until: BEGIN, overlap: None });
        while world.schedule.is_active() {
            world.tick();
            let state = world.schedule.state();
            assert!(state.waiting.len() <= SCHEDULE_WAITING_MAX && state.starting.len() <= SCHEDULE_STARTING_MAX);
            world.serve();
            while let Some(number) = world.schedule.state().running.first().map(|running| running.number) {
                world.close(number, CloseStatus::Completed);
            }
        }
        assert_eq!(world.schedule.state().counters, Counters { started: all, ..Default::default() }, "{overlap:?}");
    }
}

#[test]
fn patches_are_recognized_by_their_request_ids() {
    let mut schedule = World::overlapping(OverlapPolicy::Skip).schedule;
    assert!(!schedule.knows_request("a") && !schedule.knows_request(""));
    schedule.remember("a");
    schedule.remember("");
    assert!(schedule.knows_request("a") && !schedule.knows_request(""));
    (0..SCHEDULE_REQUEST_IDS_MAX).for_each(|number| schedule.remember(&number.to_string()));
    assert!(!schedule.knows_request("a"), "the oldest is forgotten");
}

#[test]
fn bad_definitions_and_notes_are_refused_by_field() {
    let mut definition = definition(OverlapPolicy::Skip);
    let create = |definition: &Definition, note: &str| {
        let created = Schedule::create("nightly", definition.clone(), false, note.into(), None, BEGIN);
        created.unwrap_err().to_string()
    };
    assert!(create(&definition, &"x".repeat(1001)).starts_with("note: is 1001 bytes long"));
    definition.policies.catch_up_window = seconds(9);
    assert_eq!(create(&definition, ""), "policies.catch_up_window: is 9s; it is at least 10s");
    definition.policies.catch_up_window = seconds(10);
    definition.spec.crons.push("* *".into());
    assert!(create(&definition, "").starts_with("spec.crons[0]: has 2 fields"));
}

/// What may happen next.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Serve,
    ServeOne,
    Refuse,
    Close(usize, bool),
    Input(ScheduleInput),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let overlap = prop_oneof![Just(None), (0_usize..6).prop_map(|index| Some(OVERLAPS[index]))];
    let step = prop_oneof![
        4 => (0_u64..40).prop_map(Step::Pass),
        2 => Just(Step::Serve),
        2 => Just(Step::ServeOne),
        1 => Just(Step::Refuse),
        4 => (0_usize..4, any::<bool>()).prop_map(|(index, failed)| Step::Close(index, failed)),
        1 => Just(Step::Input(ScheduleInput::Pause { note: "p".into() })),
        2 => Just(Step::Input(ScheduleInput::Unpause { note: "u".into() })),
        1 => overlap.clone().prop_map(|overlap| Step::Input(ScheduleInput::Trigger { overlap })),
        1 => (0_u64..200, overlap).prop_map(|(back, overlap)| Step::Input(ScheduleInput::Backfill {
            from: BEGIN - seconds(back),
            until: BEGIN,
            overlap,
        })),
        1 => (0_usize..6).prop_map(|index| Step::Input(ScheduleInput::Update {
            definition: Box::new(definition(OVERLAPS[index])),
            remaining: Some(Some(index as u64 * 3)),
            version: None,
        })),
    ];
    proptest::collection::vec(step, 1..60)
}

const OVERLAPS: [OverlapPolicy; 6] = [
    OverlapPolicy::Skip,
    OverlapPolicy::BufferOne,
    OverlapPolicy::BufferAll,
    OverlapPolicy::CancelOther,
    OverlapPolicy::TerminateOther,
    OverlapPolicy::AllowAll,
];

impl World {
    /// Each planned start is in one place.
    fn verify(&self) {
        let state = self.schedule.state();
        let Counters { started, refused, skipped, dropped, missed: _ } = state.counters;
        let counted = started + refused + skipped + dropped;
        let held = (state.waiting.len() + state.starting.len()) as u64;
        assert_eq!(counted + held, state.next_number - 1, "{state:?}");
        assert_eq!(self.made.len() as u64, started, "what was made is what is counted as made");
        let mut numbers = BTreeSet::new();
        let planned = state.waiting.iter().chain(&state.starting).map(|planned| planned.number);
        assert!(planned.chain(state.running.iter().map(|running| running.number)).all(|number| numbers.insert(number)));
        assert!(state.recent.len() <= SCHEDULE_RECENT_MAX);
        let wakes = self.schedule.wake_at() == Timestamp::EPOCH;
        assert!(wakes == self.schedule.is_active() || self.schedule.next_tick() == Some(Timestamp::EPOCH));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// `World::input` goes on from what was stored after each input, so each step is also a crash.
    #[test]
    fn no_start_is_lost_or_doubled_whatever_happens(first in 0_usize..6, steps in steps()) {
        let mut world = World::overlapping(OVERLAPS[first]);
        for step in steps {
            match step {
                Step::Pass(time) => {
                    world.now = world.now + seconds(time);
                    world.tick();
                }
                Step::Serve => world.serve(),
                Step::ServeOne => {
                    if let Some(planned) = world.schedule.state().starting.first().copied() {
                        world.make(planned);
                        // The answer comes again.
                        let run_id = RunId::from_parts(world.now, [1; 10]);
                        let before = world.schedule.clone();
                        world.input(ScheduleInput::Started { number: planned.number, run_id });
                        prop_assert_eq!(world.schedule.state().counters.started, before.state().counters.started);
                    }
                }
                Step::Refuse => {
                    if let Some(planned) = world.schedule.state().starting.first().copied() {
                        world.input(ScheduleInput::Refused { number: planned.number, problem: "no".into() });
                    }
                }
                Step::Close(index, failed) => {
                    if let Some(running) = world.schedule.state().running.get(index) {
                        let number = running.number;
                        let status = if failed { CloseStatus::Failed } else { CloseStatus::Completed };
                        let outcome = StartOutcome::Closed { status, message: String::new() };
                        world.input(ScheduleInput::Closed { number, outcome: outcome.clone() });
                        world.input(ScheduleInput::Closed { number, outcome });
                    }
                }
                Step::Input(input) => {
                    let again = world.schedule.decide(input.clone(), world.now);
                    let same = world.schedule.decide(input.clone(), world.now);
                    prop_assert!(again == same, "a decision is a function of state, input and time");
                    if again.is_ok() {
                        world.input(input);
                    }
                }
            }
            world.verify();
        }
        // In the end, everything that was planned comes to its end.
        for _ in 0..10_000 {
            if !world.schedule.is_active() {
                break;
            }
            world.tick();
            world.serve();
            if let Some(number) = world.schedule.state().running.first().map(|running| running.number) {
                world.close(number, CloseStatus::Completed);
            }
            world.verify();
        }
        prop_assert!(!world.schedule.is_active(), "{:?}", world.schedule.state());
        let done_until = world.schedule.state().done_until;
        prop_assert!(!world.schedule.takes_times() || done_until + seconds(10) > world.now);
    }
}
