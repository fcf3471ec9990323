//! `ActivityService`.

use engine_proto::v1;

use crate::cases::{Case, TOO_LONG, large, long, refused, seconds};
use crate::world::{World, activity};

/// The cases that each call about an activity has: `$good` names `letter`.
macro_rules! about_activities {
    ($cases:expr, $client:expr, $call:literal, $method:ident, $good:expr) => {{
        let with = |namespace: &str, activity_id: &str, run_id: &str| {
            let mut request = $good;
            request.namespace = namespace.to_owned();
            request.activity_id = activity_id.to_owned();
            request.run_id = run_id.to_owned();
            request
        };
        let unknown = "018f0000-0000-7000-8000-000000000001";
        refused!($cases, $client, $call, $method, [
            with("", "letter", "") => InvalidArgument, "namespace: must not be empty";
            with("nowhere", "letter", "") => NotFound, "namespace \"nowhere\" not found";
            with("default", "", "") => InvalidArgument, "activity_id: must not be empty";
            with("default", &long(), "") => InvalidArgument, format!("activity_id: {TOO_LONG}");
            with("default", "a\u{0}b", "") => InvalidArgument, "activity_id: contains a control character at byte 1";
            with("default", "letter", "7") => InvalidArgument, "run_id: ";
            with("default", "nobody", "") => NotFound, "activity \"nobody\" not found";
            with("default", "letter", unknown) => NotFound, format!("run {unknown:?} not found");
        ]);
    }};
}

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    starts(world, &mut cases);
    about_one(world, &mut cases);
    about_many(world, &mut cases);
    cases
}

fn namespace() -> String {
    "default".to_owned()
}

fn with(change: impl FnOnce(&mut v1::StartActivityRequest)) -> v1::StartActivityRequest {
    let mut request = activity("new");
    change(&mut request);
    request
}

fn starts(world: &World, cases: &mut Vec<Case>) {
    use v1::search_value::Value;
    let client = world.activities();
    let timeouts = |change: fn(&mut v1::ActivityTimeouts)| {
        let mut timeouts = v1::ActivityTimeouts { start_to_close: seconds(60), ..Default::default() };
        change(&mut timeouts);
        Some(timeouts)
    };
    let attribute = |name: &str, value| [(name.to_owned(), v1::SearchValue { value: Some(value) })].into();
    refused!(cases, client, "ActivityService.StartActivity", start_activity, [
        with(|it| it.namespace.clear()) => InvalidArgument, "namespace: must not be empty";
        with(|it| it.namespace = "nowhere".into()) => NotFound, "namespace \"nowhere\" not found";
        with(|it| it.activity_id.clear()) => InvalidArgument, "activity_id: must not be empty";
        with(|it| it.activity_id = long()) => InvalidArgument, format!("activity_id: {TOO_LONG}");
        with(|it| it.activity_type.clear()) => InvalidArgument, "activity_type: must not be empty";
        with(|it| it.activity_type = long()) => InvalidArgument, format!("activity_type: {TOO_LONG}");
        with(|it| it.task_queue.clear()) => InvalidArgument, "task_queue: must not be empty";
        with(|it| it.request_id = long()) => InvalidArgument, format!("request_id: {TOO_LONG}");
        with(|it| it.identity = long()) => InvalidArgument, format!("identity: {TOO_LONG}");
        with(|it| it.input = vec![large()]) => InvalidArgument, "input: is 2097153 bytes; the limit is 2097152 bytes";
        with(|it| it.memo = [("a".to_owned(), large())].into()) => InvalidArgument, "memo: is 2097154 bytes; the limit is 2097152 bytes";
        with(|it| it.timeouts = None) => InvalidArgument, "start_to_close: ";
        with(|it| it.timeouts = timeouts(|it| it.start_to_close = seconds(-1))) => InvalidArgument, "timeouts.start_to_close: ";
        with(|it| it.timeouts = timeouts(|it| it.heartbeat = seconds(200 * 366 * 24 * 3600))) => InvalidArgument, "heartbeat: ";
        with(|it| it.retry_policy = Some(v1::RetryPolicy { backoff_coefficient: 0.5, ..Default::default() })) => InvalidArgument,
            "retry_policy.backoff_coefficient: ";
        with(|it| it.summary = "x".repeat(401)) => InvalidArgument, "summary: is 401 bytes long; the limit is 400 bytes";
        with(|it| it.details = "x".repeat(20_001)) => InvalidArgument, "details: is 20001 bytes long; the limit is 20000 bytes";
        with(|it| it.start_delay = seconds(-1)) => InvalidArgument, "start_delay: ";
        with(|it| it.wait = seconds(61)) => InvalidArgument, "wait: is 61 s; the limit is 60 s";
        with(|it| it.id_reuse_policy = 99) => InvalidArgument, "id_reuse_policy: 99 is not a policy";
        with(|it| it.id_conflict_policy = 99) => InvalidArgument, "id_conflict_policy: 99 is not a policy";
        with(|it| it.search_attributes = attribute("Totl", Value::Int(1))) => InvalidArgument, "search_attributes: Totl is not registered";
        with(|it| it.search_attributes = attribute("Total", Value::Bool(true))) => InvalidArgument, "search_attributes: Total is registered as Int";
        activity("letter") => AlreadyExists, "activity \"letter\" is already running";
    ]);
    refused!(cases, client, "ActivityService.StartActivities", start_activities, [
        v1::StartActivitiesRequest { starts: vec![activity("new"); 1001] } => InvalidArgument, "starts: has 1001 starts; the limit is 1000 in one call";
    ]);
}

fn about_one(world: &World, cases: &mut Vec<Case>) {
    let client = world.activities();
    let describe =
        || v1::DescribeActivityRequest { namespace: namespace(), activity_id: "letter".into(), ..Default::default() };
    about_activities!(cases, client, "ActivityService.DescribeActivity", describe_activity, describe());
    let result =
        || v1::GetActivityResultRequest { namespace: namespace(), activity_id: "letter".into(), ..Default::default() };
    about_activities!(cases, client, "ActivityService.GetActivityResult", get_activity_result, result());
    refused!(cases, client, "ActivityService.GetActivityResult", get_activity_result, [
        v1::GetActivityResultRequest { wait: seconds(61), ..result() } => InvalidArgument, "wait: is 61 s; the limit is 60 s";
    ]);
    let cancel =
        || v1::CancelActivityRequest { namespace: namespace(), activity_id: "letter".into(), ..Default::default() };
    about_activities!(cases, client, "ActivityService.CancelActivity", cancel_activity, cancel());
    refused!(cases, client, "ActivityService.CancelActivity", cancel_activity, [
        v1::CancelActivityRequest { reason: long(), ..cancel() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::CancelActivityRequest { identity: long(), ..cancel() } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
    let terminate =
        || v1::TerminateActivityRequest { namespace: namespace(), activity_id: "letter".into(), ..Default::default() };
    about_activities!(cases, client, "ActivityService.TerminateActivity", terminate_activity, terminate());
    refused!(cases, client, "ActivityService.TerminateActivity", terminate_activity, [
        v1::TerminateActivityRequest { reason: long(), ..terminate() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::TerminateActivityRequest { identity: long(), ..terminate() } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
    let again =
        || v1::RunActivityAgainRequest { namespace: namespace(), activity_id: "letter".into(), ..Default::default() };
    about_activities!(cases, client, "ActivityService.RunActivityAgain", run_activity_again, again());
    refused!(cases, client, "ActivityService.RunActivityAgain", run_activity_again, [
        again() => FailedPrecondition, "activity \"letter\" has not ended";
        v1::RunActivityAgainRequest { identity: long(), ..again() } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
}

fn about_many(world: &World, cases: &mut Vec<Case>) {
    let client = world.activities();
    let list = || v1::ListActivitiesRequest { namespace: namespace(), ..Default::default() };
    refused!(cases, client, "ActivityService.ListActivities", list_activities, [
        v1::ListActivitiesRequest { namespace: String::new(), ..list() } => InvalidArgument, "namespace: must not be empty";
        v1::ListActivitiesRequest { namespace: "nowhere".into(), ..list() } => NotFound, "namespace \"nowhere\" not found";
        v1::ListActivitiesRequest { query: "WorkflowId = 'w'".into(), ..list() } => InvalidArgument, "query: ";
        v1::ListActivitiesRequest { page_size: 1001, ..list() } => InvalidArgument, "page_size: is 1001; the limit is 1000";
        v1::ListActivitiesRequest { page_token: b"forged".to_vec(), ..list() } => InvalidArgument, "page_token: is not a token of this query";
    ]);
    let count = |query: &str| v1::CountActivitiesRequest { namespace: namespace(), query: query.into() };
    refused!(cases, client, "ActivityService.CountActivities", count_activities, [
        v1::CountActivitiesRequest { namespace: "nowhere".into(), ..count("") } => NotFound, "namespace \"nowhere\" not found";
        count("Status = 'Blue'") => InvalidArgument, "query: ";
    ]);
    let again = || v1::RunActivitiesAgainRequest { namespace: namespace(), ..Default::default() };
    refused!(cases, client, "ActivityService.RunActivitiesAgain", run_activities_again, [
        v1::RunActivitiesAgainRequest { namespace: "nowhere".into(), ..again() } => NotFound, "namespace \"nowhere\" not found";
        v1::RunActivitiesAgainRequest { query: "Status".into(), ..again() } => InvalidArgument, "query: ";
        v1::RunActivitiesAgainRequest { limit: 1_000_001, ..again() } => InvalidArgument, "limit: is 1000001; the limit is 1000000";
        v1::RunActivitiesAgainRequest { identity: long(), ..again() } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
}
