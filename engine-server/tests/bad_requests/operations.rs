//! `OperationService`.

use engine_proto::v1;

use crate::cases::{Case, TOO_LONG, about_runs, large, long, refused, seconds};
use crate::support::execution;
use crate::world::World;

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    on_runs(world, &mut cases);
    on_activities(world, &mut cases);
    cases
}

fn namespace() -> String {
    "default".to_owned()
}

fn on_runs(world: &World, cases: &mut Vec<Case>) {
    let client = world.operations();
    let delete = || v1::DeleteWorkflowRequest { namespace: namespace(), execution: execution("w") };
    about_runs!(cases, client, "OperationService.DeleteWorkflow", delete_workflow, delete());
    refused!(cases, client, "OperationService.DeleteWorkflow", delete_workflow, [
        delete() => FailedPrecondition, "run ";
    ]);
    let pause = || v1::PauseWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "OperationService.PauseWorkflow", pause_workflow, pause());
    refused!(cases, client, "OperationService.PauseWorkflow", pause_workflow, [
        v1::PauseWorkflowRequest { reason: long(), ..pause() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::PauseWorkflowRequest { identity: long(), ..pause() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::PauseWorkflowRequest { request_id: long(), ..pause() } => InvalidArgument, format!("request_id: {TOO_LONG}");
    ]);
    let resume =
        || v1::ResumeWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "OperationService.ResumeWorkflow", resume_workflow, resume());
    refused!(cases, client, "OperationService.ResumeWorkflow", resume_workflow, [
        v1::ResumeWorkflowRequest { reason: long(), ..resume() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::ResumeWorkflowRequest { identity: long(), ..resume() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::ResumeWorkflowRequest { request_id: long(), ..resume() } => InvalidArgument, format!("request_id: {TOO_LONG}");
    ]);
    let go_to = || v1::MoveWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "OperationService.MoveWorkflow", move_workflow, go_to());
    refused!(cases, client, "OperationService.MoveWorkflow", move_workflow, [
        v1::MoveWorkflowRequest { versioning_override: Some(v1::VersioningOverride::default()), ..go_to() } => InvalidArgument,
            "versioning_override.behavior: must be PINNED or AUTO_UPGRADE";
        v1::MoveWorkflowRequest { reason: long(), ..go_to() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::MoveWorkflowRequest { identity: long(), ..go_to() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::MoveWorkflowRequest { request_id: long(), ..go_to() } => InvalidArgument, format!("request_id: {TOO_LONG}");
    ]);
    let reset = || v1::ResetWorkflowRequest {
        namespace: namespace(),
        execution: execution("w"),
        point: v1::ResetPoint::FirstWorkflowTask.into(),
        ..Default::default()
    };
    about_runs!(cases, client, "OperationService.ResetWorkflow", reset_workflow, reset());
    let event = |event_id| v1::ResetWorkflowRequest { point: v1::ResetPoint::WorkflowTask.into(), event_id, ..reset() };
    refused!(cases, client, "OperationService.ResetWorkflow", reset_workflow, [
        v1::ResetWorkflowRequest { point: 0, ..reset() } => InvalidArgument, "point: must be set";
        v1::ResetWorkflowRequest { point: 99, ..reset() } => InvalidArgument, "point: must be set";
        v1::ResetWorkflowRequest { event_id: 3, ..reset() } => InvalidArgument, "event_id: is for the point WORKFLOW_TASK only";
        event(1) => InvalidArgument, "point: event 1 is not the start or the end of a workflow task";
        event(99) => InvalidArgument, "point: ";
        v1::ResetWorkflowRequest { reason: long(), ..reset() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::ResetWorkflowRequest { identity: long(), ..reset() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::ResetWorkflowRequest { request_id: long(), ..reset() } => InvalidArgument, format!("request_id: {TOO_LONG}");
    ]);
    let repair =
        || v1::RepairWorkflowRequest { namespace: namespace(), execution: execution("w"), ..Default::default() };
    about_runs!(cases, client, "OperationService.RepairWorkflow", repair_workflow, repair());
    refused!(cases, client, "OperationService.RepairWorkflow", repair_workflow, [
        repair() => InvalidArgument, "point: no activity has failed in this run";
        v1::RepairWorkflowRequest { activity_id: long(), ..repair() } => InvalidArgument, format!("activity_id: {TOO_LONG}");
        v1::RepairWorkflowRequest { result: Some(large()), ..repair() } => InvalidArgument, "result: is 2097153 bytes";
        v1::RepairWorkflowRequest { reason: long(), ..repair() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::RepairWorkflowRequest { identity: long(), ..repair() } => InvalidArgument, format!("identity: {TOO_LONG}");
        v1::RepairWorkflowRequest { request_id: long(), ..repair() } => InvalidArgument, format!("request_id: {TOO_LONG}");
    ]);
}

/// The cases that each call about an open activity has: `$good` names `a` of the run `w`.
macro_rules! about_open_activities {
    ($cases:expr, $client:expr, $call:literal, $method:ident, $good:expr) => {{
        let with = |namespace: &str, workflow_id: Option<&str>, activity_id: &str| {
            let mut request = $good;
            request.namespace = namespace.to_owned();
            request.execution = workflow_id.and_then(execution);
            request.activity_id = activity_id.to_owned();
            request
        };
        let long = long();
        refused!($cases, $client, $call, $method, [
            with("", Some("w"), "a") => InvalidArgument, "namespace: must not be empty";
            with("nowhere", Some("w"), "a") => NotFound, "namespace \"nowhere\" not found";
            with("default", Some(""), "a") => InvalidArgument, "execution.workflow_id: must not be empty";
            with("default", Some("nobody"), "a") => NotFound, "workflow \"nobody\" not found";
            with("default", Some("w"), "") => InvalidArgument, "activity_id: must not be empty";
            with("default", Some("w"), &long) => InvalidArgument, format!("activity_id: {TOO_LONG}");
            with("default", Some("w"), "b") => NotFound, "no open activity with id \"b\"";
            // Without a run it is an activity that stands alone.
            with("default", None, "a") => NotFound, "activity \"a\" not found";
        ]);
    }};
}

fn on_activities(world: &World, cases: &mut Vec<Case>) {
    let client = world.operations();
    let activity_id = || "a".to_owned();
    let pause = || v1::PauseActivityRequest {
        namespace: namespace(),
        execution: execution("w"),
        activity_id: activity_id(),
        ..Default::default()
    };
    about_open_activities!(cases, client, "OperationService.PauseActivity", pause_activity, pause());
    refused!(cases, client, "OperationService.PauseActivity", pause_activity, [
        v1::PauseActivityRequest { reason: long(), ..pause() } => InvalidArgument, format!("reason: {TOO_LONG}");
        v1::PauseActivityRequest { identity: long(), ..pause() } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
    let unpause = || v1::UnpauseActivityRequest {
        namespace: namespace(),
        execution: execution("w"),
        activity_id: activity_id(),
        reset_attempts: true,
    };
    about_open_activities!(cases, client, "OperationService.UnpauseActivity", unpause_activity, unpause());
    let reset = || v1::ResetActivityRequest {
        namespace: namespace(),
        execution: execution("w"),
        activity_id: activity_id(),
        ..Default::default()
    };
    about_open_activities!(cases, client, "OperationService.ResetActivity", reset_activity, reset());
    let options = || v1::UpdateActivityOptionsRequest {
        namespace: namespace(),
        execution: execution("w"),
        activity_id: activity_id(),
        ..Default::default()
    };
    about_open_activities!(cases, client, "OperationService.UpdateActivityOptions", update_activity_options, options());
    let timeouts = |start_to_close| Some(v1::ActivityTimeouts { start_to_close, ..Default::default() });
    let policy = |backoff_coefficient| Some(v1::RetryPolicy { backoff_coefficient, ..Default::default() });
    refused!(cases, client, "OperationService.UpdateActivityOptions", update_activity_options, [
        v1::UpdateActivityOptionsRequest { task_queue: long(), ..options() } => InvalidArgument, format!("task_queue: {TOO_LONG}");
        v1::UpdateActivityOptionsRequest { timeouts: timeouts(seconds(-1)), ..options() } => InvalidArgument, "timeouts.start_to_close: ";
        v1::UpdateActivityOptionsRequest { timeouts: timeouts(seconds(200 * 366 * 24 * 3600)), ..options() } => InvalidArgument, "start_to_close: ";
        v1::UpdateActivityOptionsRequest { retry_policy: policy(0.5), ..options() } => InvalidArgument, "retry_policy.backoff_coefficient: ";
    ]);
}
