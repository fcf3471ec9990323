//! The programs and the ways that their workflows go. A new program, or a new way, is added here, and recorded by `make golden`.

use std::time::SystemTime;

use engine_sdk::replay::Replayer;
use engine_sdk::testing::TestEngine;
use engine_sdk::time::Timestamp;
use futures::future::BoxFuture;

/// A program of `examples/`.
pub(crate) struct Program {
    /// As its file or folder is called.
    pub(crate) name: &'static str,
    /// Adds its workflows.
    pub(crate) code: fn(Replayer) -> Replayer,
    /// The ways that they go, by name.
    pub(crate) paths: &'static [(&'static str, Record)],
}

/// Goes one way on an engine of its own. What it leaves there, every run of it, is recorded.
pub(crate) type Record = fn(TestEngine) -> BoxFuture<'static, ()>;

/// All of them.
pub(crate) const PROGRAMS: &[Program] = &[
    hello::PROGRAM,
    message_passing::PROGRAM,
    bank_account::PROGRAM,
    best_quote::PROGRAM,
    parcels::PROGRAM,
    search_attributes::PROGRAM,
    tally::PROGRAM,
    nightly::PROGRAM,
    film_studio::PROGRAM,
    updatable_timer::PROGRAM,
    polling::PROGRAM,
    cancellation::PROGRAM,
    heartbeats::PROGRAM,
    timers::PROGRAM,
    saga::PROGRAM,
    repair_shop::PROGRAM,
    rolling_out::PROGRAM,
    any_type::PROGRAM,
    super::order_saga::PROGRAM,
    super::lockfile_audit::PROGRAM,
];

/// Puts a program of one file into a module of its name, and says what of it is recorded.
macro_rules! program {
    ($name:ident, workflows: [$($workflow:expr),+], paths: { $($path:literal => |$env:ident| $body:block)+ }) => {
        mod $name {
            #![expect(dead_code, reason = "the program itself is not run here")]
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));

            pub(super) const PROGRAM: super::Program = super::Program {
                name: stringify!($name),
                code: |replayer| replayer$(.workflow($workflow))+,
                paths: &[$(($path, |$env: engine_sdk::testing::TestEngine| Box::pin(async move $body))),+],
            };
        }
    };
}

program!(hello, workflows: [hello], paths: {
    "greets" => |env| {
        env.activity(greet);
        env.run(hello, "world".to_owned()).await.unwrap();
    }
});

program!(message_passing, workflows: [Poll::WORKFLOW], paths: {
    "accepted" => |env| {
        env.activity(announce);
        let poll = env.start(Poll::WORKFLOW, 3).await.unwrap();
        for yes in [true, false, true] {
            poll.send(Poll::VOTE, yes).await.unwrap();
        }
        poll.result().await.unwrap();
    }
    "one-vote-after-the-other" => |env| {
        env.activity(announce);
        let poll = env.start(Poll::WORKFLOW, 2).await.unwrap();
        for _ in 0..2 {
            env.settle().await;
            poll.send(Poll::VOTE, false).await.unwrap();
        }
        poll.result().await.unwrap();
    }
});

program!(bank_account, workflows: [account], paths: {
    "deposits-and-close" => |env| {
        env.workflow(account).activity(book);
        let open = env.client().workflow(account).id("account-7");
        let (opened, balance) = open.update_with_start((), Deposit { cents: 500 }).await.unwrap();
        assert_eq!(balance, 500);
        opened.update(Deposit { cents: 0 }).await.unwrap_err();
        opened.update(Deposit { cents: 250 }).id("transfer-42").await.unwrap();
        assert_eq!(opened.update(Close {}).await.unwrap(), 750);
        opened.result().await.unwrap();
    }
    "still-open" => |env| {
        env.activity(book);
        let opened = env.start(account, ()).await.unwrap();
        opened.update(Deposit { cents: 100 }).await.unwrap();
        env.settle().await;
    }
});

program!(best_quote, workflows: [best_quote], paths: {
    "first-answer" => |env| {
        let shops = vec!["closed".to_owned(), "corner shop".to_owned()];
        env.run(best_quote, shops).await.unwrap();
    }
});

program!(parcels, workflows: [order, parcel], paths: {
    "hurried" => |env| {
        env.workflow(parcel);
        let start = env.client().workflow(order).id("order-1");
        env.workflow(order);
        start.run(2).await.unwrap();
    }
    "not-hurried" => |env| {
        env.run(parcel, 1).await.unwrap();
    }
});

program!(search_attributes, workflows: [order], paths: {
    "reduced" => |env| {
        let client = env.client();
        let registered = client.namespaces().update("default").search_attribute(CENTS).search_attribute(REGION).send();
        registered.await.unwrap();
        env.workflow(order);
        client.workflow(order).search_attributes([REGION.set("eu")]).run(500).await.unwrap();
    }
});

program!(tally, workflows: [tally], paths: {
    "all-received" => |env| {
        let numbers = env.start(tally, (3, 0, 0)).await.unwrap();
        for number in 0..3_u64 {
            numbers.signal_named("number", &number).await.unwrap();
        }
        assert_eq!(numbers.result().await.unwrap(), 3);
    }
});

program!(nightly, workflows: [report], paths: {
    "by-its-schedule" => |env| {
        env.workflow(report);
        env.mock(deliver, |_| Ok(()));
        let start = env.client().workflow(report).id("report").schedule("nightly").cron("30 2 * * *");
        start.create("north".to_owned()).await.unwrap();
        env.advance(days(1)).await;
    }
});

program!(film_studio, workflows: [produce], paths: {
    "stays-on-its-host" => |env| {
        env.queue("host-a");
        env.activity(render);
        env.mock(download, |_| Ok("host-a".to_owned()));
        let film = env.start(produce, ("Metropolis".to_owned(), minutes(1))).await.unwrap();
        env.settle().await;
        film.signal_named("director", "action!").await.unwrap();
        assert_eq!(film.result().await.unwrap(), "Metropolis was rendered on host-a");
    }
    "host-gone" => |env| {
        env.queue("host-b");
        env.activity(render);
        let downloads = std::sync::atomic::AtomicU32::new(0);
        env.mock(download, move |_| {
            let hosts = ["host-a", "host-b"];
            Ok(hosts[downloads.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as usize % 2].to_owned())
        });
        let film = env.start(produce, ("Metropolis".to_owned(), minutes(1))).await.unwrap();
        film.signal_named("director", "action!").await.unwrap();
        assert_eq!(film.result().await.unwrap(), "Metropolis was rendered on host-b");
    }
});

program!(updatable_timer, workflows: [Reminder::WORKFLOW], paths: {
    "rings" => |env| {
        env.run(Reminder::WORKFLOW, super::in_hours(&env, 8)).await.unwrap();
    }
    "moved-later-and-earlier" => |env| {
        let reminder = env.start(Reminder::WORKFLOW, super::in_hours(&env, 8)).await.unwrap();
        env.advance(hours(7)).await;
        reminder.send(Reminder::MOVE_TO, super::in_hours(&env, 20)).await.unwrap();
        env.advance(hours(2)).await;
        reminder.send(Reminder::MOVE_TO, super::in_hours(&env, 1)).await.unwrap();
        assert_eq!(reminder.result().await.unwrap(), 2);
    }
});

program!(polling, workflows: [poll_often, poll_seldom], paths: {
    "often" => |env| {
        env.mock(watch, |(job, _)| Ok(job));
        env.run(poll_often, ("a film".to_owned(), seconds(1))).await.unwrap();
    }
    "seldom" => |env| {
        env.mock(look, Ok).fail(1..=2, || ActivityError::retryable("no answer yet"));
        env.run(poll_seldom, ("a house".to_owned(), hours(1))).await.unwrap();
    }
});

program!(cancellation, workflows: [archive], paths: {
    "copied" => |env| {
        env.mock(copy, Ok);
        env.mock(release, |_| Ok(()));
        env.run(archive, "Metropolis".to_owned()).await.unwrap();
    }
    "canceled" => |env| {
        let place = Arc::new(Archive::default());
        env.activity(copy).activity(release).state(Arc::clone(&place));
        let film = env.start(archive, "Metropolis".to_owned()).await.unwrap();
        place.begun.notified().await;
        film.cancel("not that one").await.unwrap();
        assert!(matches!(film.result().await, Err(WorkflowFailure::Canceled { .. })));
    }
});

program!(heartbeats, workflows: [nightly_import], paths: {
    "second-attempt" => |env| {
        env.state(Disk { written: AtomicU64::new(0), fails_at: 3 });
        env.activity(import);
        env.run(nightly_import, 5).await.unwrap();
    }
});

program!(timers, workflows: [dinner], paths: {
    "in-time" => |env| {
        env.mock(cook, |_| Ok("a soup".to_owned()));
        env.run(dinner, (minutes(1), minutes(5))).await.unwrap();
    }
    "at-last" => |env| {
        env.mock(cook, |_| Ok("a soup".to_owned())).delay(minutes(10));
        assert_eq!(env.run(dinner, (minutes(10), minutes(5))).await.unwrap(), "a soup at last");
    }
    "given-up" => |env| {
        env.mock(cook, |_| Ok("a soup".to_owned())).delay(hours(2));
        assert_eq!(env.run(dinner, (hours(2), minutes(5))).await.unwrap(), "a sandwich");
        env.settle().await;
    }
});

program!(saga, workflows: [trip], paths: {
    "booked" => |env| {
        env.activity(book).activity(give_back).state(Arc::<Agencies>::default());
        env.run(trip, ["flight", "hotel"].map(str::to_owned).to_vec()).await.unwrap();
    }
    "given-back" => |env| {
        env.activity(book).activity(give_back).state(Arc::<Agencies>::default());
        env.run(trip, ["flight", "hotel", "car"].map(str::to_owned).to_vec()).await.unwrap_err();
    }
});

program!(repair_shop, workflows: [mend], paths: {
    "paused-and-resumed" => |env| {
        env.activity(order_part);
        let bike = env.start(mend, "chain".to_owned()).await.unwrap();
        bike.pause("the shop is closed").await.unwrap();
        bike.signal_named("go ahead", "Ada").await.unwrap();
        bike.resume("").await.unwrap();
        bike.result().await.unwrap();
    }
    "repaired" => |env| {
        env.activity(order_part);
        let bike = env.start(mend, "bell".to_owned()).await.unwrap();
        bike.result().await.unwrap_err();
        let from = ResetFrom::failed_activity_with("a used bell").unwrap();
        let mended = bike.reset(from, ResetOptions::because("found one")).await.unwrap();
        mended.signal_named("go ahead", "Ben").await.unwrap();
        mended.result().await.unwrap();
    }
    "reset-to-its-beginning" => |env| {
        env.activity(order_part);
        let bike = env.start(mend, "chain".to_owned()).await.unwrap();
        bike.signal_named("go ahead", "Ada").await.unwrap();
        bike.result().await.unwrap();
        let again = bike.reset(ResetFrom::FirstWorkflowTask, ResetOptions::default()).await.unwrap();
        again.result().await.unwrap();
    }
});

// As the later of its two builds has it; the earlier one's code has the same name.
program!(rolling_out, workflows: [talk_2], paths: {
    "said-twice" => |env| {
        let talk = env.start(talk_2, ()).await.unwrap();
        for text in ["Tea", "Milk"] {
            talk.update(Say { text: text.to_owned() }).await.unwrap();
        }
        talk.result().await.unwrap();
    }
});

fn in_hours(env: &TestEngine, hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + env.now().since(Timestamp::EPOCH) + engine_sdk::prelude::hours(hours)
}

program!(any_type, workflows: [AnyPlan::WORKFLOW], paths: {
    "as-told" => |env| {
        env.workflow(AnyPlan::WORKFLOW);
        env.mock(elsewhere::paint, |(thing, coats)| Ok(format!("{thing} has {coats} coats")));
        let plan = env.client().workflow_named::<Vec<String>>("any_plan").start(vec!["the house".into()]).await.unwrap();
        plan.signal_named("paint", &()).await.unwrap();
        plan.signal_named("paint", &()).await.unwrap();
        plan.result().await.unwrap();
    }
});
