//! Random programs with random messages on an engine that dies at random commits: whatever they do, histories obey the rules
//! of [`engine_e2e::checker`], nothing that was acknowledged is lost or repeated, and code that is replayed asks for the same.
//!
//! All is in this process and by a clock that skips. A server dies while one of its commits is under way, just before or just
//! behind its effect on the store, and all that its worker and its clients have in hand dies with it. `PROPTEST_CASES` asks for
//! more cases than the fixed ones.

#![allow(clippy::unwrap_used, reason = "tests")]

mod judge;
mod life;
mod messages;
mod program;

use engine_sdk::prelude::OverlapPolicy;
use life::{Case, Crash, Place, Write};
use messages::{From, Message};
use program::{Errand, Op, TRIES, Then, Whom};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn simple() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_u32, 0..4_u32).prop_map(|(failures, attempts)| Op::Work { failures, attempts }),
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
        1 => proptest::option::weighted(0.8, 0..9_i64).prop_map(Op::Tag),
        1 => prop_oneof![Just(Whom::Main), Just(Whom::Nobody)].prop_map(Op::Tell),
        1 => Just(Op::StopNobody),
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
        2 => (0..3_u32, prop_oneof![Just(Then::Wait), Just(Then::Cancel), Just(Then::CancelByName)])
            .prop_map(|(notes, then)| Op::Talk { notes, then }),
        1 => (0..=TRIES).prop_map(|failures| Op::Stumble { failures }),
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
        3 => from().prop_map(Message::Reset),
        2 => (0..4_u32, 0..4_u32).prop_map(|(failures, attempts)| Message::Toil { failures, attempts }),
        1 => schedule(),
        1 => Just(Message::NoteForAll),
    ]
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![Just(From::First), Just(From::Last), (0..9_usize).prop_map(From::Task), Just(From::FailedActivity)]
}

fn schedule() -> impl Strategy<Value = Message> {
    let overlap = prop_oneof![Just(OverlapPolicy::AllowAll), Just(OverlapPolicy::BufferAll), Just(OverlapPolicy::Skip)];
    let ops = proptest::collection::vec(simple(), 0..3);
    (ops, 1..9_u64, 1..4_u64, overlap).prop_map(|(ops, every, times, overlap)| Message::Schedule {
        ops,
        every,
        times,
        overlap,
    })
}

fn crash() -> impl Strategy<Value = Crash> {
    let write = prop_oneof![
        8 => (0..20_u64).prop_map(|number| (Write::Commit, number)),
        1 => (0..4_u64).prop_map(|number| (Write::Schedule, number)),
        1 => (0..3_u64).prop_map(|number| (Write::Batch, number)),
    ];
    (write, any::<bool>()).prop_map(|((write, number), applied)| Crash { write, number, applied })
}

fn case() -> impl Strategy<Value = Case> {
    let messages = proptest::collection::vec((prop_oneof![2 => Just(0), 1 => 0..15_u64], message()), 0..6);
    let parts = (proptest::collection::vec(op(), 0..6), messages, proptest::collection::vec(crash(), 0..4));
    parts.prop_map(|(ops, mut messages, crashes)| {
        // Without enough notes it would wait for ever.
        let wanted = ops.iter().filter(|op| matches!(op, Op::Receive)).count();
        // Those that are sent to a run that was canceled are refused, and it may be reset.
        let is_canceled = messages.iter().any(|(_, message)| matches!(message, Message::Cancel));
        let is_sent = |(_, message): &&(u64, Message)| matches!(message, Message::Note) && !is_canceled;
        let sent = messages.iter().filter(is_sent).count();
        messages.extend(std::iter::repeat_n((1, Message::Note), wanted.saturating_sub(sent)));
        Case { ops, messages, crashes }
    })
}

/// Runs a case, and judges what is left of it. Gives how many servers died.
fn judge(case: &Case, on_file: bool) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let remains = runtime.block_on(async {
        let place = if on_file { Place::file().await } else { Place::memory().await };
        life::run(case, &place).await
    });
    judge::judge(case, &remains);
    remains.evidence.losses
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
        Op::Talk { notes: 1, then: Then::CancelByName },
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
            let crashes = vec![Crash { write: Write::Commit, number: commit, applied }];
            died = judge(&Case { ops: ops.clone(), messages: messages.clone(), crashes }, false) > 0;
            commit += 1;
        }
        assert!(commit > 20, "it had only {commit} commits");
    }
}
