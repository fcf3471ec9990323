//! `WorkflowService`.

use engine_proto::v1;

use crate::cases::{Case, TOO_LONG, about_runs, large, long, refused, seconds};
use crate::support::{execution, start_request};
use crate::world::World;

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    starts(world, &mut cases);
    messages(world, &mut cases);
    updates(world, &mut cases);
    ends(world, &mut cases);
    looks(world, &mut cases);
    lists(world, &mut cases);
    cases
}

fn namespace() -> String {
    "default".to_owned()
}

fn with(change: impl FnOnce(&mut v1::StartWorkflowRequest)) -> v1::StartWorkflowRequest {
    let mut request = start_request("new");
    change(&mut request);
    request
}

fn attribute(name: &str, value: v1::search_value::Value) -> (String, v1::SearchValue) {
    (name.to_owned(), v1::SearchValue { value: Some(value) })
}

fn starts(world: &World, cases: &mut Vec<Case>) {
    use v1::search_value::Value;
    let client = world.workflows();
    let century = seconds(200 * 366 * 24 * 3600);
    let cron = |expression: &str, time_zone: &str| {
        Some(v1::Cron { expression: expression.into(), time_zone: time_zone.into() })
    };
    let retry = |change: fn(&mut v1::RetryPolicy)| {
        let mut policy = v1::RetryPolicy { backoff_coefficient: 2.0, ..Default::default() };
        change(&mut policy);
        Some(policy)
    };
    refused!(cases, client, "WorkflowService.StartWorkflow", start_workflow, [
        with(|it| it.namespace.clear()) => InvalidArgument, "namespace: must not be empty";
        with(|it| it.namespace = "nowhere".into()) => NotFound, "namespace \"nowhere\" not found";
        with(|it| it.workflow_id.clear()) => InvalidArgument, "workflow_id: must not be empty";
        with(|it| it.workflow_id = long()) => InvalidArgument, format!("workflow_id: {TOO_LONG}");
        with(|it| it.workflow_id = "a\u{0}b".into()) => InvalidArgument, "workflow_id: contains a control character at byte 1";
        with(|it| it.workflow_type.clear()) => InvalidArgument, "workflow_type: must not be empty";
        with(|it| it.workflow_type = long()) => InvalidArgument, format!("workflow_type: {TOO_LONG}");
        with(|it| it.task_queue.clear()) => InvalidArgument, "task_queue: must not be empty";
        with(|it| it.task_queue = long()) => InvalidArgument, format!("task_queue: {TOO_LONG}");
        with(|it| it.request_id = long()) => InvalidArgument, format!("request_id: {TOO_LONG}");
        with(|it| it.identity = long()) => InvalidArgument, format!("identity: {TOO_LONG}");
        with(|it| it.input = vec![large()]) => InvalidArgument, "input: is 2097153 bytes; the limit is 2097152 bytes";
        with(|it| it.memo = [("a".to_owned(), large())].into()) => InvalidArgument, "memo: is 2097154 bytes; the limit is 2097152 bytes";
        with(|it| it.last_result = Some(large())) => InvalidArgument, "last_result: is 2097153 bytes; the limit is 2097152 bytes";
        with(|it| it.summary = "x".repeat(401)) => InvalidArgument, "summary: is 401 bytes long; the limit is 400 bytes";
        with(|it| it.details = "x".repeat(20_001)) => InvalidArgument, "details: is 20001 bytes long; the limit is 20000 bytes";
        with(|it| it.run_timeout = seconds(-1)) => InvalidArgument, "run_timeout: ";
        with(|it| it.execution_timeout = century) => InvalidArgument, "execution_timeout: ";
        with(|it| it.task_timeout = seconds(121)) => InvalidArgument, "task_timeout: ";
        with(|it| it.start_delay = century) => InvalidArgument, "start_delay: ";
        with(|it| it.wait = seconds(61)) => InvalidArgument, "wait: is 61 s; the limit is 60 s";
        with(|it| it.wait = seconds(-1)) => InvalidArgument, "wait: ";
        with(|it| it.retry_policy = retry(|it| it.backoff_coefficient = 0.5)) => InvalidArgument, "retry_policy.backoff_coefficient: ";
        with(|it| it.retry_policy = retry(|it| it.initial_interval = seconds(-1))) => InvalidArgument, "retry_policy.initial_interval: ";
        with(|it| it.id_reuse_policy = 99) => InvalidArgument, "id_reuse_policy: 99 is not a policy";
        with(|it| it.id_conflict_policy = 99) => InvalidArgument, "id_conflict_policy: 99 is not a policy";
        with(|it| it.cron = cron("61 * * * *", "")) => InvalidArgument, "cron";
        with(|it| it.cron = cron("* * *", "")) => InvalidArgument, "cron";
        with(|it| it.cron = cron("@daily", "Moon/Sea")) => InvalidArgument, "cron";
        with(|it| (it.cron, it.start_delay) = (cron("@daily", ""), seconds(1))) => InvalidArgument, "start_delay: cannot go with a cron";
        with(|it| it.search_attributes = [attribute("Totl", Value::Int(1))].into()) => InvalidArgument, "search_attributes: Totl is not registered";
        with(|it| it.search_attributes = [attribute("Total", Value::Bool(true))].into()) => InvalidArgument,
            "search_attributes: Total is registered as Int, and the value is of type Bool";
        with(|it| it.search_attributes = [attribute("Region", Value::Keyword(long()))].into()) => InvalidArgument,
            "search_attributes: Region: a keyword is 1001 bytes long; the limit is 1000 bytes";
        with(|it| it.search_attributes = [("Total".to_owned(), v1::SearchValue::default())].into()) => InvalidArgument, "search_attributes";
        with(|it| it.versioning_override = Some(v1::VersioningOverride::default())) => InvalidArgument,
            "versioning_override.behavior: must be PINNED or AUTO_UPGRADE";
        start_request("w") => AlreadyExists, "workflow \"w\" is already running";
    ]);
    let many = |count| v1::StartWorkflowsRequest { starts: vec![start_request("new"); count] };
    refused!(cases, client, "WorkflowService.StartWorkflows", start_workflows, [
        many(1001) => InvalidArgument, "starts: has 1001 starts; the limit is 1000 in one call";
    ]);
    // Each start of many is refused by itself.
    for (start, message) in [
        (with(|it| it.workflow_id.clear()), "workflow_id: must not be empty"),
        (with(|it| it.wait = seconds(1)), "wait: cannot be set in a call of many starts"),
    ] {
        let mut client = client.clone();
        let send = async move {
            let many = v1::StartWorkflowsRequest { starts: vec![start] };
            let outcomes = client.start_workflows(many).await?.into_inner().outcomes;
            match outcomes.into_iter().next().and_then(|outcome| outcome.outcome) {
                Some(v1::start_workflow_outcome::Outcome::Refused(refusal)) => {
                    let status =
                        tonic::Status::with_details(refusal.code.into(), refusal.message, refusal.status.into());
                    Err(status)
                }
                other => Ok(other),
            }
        };
        cases.push(Case::new("WorkflowService.StartWorkflows", send, tonic::Code::InvalidArgument, message));
    }
}

fn messages(world: &World, cases: &mut Vec<Case>) {
    let client = world.workflows();
    let good = || v1::SignalWorkflowRequest {
        namespace: namespace(),
        execution: execution("w"),
        signal_name: "go".into(),
        ..Default::default()
    };
    about_runs!(cases, client, "WorkflowService.SignalWorkflow", signal_workflow, good());
    refused!(cases, client, "WorkflowService.SignalWorkflow", signal_workflow, [
        v1::SignalWorkflowRequest { signal_name: String::new(), ..good() } => InvalidArgument, "signal_name: must not be empty";
        v1::SignalWorkflowRequest { signal_name: long(), ..good() } => InvalidArgument, format!("signal_name: {TOO_LONG}");
        v1::SignalWorkflowRequest { input: vec![large()], ..good() } => InvalidArgument, "input: is 2097153 bytes; the limit is 2097152 bytes";
        v1::SignalWorkflowRequest { request_id: long(), ..good() } => InvalidArgument, format!("request_id: {TOO_LONG}");
        v1::SignalWorkflowRequest { identity: long(), ..good() } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
    let with_start = |start: Option<v1::StartWorkflowRequest>, signal_name: &str| v1::SignalWithStartRequest {
        start,
        signal_name: signal_name.into(),
        input: Vec::new(),
    };
    refused!(cases, client, "WorkflowService.SignalWithStart", signal_with_start, [
        with_start(None, "go") => InvalidArgument, "start: must be set";
        with_start(Some(start_request("w")), "") => InvalidArgument, "signal_name: must not be empty";
        with_start(Some(start_request("w")), &long()) => InvalidArgument, format!("signal_name: {TOO_LONG}");
        v1::SignalWithStartRequest { input: vec![large()], ..with_start(Some(start_request("w")), "go") } => InvalidArgument, "input: is 2097153 bytes";
        with_start(Some(with(|it| it.workflow_id.clear())), "go") => InvalidArgument, "start.workflow_id: must not be empty";
        with_start(Some(with(|it| it.namespace = "nowhere".into())), "go") => NotFound, "namespace \"nowhere\" not found";
    ]);
}

fn updates(world: &World, cases: &mut Vec<Case>) {
    let client = world.workflows();
    let update = || v1::UpdateRequest { update_id: "u".into(), update_name: "deposit".into(), ..Default::default() };
    let of = |change: fn(&mut v1::UpdateRequest)| {
        let mut update = update();
        change(&mut update);
        Some(update)
    };
    let good = || v1::UpdateWorkflowRequest {
        namespace: namespace(),
        execution: execution("w"),
        update: Some(update()),
        wait_stage: v1::UpdateStage::Accepted.into(),
        wait: seconds(0),
    };
    about_runs!(cases, client, "WorkflowService.UpdateWorkflow", update_workflow, good());
    refused!(cases, client, "WorkflowService.UpdateWorkflow", update_workflow, [
        v1::UpdateWorkflowRequest { update: None, ..good() } => InvalidArgument, "update: must be set";
        v1::UpdateWorkflowRequest { update: of(|it| it.update_id.clear()), ..good() } => InvalidArgument, "update.update_id: must not be empty";
        v1::UpdateWorkflowRequest { update: of(|it| it.update_id = long()), ..good() } => InvalidArgument, format!("update.update_id: {TOO_LONG}");
        v1::UpdateWorkflowRequest { update: of(|it| it.update_name.clear()), ..good() } => InvalidArgument, "update.update_name: must not be empty";
        v1::UpdateWorkflowRequest { update: of(|it| it.update_name = long()), ..good() } => InvalidArgument, format!("update.update_name: {TOO_LONG}");
        v1::UpdateWorkflowRequest { update: of(|it| it.input = vec![large()]), ..good() } => InvalidArgument, "update.input: is 2097153 bytes";
        v1::UpdateWorkflowRequest { update: of(|it| it.identity = long()), ..good() } => InvalidArgument, format!("update.identity: {TOO_LONG}");
        v1::UpdateWorkflowRequest { wait_stage: v1::UpdateStage::Admitted.into(), ..good() } => InvalidArgument, "wait_stage: ";
        v1::UpdateWorkflowRequest { wait_stage: 99, ..good() } => InvalidArgument, "wait_stage: ";
        v1::UpdateWorkflowRequest { wait: seconds(61), ..good() } => InvalidArgument, "wait: is 61 s; the limit is 60 s";
        v1::UpdateWorkflowRequest { wait: seconds(-1), ..good() } => InvalidArgument, "wait: ";
    ]);
    let poll = || v1::PollUpdateRequest {
        namespace: namespace(),
        execution: execution("w"),
        update_id: "never sent".into(),
        ..Default::default()
    };
    about_runs!(cases, client, "WorkflowService.PollUpdate", poll_update, poll());
    refused!(cases, client, "WorkflowService.PollUpdate", poll_update, [
        poll() => NotFound, "update \"never sent\" not found";
        v1::PollUpdateRequest { update_id: String::new(), ..poll() } => InvalidArgument, "update_id: must not be empty";
        v1::PollUpdateRequest { update_id: long(), ..poll() } => InvalidArgument, format!("update_id: {TOO_LONG}");
        v1::PollUpdateRequest { wait_stage: 99, ..poll() } => InvalidArgument, "wait_stage: ";
        v1::PollUpdateRequest { wait: seconds(61), ..poll() } => InvalidArgument, "wait: is 61 s; the limit is 60 s";
    ]);
    let with_start = |start: Option<v1::StartWorkflowRequest>| v1::UpdateWithStartRequest {
        start,
        update: Some(update()),
        ..Default::default()
    };
    let conflict = |policy: v1::WorkflowIdConflictPolicy| {
        let mut start = start_request("w");
        start.set_id_conflict_policy(policy);
        Some(start)
    };
    refused!(cases, client, "WorkflowService.UpdateWithStart", update_with_start, [
        with_start(None) => InvalidArgument, "start: must be set";
        with_start(Some(with(|it| it.task_queue.clear()))) => InvalidArgument, "start.task_queue: must not be empty";
        with_start(Some(with(|it| it.namespace = "nowhere".into()))) => NotFound, "namespace \"nowhere\" not found";
        with_start(conflict(v1::WorkflowIdConflictPolicy::TerminateExisting)) => InvalidArgument, "start.id_conflict_policy: TERMINATE_EXISTING cannot be";
        with_start(conflict(v1::WorkflowIdConflictPolicy::Fail)) => AlreadyExists, "workflow \"w\" is already running";
        v1::UpdateWithStartRequest { update: None, ..with_start(Some(start_request("new"))) } => InvalidArgument, "update: must be set";
        v1::UpdateWithStartRequest { update: of(|it| it.update_id.clear()), ..with_start(Some(start_request("new"))) } => InvalidArgument,
            "update.update_id: must not be empty";
        v1::UpdateWithStartRequest { wait: seconds(61), ..with_start(Some(start_request("new"))) } => InvalidArgument, "wait: is 61 s; the limit is 60 s";
    ]);
}

fn ends(world: &World, cases: &mut Vec<Case>) {
    let client = world.workflows();
    let cancel =
        || v1::CancelWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "WorkflowService.CancelWorkflow", cancel_workflow, cancel());
    refused!(cases, client, "WorkflowService.CancelWorkflow", cancel_workflow, [
        v1::CancelWorkflowRequest { reason: long(), ..cancel() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::CancelWorkflowRequest { identity: long(), ..cancel() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::CancelWorkflowRequest { request_id: long(), ..cancel() } => InvalidArgument, format!("request_id: {TOO_LONG}");
    ]);
    let terminate =
        || v1::TerminateWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "WorkflowService.TerminateWorkflow", terminate_workflow, terminate());
    refused!(cases, client, "WorkflowService.TerminateWorkflow", terminate_workflow, [
        v1::TerminateWorkflowRequest { reason: long(), ..terminate() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::TerminateWorkflowRequest { identity: long(), ..terminate() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::TerminateWorkflowRequest { details: Some(large()), ..terminate() } => InvalidArgument, "details: is 2097153 bytes";
    ]);
}

fn looks(world: &World, cases: &mut Vec<Case>) {
    let client = world.workflows();
    let describe = || v1::DescribeWorkflowRequest { namespace: namespace(), execution: execution("w") };
    about_runs!(cases, client, "WorkflowService.DescribeWorkflow", describe_workflow, describe());
    let history =
        || v1::GetWorkflowHistoryRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "WorkflowService.GetWorkflowHistory", get_workflow_history, history());
    refused!(cases, client, "WorkflowService.GetWorkflowHistory", get_workflow_history, [
        v1::GetWorkflowHistoryRequest { page_size: 10_001, ..history() } => InvalidArgument, "page_size: is 10001; the limit is 10000";
        v1::GetWorkflowHistoryRequest { page_token: b"forged".to_vec(), ..history() } => InvalidArgument, "page_token: is not a token of this call";
    ]);
    let watch = || v1::WatchWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "WorkflowService.WatchWorkflow", watch_workflow, watch());
    let result =
        || v1::GetWorkflowResultRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "WorkflowService.GetWorkflowResult", get_workflow_result, result());
    refused!(cases, client, "WorkflowService.GetWorkflowResult", get_workflow_result, [
        v1::GetWorkflowResultRequest { wait: seconds(61), ..result() } => InvalidArgument, "wait: is 61 s; the limit is 60 s";
        v1::GetWorkflowResultRequest { wait: seconds(-1), ..result() } => InvalidArgument, "wait: ";
    ]);
    let query = || v1::QueryWorkflowRequest {
        namespace: namespace(),
        execution: execution("w"),
        query_name: "status".into(),
        ..Default::default()
    };
    about_runs!(cases, client, "WorkflowService.QueryWorkflow", query_workflow, query());
    refused!(cases, client, "WorkflowService.QueryWorkflow", query_workflow, [
        v1::QueryWorkflowRequest { query_name: String::new(), ..query() } => InvalidArgument, "query_name: must not be empty";
        v1::QueryWorkflowRequest { query_name: long(), ..query() } => InvalidArgument, format!("query_name: {TOO_LONG}");
        v1::QueryWorkflowRequest { input: vec![large()], ..query() } => InvalidArgument, "input: is 2097153 bytes";
        v1::QueryWorkflowRequest { wait: seconds(61), ..query() } => InvalidArgument, "wait: is 61 s; the limit is 60 s";
    ]);
    let published =
        || v1::GetPublishedRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "WorkflowService.GetPublished", get_published, published());
    refused!(cases, client, "WorkflowService.GetPublished", get_published, [
        v1::GetPublishedRequest { name: long(), ..published() } => InvalidArgument, format!("name: {TOO_LONG}");
        v1::GetPublishedRequest { at_event_id: 99, ..published() } => InvalidArgument, "at_event_id: is 99, but the last event of the run is 5";
    ]);
}

fn lists(world: &World, cases: &mut Vec<Case>) {
    let client = world.workflows();
    let list = || v1::ListWorkflowsRequest { namespace: namespace(), ..Default::default() };
    let query = |query: &str| v1::ListWorkflowsRequest { query: query.into(), ..list() };
    refused!(cases, client, "WorkflowService.ListWorkflows", list_workflows, [
        v1::ListWorkflowsRequest { namespace: String::new(), ..list() } => InvalidArgument, "namespace: must not be empty";
        v1::ListWorkflowsRequest { namespace: "nowhere".into(), ..list() } => NotFound, "namespace \"nowhere\" not found";
        v1::ListWorkflowsRequest { page_size: 1001, ..list() } => InvalidArgument, "page_size: is 1001; the limit is 1000";
        v1::ListWorkflowsRequest { page_size: 1001, ..query("Status = 'Running'") } => InvalidArgument, "page_size: is 1001; the limit is 1000";
        v1::ListWorkflowsRequest { page_token: b"forged".to_vec(), ..list() } => InvalidArgument, "page_token: is not a token of this call";
        v1::ListWorkflowsRequest { page_token: b"forged".to_vec(), ..query("Status = 'Running'") } => InvalidArgument, "page_token: is not a token of this query";
        v1::ListWorkflowsRequest { status: 99, ..list() } => InvalidArgument, "status: ";
        v1::ListWorkflowsRequest { workflow_type: long(), ..list() } => InvalidArgument, format!("workflow_type: {TOO_LONG}");
        v1::ListWorkflowsRequest { workflow_id: "a\u{0}b".into(), ..list() } => InvalidArgument, "workflow_id: contains a control character at byte 1";
        v1::ListWorkflowsRequest { workflow_id: "w".into(), ..query("Status = 'Running'") } => InvalidArgument, "query: cannot be combined with";
        query("Colour = 'red'") => InvalidArgument, "query: ";
        query("Total = 'many'") => InvalidArgument, "query: ";
        query("WorkflowId = 'a\u{0}'") => InvalidArgument, "query: ";
        query("GROUP BY Status") => InvalidArgument, "query: ";
        query(&format!("WorkflowId = '{}'", "x".repeat(10_000))) => InvalidArgument, "query: ";
    ]);
    let count = |query: &str| v1::CountWorkflowsRequest { namespace: namespace(), query: query.into() };
    refused!(cases, client, "WorkflowService.CountWorkflows", count_workflows, [
        v1::CountWorkflowsRequest { namespace: String::new(), ..count("") } => InvalidArgument, "namespace: must not be empty";
        v1::CountWorkflowsRequest { namespace: "nowhere".into(), ..count("") } => NotFound, "namespace \"nowhere\" not found";
        count("Status =") => InvalidArgument, "query: ";
        count("GROUP BY WorkflowId") => InvalidArgument, "query: ";
    ]);
}
