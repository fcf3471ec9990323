//! The server on a real socket: health, reflection, and what it does when it is asked for more than it can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use engine_proto::v1;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore, Gate};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use support::*;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};
use tonic_types::StatusExt;

#[tokio::test]
async fn a_served_engine_answers_calls_health_and_reflection_and_stops_when_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = start(store().await, options()).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async {
        stopped.await.ok();
    }));

    let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut workflows = WorkflowServiceClient::new(channel.clone());
    workflows.start_workflow(start_request("w")).await.unwrap();

    let mut health = HealthClient::new(channel.clone());
    for service in ["engine.v1.WorkflowService", "engine.v1.WorkerService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }

    let mut reflection = ServerReflectionClient::new(channel);
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = reflection.server_reflection_info(futures::stream::iter([list])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = services.service.into_iter().map(|ServiceResponse { name }| name).collect();
    assert!(names.contains(&"engine.v1.WorkflowService".to_owned()), "{names:?}");
    assert!(names.contains(&"engine.v1.WorkerService".to_owned()), "{names:?}");

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_is_behind_refuses_starts_with_a_hint_and_keeps_what_it_accepted() {
    let faulty = FaultyStore::new(store().await);
    let server = start(Arc::clone(&faulty) as Arc<dyn Store>, options()).await;
    client(&server).start_workflow(start_request("before")).await.unwrap();
    let gate = Gate::new();
    faulty.plan_next(Fault::HoldBefore(gate.clone()));
    let one = client(&server);
    let mut calls: FuturesUnordered<_> = (0..20_000)
        .map(|n| {
            let mut client = one.clone();
            async move { client.start_workflow(start_request(&format!("w-{n}"))).await }
        })
        .collect();
    // The first answers can only be refusals: everything accepted waits behind the gate.
    let refusal = calls.next().await.unwrap().unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::ResourceExhausted, "{refusal:?}");
    assert!(refusal.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{refusal:?}");
    gate.open();
    let mut accepted = 0;
    while let Some(answer) = calls.next().await {
        match answer {
            Ok(_) => accepted += 1,
            Err(status) => assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}"),
        }
    }
    assert!(accepted >= 2_000, "what was in the inbox and the batches is done: {accepted}");
    let mut listed = 0;
    let mut page_token = Vec::new();
    loop {
        let request = v1::ListWorkflowsRequest {
            namespace: "default".into(),
            page_size: 1_000,
            page_token,
            ..Default::default()
        };
        let page = client(&server).list_workflows(request).await.unwrap().into_inner();
        listed += page.workflows.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, accepted + 1, "exactly what was acknowledged is there");
    server.shutdown().await;
}

#[tokio::test]
async fn a_history_reads_the_same_in_pages_of_any_size_and_in_either_direction() {
    let server = start(store().await, options()).await;
    let mut client = client(&server);
    client.start_workflow(start_request("order-1")).await.unwrap();
    for number in 0..9 {
        let signal = v1::SignalWorkflowRequest {
            namespace: "default".into(),
            execution: Some(v1::WorkflowExecution { workflow_id: "order-1".into(), run_id: String::new() }),
            signal_name: format!("signal-{number}"),
            ..Default::default()
        };
        client.signal_workflow(signal).await.unwrap();
    }
    // The start and the signals, each a turn of its own.
    let events = 10;
    for page_size in 1..=events + 1 {
        for reverse in [false, true] {
            let mut ids = Vec::new();
            let mut pages = 0;
            let mut page_token = Vec::new();
            loop {
                let request = v1::GetWorkflowHistoryRequest {
                    namespace: "default".into(),
                    execution: Some(v1::WorkflowExecution { workflow_id: "order-1".into(), run_id: String::new() }),
                    page_size,
                    page_token,
                    reverse,
                    ..Default::default()
                };
                let page = client.get_workflow_history(request).await.unwrap().into_inner();
                let page_events = page.history.unwrap_or_default().events;
                assert!(!page_events.is_empty() && page_events.len() <= page_size as usize);
                ids.extend(page_events.into_iter().map(|event| v1::HistoryEvent::decode(event).unwrap().event_id));
                pages += 1;
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            let mut expected: Vec<u64> = (1..=u64::from(events)).collect();
            if reverse {
                expected.reverse();
            }
            assert_eq!(ids, expected, "pages of {page_size}, reverse: {reverse}");
            assert_eq!(pages, events.div_ceil(page_size), "no empty page behind the last event");
        }
    }
    server.shutdown().await;
}
