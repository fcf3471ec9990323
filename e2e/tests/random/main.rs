//! Random programs with random messages on an engine that dies at random commits: whatever they do, histories obey the rules
//! of [`engine_e2e::checker`], nothing that was acknowledged is lost or repeated, and code that is replayed asks for the same.
//!
//! All is in this process and by a clock that skips. A server dies while one of its commits is under way, just before or just
//! behind its effect on the store, and all that its worker and its clients have in hand dies with it. `PROPTEST_CASES` asks for
//! more cases than the fixed ones.

#![allow(clippy::unwrap_used, reason = "tests")]

mod life;
mod program;

use std::collections::{BTreeMap, BTreeSet};

use engine_e2e::checker::{Run, assert_right};
use engine_e2e::programs::Outcome;
use engine_proto::v1::history_event::Attributes;
use engine_sdk::prelude::*;
use life::{Case, Crash, Message, Place, Remains};
use program::{Errand, Op};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn simple() -> impl Strategy<Value = Op> {
    prop_oneof![
        // One attempt or any number: an attempt that may have been lost with its server does not count towards a limit, so a history
        // may show more of them than the limit says (docs/decisions/0002).
        4 => (0..3_u32, 0..2_u32).prop_map(|(failures, attempts)| Op::Work { failures, attempts }),
        1 => Just(Op::Refuse),
        3 => (0..20_u64).prop_map(|seconds| Op::Nap { seconds }),
        1 => Just(Op::Hurry),
    ]
}

fn in_sequence() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => simple(),
        2 => Just(Op::Draw),
        1 => Just(Op::DrawNothing),
        2 => proptest::collection::vec(simple(), 0..4).prop_map(Op::Together),
    ]
}

fn of_child() -> impl Strategy<Value = Op> {
    prop_oneof![6 => in_sequence(), 1 => Just(Op::GoOn)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => in_sequence(),
        3 => Just(Op::Receive),
        2 => proptest::collection::vec(of_child(), 0..4).prop_map(Op::Child),
        1 => Just(Op::GoOn),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let errand = prop_oneof![
        Just(Errand::Answer),
        Just(Errand::Work),
        Just(Errand::Nap),
        Just(Errand::Fail),
        Just(Errand::BeRefused)
    ];
    prop_oneof![
        8 => Just(Message::Note),
        6 => errand.prop_map(Message::Update),
        2 => Just(Message::Query),
        2 => (0..10_u64).prop_map(|seconds| Message::Pause { seconds }),
        1 => Just(Message::Cancel),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let messages = proptest::collection::vec((prop_oneof![2 => Just(0), 1 => 0..15_u64], message()), 0..6);
    let crash = (0..14_u64, any::<bool>()).prop_map(|(commit, applied)| Crash { commit, applied });
    let parts = (proptest::collection::vec(op(), 0..6), messages, proptest::collection::vec(crash, 0..4));
    parts.prop_map(|(ops, mut messages, crashes)| {
        // Without enough notes it would wait for ever.
        let wanted = ops.iter().filter(|op| matches!(op, Op::Receive)).count();
        let sent = messages.iter().filter(|(_, message)| matches!(message, Message::Note)).count();
        messages.extend(std::iter::repeat_n((1, Message::Note), wanted.saturating_sub(sent)));
        Case { ops, messages, crashes }
    })
}

/// How many activities of these are certain to succeed, to fail, and to do either, since a crash costs them an attempt.
fn expected(ops: &[Op], certain: &mut (usize, usize), total: &mut usize) {
    for op in ops {
        match op {
            Op::Work { failures, attempts } => {
                *total += 1;
                certain.0 += usize::from(*attempts == 0);
                certain.1 += usize::from(*attempts != 0 && failures >= attempts);
            }
            Op::Refuse => (*total, certain.1) = (*total + 1, certain.1 + 1),
            Op::Hurry => (*total, certain.0) = (*total + 1, certain.0 + 1),
            Op::Together(ops) => expected(ops, certain, total),
            _ => {}
        }
    }
}

/// Runs a case, and judges what is left of it. Gives how many servers died.
fn judge(case: &Case, on_file: bool) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let remains = runtime.block_on(async {
        let place = if on_file { Place::file().await } else { Place::memory().await };
        life::run(case, &place).await
    });
    assert_right(&remains.evidence);
    updates(&remains);
    outcome(case, &remains);
    remains.deaths
}

/// An update is accepted once by a run and ends at most once, and one that was acknowledged was accepted. A repeat that finds
/// another run of the chain is another update.
fn updates(remains: &Remains) {
    let mut recorded = BTreeSet::new();
    for run in &remains.evidence.runs {
        let (mut accepted, mut ended) = (BTreeMap::new(), BTreeSet::new());
        for event in &run.events {
            match event.attributes.as_ref() {
                Some(Attributes::WorkflowUpdateAccepted(update)) => {
                    let id = &update.update.as_ref().unwrap().update_id;
                    assert_eq!(accepted.insert(id, event.event_id), None, "{id} is accepted twice");
                    recorded.insert(id);
                }
                Some(Attributes::WorkflowUpdateCompleted(update)) => {
                    let id = &update.update_id;
                    assert_eq!(accepted.get(id), Some(&update.accepted_event_id), "{id} ends as another");
                    assert!(ended.insert(id), "{id} ends twice");
                }
                _ => {}
            }
        }
        if matches!(run.events.last().unwrap().attributes, Some(Attributes::WorkflowCompleted(_))) {
            assert_eq!(accepted.len(), ended.len(), "the run waited for its handlers");
        }
    }
    for id in &remains.updates {
        assert!(recorded.contains(id), "{id} was acknowledged; recorded are {recorded:?}");
    }
}

/// What the program means is what became of it.
fn outcome(case: &Case, remains: &Remains) {
    let canceled = case.messages.iter().any(|(_, message)| matches!(message, Message::Cancel));
    let told = match &remains.result {
        Ok(told) => told,
        Err(WorkflowFailure::Canceled { .. }) if canceled => return,
        Err(failure) => panic!("it failed: {failure:?}"),
    };
    if canceled {
        return;
    }
    let last = case.ops.rsplit(|op| matches!(op, Op::GoOn)).next().unwrap_or_default();
    let (mut certain, mut total) = ((0, 0), 0);
    expected(last, &mut certain, &mut total);
    let errands = case.messages.iter().filter(|(_, message)| matches!(message, Message::Update(Errand::Work))).count();
    let Outcome { effects, failed, signals } = told;
    let ends = effects.len() + failed;
    assert!((total..=total + errands).contains(&ends), "{ends} activities of {total} and {errands} updates: {told:?}");
    assert!(effects.len() >= certain.0 && *failed >= certain.1, "{certain:?} are certain: {told:?}");
    assert!(signals.len() <= case.messages.len());
    if remains.deaths == 0 {
        let certain_to_fail = certain.1;
        assert_eq!(*failed, certain_to_fail, "nothing died: {told:?}");
    }
    let runs: Vec<&Run> = remains.evidence.runs.iter().filter(|run| run.workflow_id == "main").collect();
    let again = case.ops.iter().filter(|op| matches!(op, Op::GoOn)).count();
    assert_eq!(runs.len(), again + 1);
}

fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::default() };
    // The same cases each time, unless somebody asks for others.
    if std::env::var_os("PROPTEST_CASES").is_none() {
        (config.cases, config.rng_seed) = (cases, RngSeed::Fixed(7));
    }
    config
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn whatever_a_program_does_the_rules_hold_in_memory(case in case()) {
        judge(&case, false);
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn whatever_a_program_does_the_rules_hold_in_a_file(case in case()) {
        judge(&case, true);
    }
}

/// A program with some of everything survives the loss of its server at any of its commits.
#[test]
fn no_commit_is_a_bad_one_to_die_at() {
    let ops = vec![
        Op::Work { failures: 1, attempts: 0 },
        Op::Receive,
        Op::Child(vec![Op::Draw, Op::Nap { seconds: 2 }]),
        Op::Together(vec![Op::Work { failures: 0, attempts: 3 }, Op::Nap { seconds: 5 }]),
        Op::GoOn,
        Op::Draw,
        Op::Receive,
        Op::Hurry,
    ];
    let messages = vec![
        (1, Message::Note),
        (0, Message::Update(Errand::Work)),
        (2, Message::Pause { seconds: 1 }),
        (3, Message::Update(Errand::Nap)),
        (1, Message::Note),
    ];
    for applied in [true, false] {
        let (mut commit, mut died) = (0, true);
        while died {
            let crashes = vec![Crash { commit, applied }];
            died = judge(&Case { ops: ops.clone(), messages: messages.clone(), crashes }, false) > 0;
            commit += 1;
        }
        assert!(commit > 20, "it had only {commit} commits");
    }
}
