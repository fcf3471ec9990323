//! Schedules from Rust, on the whole engine in this process.

use engine_core::event::CloseStatus;
use engine_sdk::client::{ClientError, ScheduleStartOutcome};
use engine_sdk::prelude::*;
use engine_sdk::time::Timestamp;
use engine_sdk::{CalendarSpec, Range};
use futures::TryStreamExt;
use tokio::sync::mpsc;

/// Tells the test what ran.
struct Desk(mpsc::UnboundedSender<String>);

#[activity]
async fn deliver(ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    Ok(ctx.state::<Desk>().0.send(text)?)
}

#[workflow]
async fn report(ctx: WorkflowContext, region: String) -> Result<(), WorkflowError> {
    let id = ctx.info().workflow_id.clone();
    Ok(ctx.run(deliver, format!("{region} {id}")).await?)
}

/// 2025-11-22T08:00:00Z.
const MORNING: Timestamp = Timestamp::from_micros(1_763_798_400_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_made_read_changed_and_backfilled() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let (desk, mut delivered) = mpsc::unbounded_channel();
    let worker = Worker::new(client.clone(), "reports").workflow(report).activity(deliver).state(Desk(desk));
    let work = async {
        let every_morning = CalendarSpec { hour: vec![Range::one(8)], ..Default::default() };
        let make = || client.workflow(report).queue("reports").schedule("mornings");
        let mornings = make()
            .calendar(every_morning.clone())
            .overlap(OverlapPolicy::BufferAll)
            .limit(7)
            .paused()
            .note("from January on")
            .create("north".to_owned())
            .await
            .unwrap();
        let taken = make().cron("@daily").create("north".to_owned()).await.unwrap_err();
        assert!(matches!(taken, ClientError::AlreadyStarted { .. }), "{taken:?}");
        let described = mornings.describe().await.unwrap();
        assert_eq!((described.version, described.remaining, described.paused), (1, Some(7), true));
        assert_eq!((described.workflow_type.as_str(), described.workflow_id.as_str()), ("report", "mornings"));
        assert_eq!(described.spec.calendars, [every_morning]);
        assert_eq!(described.note, "from January on");

        let stale = make().cron("@daily").version(9).update("south".to_owned()).await.unwrap_err();
        assert!(matches!(stale, ClientError::Conflict { .. }), "{stale:?}");
        let version = make().cron("0 8 * * *").version(1).update("south".to_owned()).await.unwrap();
        assert_eq!(version, 2);
        let day = days(1);
        let times = mornings.times(MORNING - days(2), 2).await.unwrap();
        assert_eq!(times, [MORNING - day, MORNING]);

        mornings.backfill(MORNING - day, MORNING, OverlapPolicy::BufferAll).await.unwrap();
        for time in ["2025-11-21T08:00:00Z", "2025-11-22T08:00:00Z"] {
            assert_eq!(delivered.recv().await.unwrap(), format!("south mornings-{time}"));
        }
        // The first has ended, or the second would not have run.
        let first = mornings.describe().await.unwrap().recent.remove(0);
        assert_eq!(first.nominal, MORNING - day);
        let completed = ScheduleStartOutcome::Closed { status: CloseStatus::Completed, message: String::new() };
        assert_eq!(first.outcome, completed);

        mornings.unpause("it is January").await.unwrap();
        mornings.pause("it is not").await.unwrap();
        mornings.trigger_with(OverlapPolicy::AllowAll).await.unwrap();
        assert!(delivered.recv().await.unwrap().starts_with("south mornings-"));
        let listed: Vec<_> = client.schedules().try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].paused, listed[0].note.as_str(), listed[0].next_time), (true, "it is not", None));
        assert!(mornings.delete().await.unwrap());
        assert!(!mornings.delete().await.unwrap());
        assert!(matches!(mornings.describe().await.unwrap_err(), ClientError::NotFound { .. }));
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_wrong_expression_is_refused_by_its_field() {
    let engine = Engine::open("memory:").await.unwrap();
    let wrong = engine.client().workflow(report).schedule("x").cron("* * 32 * *").create(String::new()).await;
    let error = wrong.unwrap_err();
    assert!(
        matches!(&error, ClientError::InvalidArgument { field, .. } if field == "schedule.spec.crons[0].day_of_month"),
        "{error:?}"
    );
    engine.shutdown().await;
}
