//! What workflows publish is readable without a worker, now and as of any event.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use engine_core::payload::Payload;
use engine_proto::{convert, v1};
use engine_server::Server;
use support::*;

fn publish(name: &str, json: &'static str) -> v1::Command {
    let value = Some(convert::payload_to_proto(&Payload::json(json)));
    let publish = v1::PublishStateCommand { name: name.into(), value };
    v1::Command { command: Some(v1::command::Command::PublishState(publish)) }
}

async fn published(server: &Server, name: &str, at_event_id: u64) -> Result<Vec<String>, tonic::Status> {
    let request = v1::GetPublishedRequest {
        namespace: "default".into(),
        execution: execution("w"),
        name: name.into(),
        at_event_id,
    };
    let answer = client(server).get_published(request).await?.into_inner();
    Ok(answer.values.into_iter().map(text).collect())
}

fn text(value: v1::PublishedValue) -> String {
    let payload = convert::payload_from_proto(value.value.unwrap());
    format!("{} {}={}", value.event_id, value.name, String::from_utf8_lossy(&payload.data))
}

#[tokio::test]
async fn published_values_are_read_with_no_worker_now_and_as_of_any_event() {
    let store = store().await;
    let server = start(std::sync::Arc::clone(&store), options()).await;
    client(&server).start_workflow(start_request("w")).await.unwrap();
    assert_eq!(published(&server, "", 0).await.unwrap(), [""; 0]);
    let mut worker = Worker::connect(&server, hello(1), 10).await;
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![publish("status", "\"begun\""), publish("eta", "7")]).await;
    signal(&server, "w", "go").await.unwrap();
    let task = worker.workflow_task().await;
    worker.complete_workflow_task(&task, vec![publish("status", "\"packed\"")]).await;
    drop(worker);

    let read = async |server: &Server| {
        assert_eq!(published(server, "", 0).await.unwrap(), ["6 eta=7", "11 status=\"packed\""]);
        assert_eq!(published(server, "status", 0).await.unwrap(), ["11 status=\"packed\""]);
        assert_eq!(published(server, "status", 10).await.unwrap(), ["5 status=\"begun\""]);
        assert_eq!(published(server, "", 5).await.unwrap(), ["5 status=\"begun\""]);
        assert_eq!(published(server, "status", 4).await.unwrap(), [""; 0]);
        assert_eq!(published(server, "other", 0).await.unwrap(), [""; 0]);
    };
    read(&server).await;
    let shown: Vec<String> = describe(&server, "w").await.published.into_iter().map(text).collect();
    assert_eq!(shown, ["6 eta=7", "11 status=\"packed\""]);

    // Closed, and by a server that has seen none of it.
    let request =
        v1::TerminateWorkflowRequest { namespace: "default".into(), execution: execution("w"), ..Default::default() };
    client(&server).terminate_workflow(request).await.unwrap();
    read(&server).await;
    server.shutdown().await;
    let server = start(store, options()).await;
    read(&server).await;
    let shown: Vec<String> = describe(&server, "w").await.published.into_iter().map(text).collect();
    assert_eq!(shown, ["6 eta=7", "11 status=\"packed\""]);
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_names_its_field() {
    let server = start(store().await, options()).await;
    let refusal = published(&server, "", 0).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (tonic::Code::NotFound, "workflow \"w\" not found"));
    client(&server).start_workflow(start_request("w")).await.unwrap();
    let refusal = published(&server, "", 2).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    assert_eq!(refusal.message(), "at_event_id: is 2, but the last event of the run is 1");
    let refusal = published(&server, &"n".repeat(1001), 0).await.unwrap_err();
    assert_eq!(refusal.message(), "name: is 1001 bytes long; the limit is 1000 bytes");
}
