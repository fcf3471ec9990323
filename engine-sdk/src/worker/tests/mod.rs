//! The worker against a server that the test plays.

mod activities;
mod queries;
mod versions;
mod workflows;

use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::convert::{duration_to_proto, failure_from_proto, payloads_to_proto, timestamp_to_proto};
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use tokio::task::JoinHandle;

use super::{ShutdownHandle, Worker, WorkerError};

const RUN: &str = "0199a3b4-0000-7000-8000-000000000001";

/// A worker that runs in a task of its own.
struct Running {
    shutdown: ShutdownHandle,
    ended: JoinHandle<Result<(), WorkerError>>,
}

fn run(worker: Worker) -> Running {
    Running { shutdown: worker.shutdown_handle(), ended: tokio::spawn(worker.run()) }
}

impl Running {
    /// Waits for the worker to return.
    async fn end(self) -> Result<(), WorkerError> {
        self.ended.await.unwrap()
    }
}

fn activity_task(token: &str, activity_type: &str, input: &[serde_json::Value]) -> v1::ActivityTask {
    let input: Vec<Payload> = input.iter().map(|value| Payload::json(value.to_string())).collect();
    let started_at = Timestamp::from_micros(1_700_000_000_000_000);
    v1::ActivityTask {
        token: token.as_bytes().to_vec(),
        execution: Some(v1::WorkflowExecution { workflow_id: "order-1".into(), run_id: RUN.into() }),
        workflow_type: "checkout".into(),
        activity_id: token.into(),
        activity_type: activity_type.into(),
        task_queue: "orders".into(),
        input: payloads_to_proto(&input),
        attempt: 1,
        scheduled_time: Some(timestamp_to_proto(started_at)),
        started_time: Some(timestamp_to_proto(started_at)),
        deadline: Some(timestamp_to_proto(started_at + Duration::from_secs(60))),
        timeouts: Some(v1::ActivityTimeouts {
            start_to_close: Some(duration_to_proto(Duration::from_secs(60))),
            heartbeat: Some(duration_to_proto(Duration::from_secs(10))),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What an activity returned, decoded.
#[track_caller]
fn value(result: v1::TaskResult) -> (String, serde_json::Value) {
    match result.result {
        Some(Outcome::ActivityCompleted(completed)) => {
            let data = completed.result.expect("a value").data;
            (String::from_utf8(completed.token).unwrap(), serde_json::from_slice(&data).unwrap())
        }
        other => panic!("expected a value: {other:?}"),
    }
}

/// Why an activity failed.
#[track_caller]
fn failure(result: v1::TaskResult) -> Failure {
    match result.result {
        Some(Outcome::ActivityFailed(failed)) => failure_from_proto(failed.failure.expect("a failure")).unwrap(),
        other => panic!("expected a failure: {other:?}"),
    }
}
