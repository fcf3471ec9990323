//! Schedules on a server: what they start, what they survive, and what is refused. Their clock is set by the tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::time::Timestamp;
use engine_proto::v1::schedule_service_client::ScheduleServiceClient;
use engine_proto::{convert, v1};
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use engine_server::{NodeOptions, ScheduleClock, Server};
use support::*;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use v1::patch_schedule_request::Patch;

/// 2026-11-22T08:00:00Z.
const BEGIN: Timestamp = Timestamp::from_micros(1_795_334_400_000_000);

/// A server whose schedules go by a clock that is set.
struct World {
    server: Server,
    clock: watch::Sender<Timestamp>,
}

impl World {
    async fn on(store: Arc<dyn Store>, now: Timestamp) -> World {
        let (schedule_clock, clock) = ScheduleClock::manual(now);
        World { server: start(store, NodeOptions { schedule_clock, ..options() }).await, clock }
    }

    async fn new() -> World {
        World::on(store().await, BEGIN).await
    }

    fn client(&self) -> ScheduleServiceClient<Routes> {
        ScheduleServiceClient::new(self.server.service())
    }

    fn pass(&self, seconds: u64) {
        self.clock.send_modify(|now| *now = *now + Duration::from_secs(seconds));
    }

    async fn create(&self, schedule: v1::Schedule) {
        self.client().create_schedule(create(schedule)).await.unwrap();
    }

    async fn patch(&self, patch: Patch) -> Result<u64, Status> {
        let request = v1::PatchScheduleRequest { patch: Some(patch), ..of("nightly") };
        self.client().patch_schedule(request).await.map(|response| response.into_inner().version)
    }

    async fn describe(&self) -> Result<v1::DescribeScheduleResponse, Status> {
        let request = v1::DescribeScheduleRequest { namespace: "default".into(), schedule_id: "nightly".into() };
        self.client().describe_schedule(request).await.map(tonic::Response::into_inner)
    }

    async fn status(&self) -> v1::ScheduleStatus {
        self.describe().await.unwrap().status.unwrap()
    }

    /// Waits until the schedule stands so. A schedule that is being read again is asked again.
    async fn until(&self, what: &str, reached: impl Fn(&v1::ScheduleStatus) -> bool) -> v1::ScheduleStatus {
        let waiting = async {
            loop {
                match self.describe().await {
                    Ok(described) if reached(described.status.as_ref().unwrap()) => return described.status.unwrap(),
                    Ok(_) => {}
                    Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(status) => status,
            Err(_) => panic!("{what} never came: {:?}", self.describe().await),
        }
    }

    /// How often each workflow id was started.
    async fn runs(&self) -> BTreeMap<String, usize> {
        let list = v1::ListWorkflowsRequest { namespace: "default".into(), page_size: 1000, ..Default::default() };
        let runs = client(&self.server).list_workflows(list).await.unwrap().into_inner().workflows;
        let mut ids = BTreeMap::new();
        runs.into_iter().for_each(|run| *ids.entry(run.workflow_id).or_default() += 1);
        ids
    }
}

/// A patch of the schedule of the tests.
fn of(schedule_id: &str) -> v1::PatchScheduleRequest {
    v1::PatchScheduleRequest {
        namespace: "default".into(),
        schedule_id: schedule_id.into(),
        request_id: String::new(),
        patch: None,
    }
}

fn every_ten_seconds(overlap: v1::OverlapPolicy) -> v1::Schedule {
    let start = v1::StartWorkflowRequest { namespace: String::new(), ..start_request("report") };
    let spec = v1::ScheduleSpec { crons: vec!["*/10 * * * * *".into()], ..Default::default() };
    let policies = v1::SchedulePolicies { overlap: overlap.into(), ..Default::default() };
    v1::Schedule { spec: Some(spec), start: Some(start), policies: Some(policies) }
}

fn create(schedule: v1::Schedule) -> v1::CreateScheduleRequest {
    v1::CreateScheduleRequest {
        namespace: "default".into(),
        schedule_id: "nightly".into(),
        schedule: Some(schedule),
        ..Default::default()
    }
}

fn workflow_id(second: u32) -> String {
    format!("report-2026-11-22T08:00:{second:02}Z")
}

fn fail_workflow() -> v1::Command {
    let kind = v1::failure::Kind::Application(v1::ApplicationFailure::default());
    let failure = v1::Failure { message: "no paper".into(), cause: None, kind: Some(kind) };
    v1::Command {
        command: Some(v1::command::Command::FailWorkflow(v1::FailWorkflowCommand { failure: Some(failure) })),
    }
}

#[tokio::test]
async fn a_schedule_starts_its_workflow_at_its_times_and_tells_how_it_ended() {
    let world = World::new().await;
    world.create(every_ten_seconds(v1::OverlapPolicy::Skip)).await;
    let status = world.status().await;
    assert_eq!(status.next_times.len(), 10);
    assert_eq!(status.next_times[0].seconds, BEGIN.as_micros() / 1_000_000 + 10);
    world.pass(10);
    let mut worker = Worker::connect(&world.server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![complete_workflow()]).await;
    let done = |status: &v1::ScheduleStatus| status.running.is_empty() && status.recent.len() == 1;
    let status = world.until("the end of the run", done).await;
    assert_eq!(status.recent[0].workflow_id, workflow_id(10));
    assert_eq!(status.recent[0].status(), v1::WorkflowStatus::Completed);
    let started = describe(&world.server, &workflow_id(10)).await.started.unwrap();
    assert_eq!(started.identity, "schedule");
    world.pass(10);
    world.until("the next time", |status| status.counters.unwrap().started == 2).await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_run_that_is_open_is_terminated_for_the_next_if_so_wanted() {
    let world = World::new().await;
    world.create(every_ten_seconds(v1::OverlapPolicy::TerminateOther)).await;
    world.pass(10);
    world.until("the first", |status| status.running.len() == 1).await;
    world.pass(10);
    world.until("the second", |status| status.counters.unwrap().started == 2).await;
    let names = history(&world.server, &workflow_id(10)).await;
    assert_eq!(names.last().map(String::as_str), Some("WorkflowTerminated"));
    let names = history(&world.server, &workflow_id(20)).await;
    assert_eq!(names, ["WorkflowStarted"]);
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_failed_run_pauses_the_schedule_until_it_is_unpaused() {
    let world = World::new().await;
    let mut schedule = every_ten_seconds(v1::OverlapPolicy::Skip);
    schedule.policies.as_mut().unwrap().pause_on_failure = true;
    world.create(schedule).await;
    world.pass(10);
    let mut worker = Worker::connect(&world.server, hello(1), 4).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![fail_workflow()]).await;
    let status = world.until("the pause", |status| status.paused).await;
    assert!(status.note.contains(&workflow_id(10)) && status.note.contains("no paper"), "{}", status.note);
    assert_eq!(status.next_times, []);
    world.pass(100);
    let version = world.patch(Patch::Unpause(v1::UnpauseSchedule { note: "refilled".into() })).await.unwrap();
    assert_eq!(version, 3);
    world.pass(10);
    world.until("the time after the pause", |status| status.counters.unwrap().started == 2).await;
    assert_eq!(world.runs().await.len(), 2, "those that passed during the pause are nobody's");
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_trigger_and_a_backfill_start_each_time_once_however_often_they_are_sent() {
    let world = World::new().await;
    let mut request = create(every_ten_seconds(v1::OverlapPolicy::AllowAll));
    request.paused = true;
    request.request_id = "r".into();
    for _ in 0..2 {
        assert_eq!(world.client().create_schedule(request.clone()).await.unwrap().into_inner().version, 1);
    }
    let instant = |seconds: u64| Some(convert::timestamp_to_proto(BEGIN - Duration::from_secs(seconds)));
    let backfill = v1::BackfillSchedule { from: instant(30), until: instant(0), overlap: 0 };
    let patches = [Patch::Backfill(backfill), Patch::Trigger(v1::TriggerSchedule::default())];
    for (number, patch) in patches.into_iter().enumerate() {
        let request =
            v1::PatchScheduleRequest { request_id: format!("patch {number}"), patch: Some(patch), ..of("nightly") };
        for _ in 0..3 {
            world.client().patch_schedule(request.clone()).await.unwrap();
        }
    }
    let done = |status: &v1::ScheduleStatus| status.backfills == 0 && status.waiting == 0;
    let status = world.until("the backfill's end", done).await;
    assert_eq!(status.counters.unwrap().started + status.counters.unwrap().refused, 5, "{status:?}");
    let runs = world.runs().await;
    // The trigger's time is that of the backfill's last one: the same id, of which one run is open.
    let expected: BTreeMap<_, _> =
        ["07:59:30", "07:59:40", "07:59:50", "08:00:00"].map(|time| (format!("report-2026-11-22T{time}Z"), 1)).into();
    assert_eq!(runs, expected);
    world.server.shutdown().await;
}

#[tokio::test]
async fn an_update_replaces_the_definition_unless_somebody_was_faster() {
    let world = World::new().await;
    world.create(every_ten_seconds(v1::OverlapPolicy::Skip)).await;
    let mut changed = every_ten_seconds(v1::OverlapPolicy::AllowAll);
    changed.spec.as_mut().unwrap().crons = vec!["@hourly".into()];
    let update = |version| v1::UpdateScheduleRequest {
        namespace: "default".into(),
        schedule_id: "nightly".into(),
        schedule: Some(changed.clone()),
        limit: Some(v1::StartLimit { remaining: Some(7) }),
        version,
    };
    let status = world.client().update_schedule(update(5)).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("read it again"), "{status:?}");
    assert_eq!(world.status().await.remaining, None, "nothing changed");
    assert_eq!(world.client().update_schedule(update(1)).await.unwrap().into_inner().version, 2);
    let described = world.describe().await.unwrap();
    assert_eq!(described.status.unwrap().remaining, Some(7));
    let schedule = described.schedule.unwrap();
    assert_eq!(schedule.spec, changed.spec);
    assert_eq!(schedule.start, changed.start, "as it was given");
    world.pass(600);
    assert_eq!(world.runs().await.len(), 0, "the old times are gone");
    world.server.shutdown().await;
}

#[tokio::test]
async fn schedules_are_listed_in_pages_and_their_times_in_ranges_until_they_are_deleted() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        let request =
            v1::CreateScheduleRequest { schedule_id: id.into(), ..create(every_ten_seconds(v1::OverlapPolicy::Skip)) };
        world.client().create_schedule(request).await.unwrap();
    }
    let page = async |token: Vec<u8>| {
        let request = v1::ListSchedulesRequest { namespace: "default".into(), page_size: 2, page_token: token };
        let page = world.client().list_schedules(request).await.unwrap().into_inner();
        (page.schedules.into_iter().map(|s| (s.schedule_id, s.workflow_type)).collect::<Vec<_>>(), page.next_page_token)
    };
    let row = |id: &str| (id.to_owned(), "checkout".to_owned());
    let (first, token) = page(Vec::new()).await;
    assert_eq!(first, [row("a"), row("b")]);
    let (second, token) = page(token).await;
    assert_eq!((second, token), (vec![row("c")], Vec::new()));

    let instant = |seconds: i64| prost_types::Timestamp { seconds: 1_795_334_400 + seconds, nanos: 0 };
    let times = v1::ListScheduleTimesRequest {
        namespace: "default".into(),
        schedule_id: "a".into(),
        after: Some(instant(-25)),
        until: Some(instant(0)),
        limit: 0,
    };
    let times = world.client().list_schedule_times(times).await.unwrap().into_inner().times;
    assert_eq!(times, [instant(-20), instant(-10), instant(0)]);

    let delete = v1::DeleteScheduleRequest { namespace: "default".into(), schedule_id: "b".into() };
    for existed in [true, false] {
        assert_eq!(world.client().delete_schedule(delete.clone()).await.unwrap().into_inner().existed, existed);
    }
    let (rest, _) = page(Vec::new()).await;
    assert_eq!(rest, [row("a"), row("c")]);
    let patch = v1::PatchScheduleRequest { patch: Some(Patch::Pause(v1::PauseSchedule::default())), ..of("b") };
    let status = world.client().patch_schedule(patch).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "schedule \"b\" not found"));
    world.server.shutdown().await;
}

#[tokio::test]
async fn bad_requests_name_their_field_and_change_nothing() {
    let world = World::new().await;
    let good = || every_ten_seconds(v1::OverlapPolicy::Skip);
    let with = |change: fn(&mut v1::CreateScheduleRequest)| {
        let mut request = create(good());
        change(&mut request);
        request
    };
    fn spec(request: &mut v1::CreateScheduleRequest) -> &mut v1::ScheduleSpec {
        request.schedule.as_mut().unwrap().spec.as_mut().unwrap()
    }
    fn start(request: &mut v1::CreateScheduleRequest) -> &mut v1::StartWorkflowRequest {
        request.schedule.as_mut().unwrap().start.as_mut().unwrap()
    }
    fn policies(request: &mut v1::CreateScheduleRequest) -> &mut v1::SchedulePolicies {
        request.schedule.as_mut().unwrap().policies.as_mut().unwrap()
    }
    let cases = [
        ("schedule_id", with(|r| r.schedule_id.clear())),
        ("schedule_id", with(|r| r.schedule_id = "x".repeat(961))),
        ("schedule", with(|r| r.schedule = None)),
        ("note", with(|r| r.note = "x".repeat(1001))),
        ("request_id", with(|r| r.request_id = "\n".into())),
        ("schedule.spec.crons[0].hour", with(|r| spec(r).crons = vec!["0 24 * * *".into()])),
        ("schedule.spec.time_zone", with(|r| spec(r).time_zone = "Moon/Sea".into())),
        ("schedule.spec.intervals[0].every", with(|r| spec(r).intervals = vec![v1::IntervalSpec::default()])),
        ("schedule.policies.overlap", with(|r| policies(r).overlap = 99)),
        (
            "schedule.policies.catch_up_window",
            with(|r| policies(r).catch_up_window = Some(prost_types::Duration { seconds: 1, nanos: 0 })),
        ),
        ("schedule.start", with(|r| r.schedule.as_mut().unwrap().start = None)),
        ("schedule.start.workflow_id", with(|r| start(r).workflow_id.clear())),
        ("schedule.start.workflow_type", with(|r| start(r).workflow_type.clear())),
        ("schedule.start.request_id", with(|r| start(r).request_id = "mine".into())),
        ("schedule.start.id_reuse_policy", with(|r| start(r).id_reuse_policy = 1)),
        ("schedule.start.namespace", with(|r| start(r).namespace = "other".into())),
        (
            "schedule.start.run_timeout",
            with(|r| start(r).run_timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
        ),
    ];
    for (field, request) in cases {
        let status = world.client().create_schedule(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field, "{status:?}");
    }
    assert_eq!(world.describe().await.unwrap_err().code(), Code::NotFound);
    world.create(good()).await;
    let status = world.client().create_schedule(create(good())).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let from = Some(convert::timestamp_to_proto(BEGIN));
    let future = Some(convert::timestamp_to_proto(BEGIN + Duration::from_secs(1)));
    let patches = [
        ("backfill.from", Patch::Backfill(v1::BackfillSchedule::default())),
        ("backfill.until", Patch::Backfill(v1::BackfillSchedule { from, until: future, overlap: 0 })),
        ("trigger.overlap", Patch::Trigger(v1::TriggerSchedule { overlap: 77 })),
        ("note", Patch::Pause(v1::PauseSchedule { note: "x".repeat(1001) })),
    ];
    for (field, patch) in patches {
        let status = world.patch(patch).await.unwrap_err();
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field, "{status:?}");
    }
    assert_eq!(world.status().await.version, 1);
    world.server.shutdown().await;
}

/// Three times come, and after each the server is stopped; what the first write of the schedule and each that follows meets is planned.
async fn three_times_with(faults: &[(u64, Fault)]) {
    let store = FaultyStore::new(store().await);
    for (write, fault) in faults {
        // Write 0 creates the schedule.
        store.plan_schedule_write(write + 1, fault.clone());
    }
    let mut now = BEGIN;
    let mut world = World::on(Arc::clone(&store) as Arc<dyn Store>, now).await;
    world.create(every_ten_seconds(v1::OverlapPolicy::AllowAll)).await;
    for number in 1..=3 {
        now = now + Duration::from_secs(10);
        world.clock.send_replace(now);
        world.until("the start", |status| status.counters.unwrap().started == number).await;
        world.server.shutdown().await;
        world = World::on(Arc::clone(&store) as Arc<dyn Store>, now).await;
    }
    let status = world.until("what was started", |status| status.running.len() == 3).await;
    assert_eq!(status.counters.unwrap().refused, 0, "{status:?}");
    let expected: BTreeMap<_, _> = [10, 20, 30].map(|second| (workflow_id(second), 1)).into();
    assert_eq!(world.runs().await, expected, "{faults:?}");
    world.server.shutdown().await;
}

#[tokio::test]
async fn no_start_is_lost_or_doubled_whichever_write_fails() {
    three_times_with(&[]).await;
    for write in 0..6 {
        three_times_with(&[(write, Fault::FailBefore)]).await;
        three_times_with(&[(write, Fault::FailAfter)]).await;
        three_times_with(&[(write, Fault::FailAfter), (write + 1, Fault::FailBefore)]).await;
    }
}

#[tokio::test]
async fn a_write_that_arrives_late_undoes_nothing() {
    let gate = Gate::new();
    let store = FaultyStore::new(store().await);
    // The intention to start is lost on its way; it is decided again.
    store.plan_schedule_write(1, Fault::ApplyLate(gate.clone()));
    let world = World::on(Arc::clone(&store) as Arc<dyn Store>, BEGIN).await;
    world.create(every_ten_seconds(v1::OverlapPolicy::AllowAll)).await;
    world.pass(10);
    world.until("the start", |status| status.counters.unwrap().started == 1).await;
    gate.open();
    assert!(!store.late_outcome().await, "its revision is gone");
    world.pass(10);
    world.until("the next start", |status| status.counters.unwrap().started == 2).await;
    assert_eq!(world.runs().await, [10, 20].map(|second| (workflow_id(second), 1)).into());
    world.server.shutdown().await;
}

/// The first server stops between the intention to start and the start: its answer is held back while a second one takes over.
#[tokio::test]
async fn a_server_that_takes_over_makes_the_start_that_the_first_one_intended() {
    let gate = Gate::new();
    let store = FaultyStore::new(store().await);
    store.plan_schedule_write(1, Fault::HoldAfter(gate.clone()));
    let first = World::on(Arc::clone(&store) as Arc<dyn Store>, BEGIN).await;
    first.create(every_ten_seconds(v1::OverlapPolicy::AllowAll)).await;
    first.pass(10);
    gate.reached().await;
    let second = World::on(Arc::clone(&store) as Arc<dyn Store>, BEGIN + Duration::from_secs(20)).await;
    second.until("both times", |status| status.counters.unwrap().started == 2).await;
    gate.open();
    assert_eq!(second.runs().await, [10, 20].map(|second| (workflow_id(second), 1)).into());
    // The first one cannot write any more, and says so.
    let refused = first.patch(Patch::Pause(v1::PauseSchedule::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(!second.status().await.paused);
    second.server.shutdown().await;
    drop(first);
}

#[tokio::test]
async fn a_schedule_that_rests_costs_the_store_nothing() {
    let store = store().await;
    let world = World::on(Arc::clone(&store), BEGIN).await;
    world.create(every_ten_seconds(v1::OverlapPolicy::Skip)).await;
    world.patch(Patch::Pause(v1::PauseSchedule::default())).await.unwrap();
    // Both have been answered, and the schedule has left memory when it is read anew.
    world.status().await;
    let (before, commits) = (world.status().await, store.stats().commits);
    world.pass(3600);
    assert_eq!(world.status().await, before);
    assert_eq!(store.stats().commits, commits);
    world.server.shutdown().await;
}
