//! The workflows of the programs on an engine whose time skips.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use engine_sdk::activity::CancelReason;
use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;
use engine_sdk::time::Timestamp;

use self::cancellation::{Archive, archive, copy, release};
use self::heartbeats::{Disk, import, nightly_import};
use self::polling::{Service, look, poll_often, poll_seldom, watch};
use self::saga::{Agencies, book, give_back, trip};
use self::timers::{cook, dinner};
use self::updatable_timer::Reminder;

#[expect(dead_code, reason = "its program is not run here")]
#[path = "../cancellation.rs"]
mod cancellation;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../heartbeats.rs"]
mod heartbeats;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../polling.rs"]
mod polling;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../saga.rs"]
mod saga;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../timers.rs"]
mod timers;
#[expect(dead_code, reason = "its program is not run here")]
#[path = "../updatable_timer.rs"]
mod updatable_timer;

fn now(env: &TestEngine) -> SystemTime {
    SystemTime::UNIX_EPOCH + env.now().since(Timestamp::EPOCH)
}

#[engine_sdk::test]
async fn a_reminder_rings_at_its_instant(env: TestEngine) {
    let began = env.now();
    assert_eq!(env.run(Reminder::WORKFLOW, now(&env) + hours(8)).await.unwrap(), 0);
    assert_eq!(env.now().since(began), hours(8));
}

#[engine_sdk::test]
async fn a_reminder_is_moved_later_and_earlier_while_it_sleeps(env: TestEngine) {
    let (began, start) = (env.now(), now(&env));
    let reminder = env.start(Reminder::WORKFLOW, start + hours(8)).await.unwrap();
    env.advance(hours(7)).await;
    reminder.send(Reminder::MOVE_TO, start + hours(20)).await.unwrap();
    assert_eq!(reminder.query(Reminder::RINGS_AT, ()).await.unwrap(), start + hours(20));
    // Past its first instant.
    env.advance(hours(2)).await;
    assert!(reminder.describe().await.unwrap().summary.status.is_none());
    reminder.send(Reminder::MOVE_TO, start + hours(10)).await.unwrap();
    assert_eq!(reminder.result().await.unwrap(), 2);
    assert_eq!(env.now().since(began), hours(10));
    assert_eq!(reminder.published("rings_at").await.unwrap(), Some(start + hours(10)));
}

#[engine_sdk::test]
async fn a_reminder_that_is_moved_into_the_past_rings_at_once(env: TestEngine) {
    let began = env.now();
    let reminder = env.start(Reminder::WORKFLOW, now(&env) + hours(8)).await.unwrap();
    reminder.send(Reminder::MOVE_TO, SystemTime::UNIX_EPOCH).await.unwrap();
    assert_eq!(reminder.result().await.unwrap(), 1);
    assert_eq!(env.now(), began);
}

fn service(answers_from: u32) -> Service {
    Service { answers_from, asked: AtomicU32::new(0) }
}

#[engine_sdk::test]
async fn frequent_polling_asks_all_in_one_attempt(env: TestEngine) {
    env.state(service(50));
    let watched = env.spy(watch);
    let answer = env.run(poll_often, ("a film".to_owned(), Duration::ZERO)).await.unwrap();
    assert_eq!(answer, "a film is done, says answer 50");
    assert_eq!(watched.attempts(), 1);
}

#[engine_sdk::test]
async fn frequent_polling_goes_on_with_another_worker(env: TestEngine) {
    env.state(service(5));
    let watched = env.spy(watch);
    watched.lose_worker(1..=1);
    let answer = env.run(poll_often, ("a film".to_owned(), Duration::ZERO)).await.unwrap();
    // The first attempt had answer 5, and nobody learned of it.
    assert_eq!(answer, "a film is done, says answer 6");
    assert_eq!(watched.attempts(), 2);
}

#[tokio::test]
async fn frequent_polling_shows_that_it_lives_and_stops_when_asked_to() {
    let test = ActivityContext::for_test().state(service(3));
    let heartbeats = test.heartbeats();
    assert!(watch.call(test.build(), "a film".to_owned(), Duration::ZERO).await.is_ok());
    assert_eq!(heartbeats().len(), 2);

    let test = ActivityContext::for_test().state(service(2));
    test.stopper()(CancelReason::Requested);
    assert!(watch.call(test.build(), "a film".to_owned(), days(1)).await.unwrap_err().is_canceled());
}

#[engine_sdk::test]
async fn infrequent_polling_asks_once_an_hour_and_keeps_the_history_short(env: TestEngine) {
    env.state(service(25));
    let looked = env.spy(look);
    let began = env.now();
    let poll = env.start(poll_seldom, ("a house".to_owned(), hours(1))).await.unwrap();
    assert_eq!(poll.result().await.unwrap(), "a house is done, says answer 25");
    assert_eq!(env.now().since(began), hours(24));
    assert_eq!(looked.attempts(), 25);
    let events = poll.history().await.unwrap().len();
    assert!(events < 15, "{events} events");
}

#[engine_sdk::test]
async fn a_canceled_copy_tidies_up_before_its_workflow_does(env: TestEngine) {
    let place = Arc::new(Archive::default());
    env.activity(copy).activity(release).state(Arc::clone(&place));
    let film = env.start(archive, "Metropolis".to_owned()).await.unwrap();
    place.begun.notified().await;
    film.cancel("not that one").await.unwrap();
    assert!(matches!(film.result().await, Err(WorkflowFailure::Canceled { .. })));
    assert_eq!(*place.log.lock().unwrap(), ["half of Metropolis is deleted", "the place for Metropolis is free"]);
}

#[engine_sdk::test]
async fn a_copy_that_succeeds_gives_its_place_back_too(env: TestEngine) {
    let place = Arc::new(Archive::default());
    env.activity(release).state(Arc::clone(&place));
    env.mock(copy, |film| Ok(format!("{film}.tar")));
    assert_eq!(env.run(archive, "Metropolis".to_owned()).await.unwrap(), "Metropolis.tar");
    assert_eq!(*place.log.lock().unwrap(), ["the place for Metropolis is free"]);
}

#[engine_sdk::test]
async fn an_import_whose_worker_is_lost_goes_on_where_it_was_known_to_be(env: TestEngine) {
    env.state(Disk { written: AtomicU64::new(0), fails_at: u64::MAX });
    let imported = env.spy(import);
    imported.lose_worker(1..=1);
    let told = env.run(nightly_import, 20).await.unwrap();
    assert!(told.starts_with("attempt 2 went on at row "), "{told}");
    assert_eq!(imported.attempts(), 2);
}

#[tokio::test]
async fn an_import_begins_where_the_last_heartbeat_was_and_beats_at_each_row() {
    let test = ActivityContext::for_test().state(Disk { written: AtomicU64::new(0), fails_at: 3 });
    let heartbeats = test.heartbeats();
    let ctx = test.heartbeat_details(&3_u64).attempt(2).build();
    assert_eq!(import.call(ctx.clone(), 5).await.unwrap(), "attempt 2 went on at row 3");
    assert_eq!(heartbeats(), [4, 5]);
    assert_eq!(ctx.state::<Disk>().written.load(Ordering::Relaxed), 2);
}

#[engine_sdk::test]
async fn a_dinner_is_in_time_late_or_given_up(env: TestEngine) {
    let cooked = env.mock(cook, |_| Ok("a soup".to_owned()));
    for (takes, expected) in [(1, "a soup in time"), (59, "a soup at last"), (61, "a sandwich")] {
        cooked.delay(minutes(takes));
        let ordered = env.start(dinner, (Duration::ZERO, minutes(6))).await.unwrap();
        assert_eq!(ordered.result().await.unwrap(), expected);
        let told = ordered.published::<String>("status").await.unwrap();
        assert_eq!(told.is_some(), takes > 6);
    }
}

#[engine_sdk::test]
async fn a_trip_without_its_last_part_is_given_back_in_reverse(env: TestEngine) {
    let agencies = Arc::new(Agencies::default());
    env.activity(book).activity(give_back).state(Arc::clone(&agencies));
    let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    env.run(trip, parts(&["flight"])).await.unwrap();
    env.run(trip, parts(&["flight", "hotel", "car"])).await.unwrap_err();
    let told = ["booked a flight", "booked a flight", "booked a hotel", "gave back the hotel", "gave back the flight"];
    assert_eq!(*agencies.0.lock().unwrap(), told);
}
