//! Requests to operate runs that make no sense: each call refuses them with one sentence, by the field, and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use engine_proto::v1;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_server::Server;
use support::*;
use tonic::service::Routes;
use tonic::{Code, Status};

/// What every call has, and what most of them have.
#[derive(Clone)]
struct Asked {
    namespace: &'static str,
    execution: Option<v1::WorkflowExecution>,
    reason: String,
    identity: String,
    request_id: &'static str,
    activity_id: &'static str,
}

fn asked() -> Asked {
    let (reason, identity) = (String::new(), String::new());
    Asked { namespace: "default", execution: execution("w"), reason, identity, request_id: "", activity_id: "a" }
}

impl Asked {
    fn namespace(&self) -> String {
        self.namespace.to_owned()
    }

    fn pause(&self) -> v1::PauseWorkflowRequest {
        v1::PauseWorkflowRequest {
            namespace: self.namespace(),
            execution: self.execution.clone(),
            reason: self.reason.clone(),
            identity: self.identity.clone(),
            request_id: self.request_id.to_owned(),
        }
    }

    fn resume(&self) -> v1::ResumeWorkflowRequest {
        let v1::PauseWorkflowRequest { namespace, execution, reason, identity, request_id } = self.pause();
        v1::ResumeWorkflowRequest { namespace, execution, reason, identity, request_id }
    }

    fn reset(&self) -> v1::ResetWorkflowRequest {
        v1::ResetWorkflowRequest {
            namespace: self.namespace(),
            execution: self.execution.clone(),
            point: v1::ResetPoint::FirstWorkflowTask.into(),
            reason: self.reason.clone(),
            identity: self.identity.clone(),
            request_id: self.request_id.to_owned(),
            ..Default::default()
        }
    }

    fn repair(&self) -> v1::RepairWorkflowRequest {
        v1::RepairWorkflowRequest {
            namespace: self.namespace(),
            execution: self.execution.clone(),
            reason: self.reason.clone(),
            identity: self.identity.clone(),
            request_id: self.request_id.to_owned(),
            ..Default::default()
        }
    }

    fn pause_activity(&self) -> v1::PauseActivityRequest {
        v1::PauseActivityRequest {
            namespace: self.namespace(),
            execution: self.execution.clone(),
            activity_id: self.activity_id.to_owned(),
            reason: self.reason.clone(),
            identity: self.identity.clone(),
        }
    }

    fn options(&self) -> v1::UpdateActivityOptionsRequest {
        v1::UpdateActivityOptionsRequest {
            namespace: self.namespace(),
            execution: self.execution.clone(),
            activity_id: self.activity_id.to_owned(),
            ..Default::default()
        }
    }

    /// The refusals of the calls that are about a run.
    async fn of_runs(&self, server: &Server) -> Vec<Status> {
        let mut calls = operations(server);
        let delete = v1::DeleteWorkflowRequest { namespace: self.namespace(), execution: self.execution.clone() };
        let mut refusals = vec![calls.delete_workflow(delete).await.unwrap_err()];
        refusals.extend(self.of_reasons(server).await);
        refusals.extend(self.of_activities(server).await);
        refusals
    }

    /// The refusals of the calls on runs that have a reason.
    async fn of_reasons(&self, server: &Server) -> [Status; 5] {
        let mut calls = operations(server);
        [
            calls.pause_workflow(self.pause()).await.unwrap_err(),
            calls.resume_workflow(self.resume()).await.unwrap_err(),
            calls.reset_workflow(self.reset()).await.unwrap_err(),
            calls.repair_workflow(self.repair()).await.unwrap_err(),
            calls.pause_activity(self.pause_activity()).await.unwrap_err(),
        ]
    }

    /// The refusals of the calls that are about an activity.
    async fn of_activities(&self, server: &Server) -> [Status; 4] {
        let mut calls = operations(server);
        let (namespace, execution, activity_id) =
            (self.namespace(), self.execution.clone(), self.activity_id.to_owned());
        let unpause = v1::UnpauseActivityRequest { namespace, execution, activity_id, reset_attempts: true };
        let (namespace, execution, activity_id) =
            (self.namespace(), self.execution.clone(), self.activity_id.to_owned());
        let reset = v1::ResetActivityRequest { namespace, execution, activity_id, ..Default::default() };
        [
            calls.pause_activity(self.pause_activity()).await.unwrap_err(),
            calls.unpause_activity(unpause).await.unwrap_err(),
            calls.reset_activity(reset).await.unwrap_err(),
            calls.update_activity_options(self.options()).await.unwrap_err(),
        ]
    }
}

fn operations(server: &Server) -> OperationServiceClient<Routes> {
    OperationServiceClient::new(server.service())
}

fn assert_all(refusals: impl IntoIterator<Item = Status>, code: Code, message: &str) {
    for refusal in refusals {
        assert_eq!(refusal.code(), code, "{refusal:?}");
        assert!(refusal.message().starts_with(message), "{refusal:?} does not begin with {message:?}");
    }
}

/// A run with an open activity `a` that no worker has, and its history.
async fn begin(server: &Server) -> Vec<String> {
    client(server).start_workflow(start_request("w")).await.unwrap();
    let mut worker = Worker::connect(server, v1::Hello { activity_types: Vec::new(), ..hello(1) }, 1).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![schedule_activity("a", 3)]).await;
    history(server, "w").await
}

/// Asserts that nothing happened to what [`begin`] made.
async fn assert_untouched(server: &Server, events: &[String]) {
    assert_eq!(history(server, "w").await, events);
    let run = describe(server, "w").await;
    assert_eq!(run.pending_activities.len(), 1, "{run:?}");
    let activity = &run.pending_activities[0];
    assert!(activity.paused.is_none(), "{activity:?}");
    let request = v1::ListWorkflowsRequest { namespace: "default".into(), ..Default::default() };
    assert_eq!(client(server).list_workflows(request).await.unwrap().into_inner().workflows.len(), 1);
}

#[tokio::test]
async fn an_operation_on_what_is_not_named_is_refused_by_each_call() {
    let server = start(store().await, options()).await;
    let events = begin(&server).await;
    let named = |workflow_id: &str, run_id: &str| {
        Some(v1::WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() })
    };
    let unknown = "018f0000-0000-7000-8000-000000000001";
    for (asked, code, message) in [
        (Asked { namespace: "nowhere", ..asked() }, Code::NotFound, "namespace \"nowhere\" not found"),
        (
            Asked { execution: named("", ""), ..asked() },
            Code::InvalidArgument,
            "execution.workflow_id: must not be empty",
        ),
        (Asked { execution: named("a\u{7}", ""), ..asked() }, Code::InvalidArgument, "execution.workflow_id: contains"),
        (Asked { execution: named("w", "x"), ..asked() }, Code::InvalidArgument, "execution.run_id: "),
        (Asked { execution: named("nobody", ""), ..asked() }, Code::NotFound, "workflow \"nobody\" not found"),
        (Asked { execution: named("w", unknown), ..asked() }, Code::NotFound, "run \"018f0000"),
    ] {
        assert_all(asked.of_runs(&server).await, code, message);
    }
    let unnamed = Asked { execution: None, ..asked() };
    let mut calls = operations(&server);
    let of_runs = [
        calls.pause_workflow(unnamed.pause()).await.unwrap_err(),
        calls.resume_workflow(unnamed.resume()).await.unwrap_err(),
        calls.reset_workflow(unnamed.reset()).await.unwrap_err(),
        calls.repair_workflow(unnamed.repair()).await.unwrap_err(),
    ];
    assert_all(of_runs, Code::InvalidArgument, "execution: ");
    // Without a run it is an activity that stands alone.
    assert_all(unnamed.of_activities(&server).await, Code::NotFound, "activity \"a\" not found");
    for (activity_id, code, message) in [
        ("", Code::InvalidArgument, "activity_id: must not be empty"),
        ("a\u{7}", Code::InvalidArgument, "activity_id: contains a control character"),
        ("b", Code::NotFound, "no open activity with id \"b\""),
    ] {
        assert_all(Asked { activity_id, ..asked() }.of_activities(&server).await, code, message);
    }
    assert_untouched(&server, &events).await;
    server.shutdown().await;
}

#[tokio::test]
async fn an_operation_with_content_that_is_too_long_or_makes_no_sense_is_refused_by_each_call() {
    let server = start(store().await, options()).await;
    let events = begin(&server).await;
    let long = || "x".repeat(5000);
    let reason = "reason: is 5000 bytes long";
    assert_all(Asked { reason: long(), ..asked() }.of_reasons(&server).await, Code::InvalidArgument, reason);
    let identity = "identity: is 5000 bytes long";
    assert_all(Asked { identity: long(), ..asked() }.of_reasons(&server).await, Code::InvalidArgument, identity);
    let mut calls = operations(&server);
    let asked = Asked { request_id: "a\u{7}", ..asked() };
    let refusals = [
        calls.pause_workflow(asked.pause()).await.unwrap_err(),
        calls.resume_workflow(asked.resume()).await.unwrap_err(),
        calls.reset_workflow(asked.reset()).await.unwrap_err(),
        calls.repair_workflow(asked.repair()).await.unwrap_err(),
    ];
    assert_all(refusals, Code::InvalidArgument, "request_id: contains a control character at byte 1");

    let asked = Asked { request_id: "", ..asked };
    let large = v1::Payload { data: vec![b'7'; 2 * 1024 * 1024 + 1].into(), ..Default::default() };
    for (request, message) in [
        (v1::RepairWorkflowRequest { result: Some(large), ..asked.repair() }, "result: is "),
        (v1::RepairWorkflowRequest { activity_id: "a\u{7}".into(), ..asked.repair() }, "activity_id: contains"),
        (asked.repair(), "point: no activity has failed in this run"),
    ] {
        assert_all([calls.repair_workflow(request).await.unwrap_err()], Code::InvalidArgument, message);
    }
    for (request, message) in [
        (v1::ResetWorkflowRequest { point: 0, ..asked.reset() }, "point: must be set"),
        (v1::ResetWorkflowRequest { point: 99, ..asked.reset() }, "point: must be set"),
        (v1::ResetWorkflowRequest { event_id: 3, ..asked.reset() }, "event_id: is for the point WORKFLOW_TASK only"),
        (
            v1::ResetWorkflowRequest { point: v1::ResetPoint::WorkflowTask.into(), event_id: 1, ..asked.reset() },
            "point: event 1 is not the start or the end of a workflow task",
        ),
    ] {
        assert_all([calls.reset_workflow(request).await.unwrap_err()], Code::InvalidArgument, message);
    }
    let negative = Some(v1::ActivityTimeouts {
        start_to_close: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    });
    let shrinking = Some(v1::RetryPolicy { backoff_coefficient: 0.5, ..Default::default() });
    for (request, field) in [
        (v1::UpdateActivityOptionsRequest { task_queue: "a\u{7}".into(), ..asked.options() }, "task_queue: "),
        (v1::UpdateActivityOptionsRequest { timeouts: negative, ..asked.options() }, "timeouts.start_to_close: "),
        (
            v1::UpdateActivityOptionsRequest { retry_policy: shrinking, ..asked.options() },
            "retry_policy.backoff_coefficient: ",
        ),
    ] {
        assert_all([calls.update_activity_options(request).await.unwrap_err()], Code::InvalidArgument, field);
    }
    assert_untouched(&server, &events).await;
    server.shutdown().await;
}
