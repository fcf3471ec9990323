//! `ScheduleService`.

use engine_proto::v1;
use v1::patch_schedule_request::Patch;

use crate::cases::{Case, TOO_LONG, large, long, refused, seconds};
use crate::world::{World, schedule};

/// What an id of a schedule says that is too long: the times of its starts are added to it.
const TOO_LONG_FOR_TIMES: &str = "is 961 bytes long; the limit is 960 bytes";

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    definitions(world, &mut cases);
    changes(world, &mut cases);
    looks(world, &mut cases);
    cases
}

fn namespace() -> String {
    "default".to_owned()
}

type Change = Box<dyn FnOnce(&mut v1::Schedule)>;

/// Changes of a definition that no schedule can have, and what is said of each.
fn impossible() -> Vec<(Change, String)> {
    fn spec(schedule: &mut v1::Schedule) -> &mut v1::ScheduleSpec {
        schedule.spec.get_or_insert_default()
    }
    fn policies(schedule: &mut v1::Schedule) -> &mut v1::SchedulePolicies {
        schedule.policies.get_or_insert_default()
    }
    fn start(schedule: &mut v1::Schedule) -> &mut v1::StartWorkflowRequest {
        schedule.start.get_or_insert_default()
    }
    let range = |start, end, step| v1::CalendarRange { start, end, step };
    let calendar = move |hour| vec![v1::CalendarSpec { hour: vec![hour], ..Default::default() }];
    let interval = |every, offset| vec![v1::IntervalSpec { every: seconds(every), offset: seconds(offset) }];
    let mut all: Vec<(Change, String)> = Vec::new();
    let mut add = |message: &str, change: Change| all.push((change, message.to_owned()));
    add("schedule.spec.crons[0]", Box::new(|it| spec(it).crons = vec!["0 24 * * *".into()]));
    add("schedule.spec.crons[0]", Box::new(|it| spec(it).crons = vec!["often".into()]));
    add("schedule.spec.crons[1]", Box::new(|it| spec(it).crons.push("* *".into())));
    add("schedule.spec: has 101 ", Box::new(|it| spec(it).crons = vec!["@daily".into(); 101]));
    add("schedule.spec.time_zone: ", Box::new(|it| spec(it).time_zone = "Moon/Sea".into()));
    add("schedule.spec.intervals[0].every: ", Box::new(move |it| spec(it).intervals = interval(0, 0)));
    add("schedule.spec.intervals[0].offset: ", Box::new(move |it| spec(it).intervals = interval(60, 60)));
    add("schedule.spec.calendars[0].hour", Box::new(move |it| spec(it).calendars = calendar(range(24, 0, 0))));
    add("schedule.spec.calendars[0].hour", Box::new(move |it| spec(it).calendars = calendar(range(9, 8, 0))));
    add("schedule.spec.excluded[0].hour", Box::new(move |it| spec(it).excluded = calendar(range(24, 0, 0))));
    add("schedule.spec.jitter: ", Box::new(|it| spec(it).jitter = seconds(-1)));
    add("schedule.policies.overlap: ", Box::new(|it| policies(it).overlap = 99));
    add("schedule.policies.catch_up_window: ", Box::new(|it| policies(it).catch_up_window = seconds(1)));
    add("schedule.start: must be set", Box::new(|it| it.start = None));
    add("schedule.start.workflow_id: must not be empty", Box::new(|it| start(it).workflow_id.clear()));
    add(
        &format!("schedule.start.workflow_id: {TOO_LONG_FOR_TIMES}"),
        Box::new(|it| start(it).workflow_id = "x".repeat(961)),
    );
    add("schedule.start.workflow_type: must not be empty", Box::new(|it| start(it).workflow_type.clear()));
    add(&format!("schedule.start.task_queue: {TOO_LONG}"), Box::new(|it| start(it).task_queue = long()));
    add("schedule.start.input: is 2097153 bytes", Box::new(|it| start(it).input = vec![large()]));
    add("schedule.start.run_timeout: ", Box::new(|it| start(it).run_timeout = seconds(-1)));
    add("schedule.start.namespace: must be left empty", Box::new(|it| start(it).namespace = "shop".into()));
    add("schedule.start.request_id: must be left empty", Box::new(|it| start(it).request_id = "mine".into()));
    add("schedule.start.wait: must be left empty", Box::new(|it| start(it).wait = seconds(1)));
    add("schedule.start.cron: must be left empty", Box::new(|it| start(it).cron = Some(v1::Cron::default())));
    add("schedule.start.last_result: must be left empty", Box::new(|it| start(it).last_result = Some(large())));
    add("schedule.start.id_reuse_policy: must be left empty", Box::new(|it| start(it).id_reuse_policy = 1));
    add("schedule.start.id_conflict_policy: must be left empty", Box::new(|it| start(it).id_conflict_policy = 1));
    let unknown = v1::SearchValue { value: Some(v1::search_value::Value::Int(1)) };
    add(
        "schedule.start.search_attributes: Totl is not registered",
        Box::new(|it| start(it).search_attributes = [("Totl".to_owned(), unknown)].into()),
    );
    all
}

fn definitions(world: &World, cases: &mut Vec<Case>) {
    let client = world.schedules();
    let with = |change: fn(&mut v1::CreateScheduleRequest)| {
        let mut request = schedule("new");
        change(&mut request);
        request
    };
    refused!(cases, client, "ScheduleService.CreateSchedule", create_schedule, [
        with(|it| it.namespace.clear()) => InvalidArgument, "namespace: must not be empty";
        with(|it| it.namespace = "nowhere".into()) => NotFound, "namespace \"nowhere\" not found";
        with(|it| it.schedule_id.clear()) => InvalidArgument, "schedule_id: must not be empty";
        with(|it| it.schedule_id = "x".repeat(961)) => InvalidArgument, format!("schedule_id: {TOO_LONG_FOR_TIMES}");
        with(|it| it.schedule = None) => InvalidArgument, "schedule: must be set";
        with(|it| it.note = long()) => InvalidArgument, format!("note: {TOO_LONG}");
        with(|it| it.request_id = long()) => InvalidArgument, format!("request_id: {TOO_LONG}");
        schedule("nightly") => AlreadyExists, "schedule \"nightly\" already exists";
    ]);
    let update = |change: fn(&mut v1::UpdateScheduleRequest)| {
        let mut request = v1::UpdateScheduleRequest {
            namespace: namespace(),
            schedule_id: "nightly".into(),
            schedule: schedule("nightly").schedule,
            limit: None,
            version: 0,
        };
        change(&mut request);
        request
    };
    refused!(cases, client, "ScheduleService.UpdateSchedule", update_schedule, [
        update(|it| it.namespace = "nowhere".into()) => NotFound, "namespace \"nowhere\" not found";
        update(|it| it.schedule_id.clear()) => InvalidArgument, "schedule_id: must not be empty";
        update(|it| it.schedule_id = "other".into()) => NotFound, "schedule \"other\" not found";
        update(|it| it.schedule = None) => InvalidArgument, "schedule: must be set";
        update(|it| it.version = 7) => Aborted, "";
    ]);
    for (change, message) in impossible() {
        let mut create = schedule("new");
        change(create.schedule.get_or_insert_default());
        refused!(cases, client, "ScheduleService.CreateSchedule", create_schedule, [create => InvalidArgument, message;]);
    }
    for (change, message) in impossible() {
        let mut update = update(|_| {});
        change(update.schedule.get_or_insert_default());
        refused!(cases, client, "ScheduleService.UpdateSchedule", update_schedule, [update => InvalidArgument, message;]);
    }
}

fn changes(world: &World, cases: &mut Vec<Case>) {
    let client = world.schedules();
    let patch = |patch: Option<Patch>| v1::PatchScheduleRequest {
        namespace: namespace(),
        schedule_id: "nightly".into(),
        request_id: String::new(),
        patch,
    };
    let pause = || patch(Some(Patch::Pause(v1::PauseSchedule::default())));
    let backfill = |from: Option<i64>, until: Option<i64>| {
        let instant = |seconds: Option<i64>| seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
        patch(Some(Patch::Backfill(v1::BackfillSchedule { from: instant(from), until: instant(until), overlap: 0 })))
    };
    let future = Some(6_000_000_000);
    refused!(cases, client, "ScheduleService.PatchSchedule", patch_schedule, [
        v1::PatchScheduleRequest { namespace: "nowhere".into(), ..pause() } => NotFound, "namespace \"nowhere\" not found";
        v1::PatchScheduleRequest { schedule_id: String::new(), ..pause() } => InvalidArgument, "schedule_id: must not be empty";
        v1::PatchScheduleRequest { schedule_id: "other".into(), ..pause() } => NotFound, "schedule \"other\" not found";
        v1::PatchScheduleRequest { request_id: long(), ..pause() } => InvalidArgument, format!("request_id: {TOO_LONG}");
        patch(None) => InvalidArgument, "patch: must be set";
        patch(Some(Patch::Pause(v1::PauseSchedule { note: long() }))) => InvalidArgument, format!("note: {TOO_LONG}");
        patch(Some(Patch::Unpause(v1::UnpauseSchedule { note: long() }))) => InvalidArgument, format!("note: {TOO_LONG}");
        patch(Some(Patch::Trigger(v1::TriggerSchedule { overlap: 77 }))) => InvalidArgument, "trigger.overlap: ";
        backfill(None, Some(0)) => InvalidArgument, "backfill.from: must be set";
        backfill(Some(0), None) => InvalidArgument, "backfill.until: must be set";
        backfill(Some(0), future) => InvalidArgument, "backfill.until: ";
        backfill(Some(60), Some(0)) => InvalidArgument, "backfill.";
    ]);
    let delete = |namespace: &str, schedule_id: &str| v1::DeleteScheduleRequest {
        namespace: namespace.into(),
        schedule_id: schedule_id.into(),
    };
    refused!(cases, client, "ScheduleService.DeleteSchedule", delete_schedule, [
        delete("nowhere", "nightly") => NotFound, "namespace \"nowhere\" not found";
        delete("default", "") => InvalidArgument, "schedule_id: must not be empty";
        delete("default", &"x".repeat(961)) => InvalidArgument, format!("schedule_id: {TOO_LONG_FOR_TIMES}");
    ]);
}

fn looks(world: &World, cases: &mut Vec<Case>) {
    let client = world.schedules();
    let describe = |namespace: &str, schedule_id: &str| v1::DescribeScheduleRequest {
        namespace: namespace.into(),
        schedule_id: schedule_id.into(),
    };
    refused!(cases, client, "ScheduleService.DescribeSchedule", describe_schedule, [
        describe("nowhere", "nightly") => NotFound, "namespace \"nowhere\" not found";
        describe("default", "") => InvalidArgument, "schedule_id: must not be empty";
        describe("default", "other") => NotFound, "schedule \"other\" not found";
    ]);
    let list = || v1::ListSchedulesRequest { namespace: namespace(), ..Default::default() };
    refused!(cases, client, "ScheduleService.ListSchedules", list_schedules, [
        v1::ListSchedulesRequest { namespace: String::new(), ..list() } => InvalidArgument, "namespace: must not be empty";
        v1::ListSchedulesRequest { namespace: "nowhere".into(), ..list() } => NotFound, "namespace \"nowhere\" not found";
        v1::ListSchedulesRequest { page_size: 1001, ..list() } => InvalidArgument, "page_size: is 1001; the limit is 1000";
        v1::ListSchedulesRequest { page_token: b"\xff".to_vec(), ..list() } => InvalidArgument, "page_token: is not a token of this call";
        v1::ListSchedulesRequest { page_token: b"a\x00b".to_vec(), ..list() } => InvalidArgument, "page_token: is not a token of this call";
    ]);
    let times =
        || v1::ListScheduleTimesRequest { namespace: namespace(), schedule_id: "nightly".into(), ..Default::default() };
    let no_instant = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
    refused!(cases, client, "ScheduleService.ListScheduleTimes", list_schedule_times, [
        v1::ListScheduleTimesRequest { namespace: "nowhere".into(), ..times() } => NotFound, "namespace \"nowhere\" not found";
        v1::ListScheduleTimesRequest { schedule_id: String::new(), ..times() } => InvalidArgument, "schedule_id: must not be empty";
        v1::ListScheduleTimesRequest { schedule_id: "other".into(), ..times() } => NotFound, "schedule \"other\" not found";
        v1::ListScheduleTimesRequest { limit: 1001, ..times() } => InvalidArgument, "limit: is 1001; the limit is 1000";
        v1::ListScheduleTimesRequest { after: no_instant, ..times() } => InvalidArgument, "after: ";
        v1::ListScheduleTimesRequest { until: no_instant, ..times() } => InvalidArgument, "until: ";
    ]);
}
