//! `WorkerService`: streams that begin wrongly, and activities that are completed from elsewhere.

use engine_proto::v1;
use tonic::Code;

use crate::cases::{Case, TOO_LONG, large, long, refused, seconds};
use crate::support::{execution, hello};
use crate::world::World;

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    sessions(world, &mut cases);
    completions(world, &mut cases);
    cases
}

fn sessions(world: &World, cases: &mut Vec<Case>) {
    let with = |change: fn(&mut v1::Hello)| {
        let mut first = hello(7);
        change(&mut first);
        v1::WorkerMessage { hello: Some(first), ..Default::default() }
    };
    for (first, code, message) in [
        (v1::WorkerMessage::default(), Code::InvalidArgument, "hello: ".to_owned()),
        (with(|it| it.namespace.clear()), Code::InvalidArgument, "hello.namespace: must not be empty".to_owned()),
        (with(|it| it.namespace = "nowhere".into()), Code::NotFound, "namespace \"nowhere\" not found".to_owned()),
        (with(|it| it.worker_id = "seven".into()), Code::InvalidArgument, "hello.worker_id: ".to_owned()),
        (with(|it| it.identity = long()), Code::InvalidArgument, format!("hello.identity: {TOO_LONG}")),
        (with(|it| it.task_queues = vec![String::new()]), Code::InvalidArgument, "hello.task_queues".to_owned()),
        (with(|it| it.task_queues = vec!["q".into(); 101]), Code::InvalidArgument, "hello.task_queues: ".to_owned()),
        (with(|it| it.workflow_types = vec![long()]), Code::InvalidArgument, "hello.workflow_types".to_owned()),
        (with(|it| it.activity_grace = seconds(601)), Code::InvalidArgument, "hello.activity_grace: ".to_owned()),
    ] {
        let mut client = world.workers();
        let send = async move {
            let messages = tokio_stream::iter([first]);
            client.session(messages).await?.into_inner().message().await
        };
        cases.push(Case::new("WorkerService.Session", send, code, message));
    }
}

fn completions(world: &World, cases: &mut Vec<Case>) {
    use v1::complete_activity_request::Activity as Completed;
    use v1::fail_activity_request::Activity as Failed;
    use v1::heartbeat_activity_request::Activity as Beating;
    let client = world.workers();
    let by_id = |workflow_id: Option<&str>, activity_id: &str| v1::ActivityById {
        execution: workflow_id.and_then(execution),
        activity_id: activity_id.into(),
    };
    let forged = || b"forged".to_vec();
    let complete =
        |activity| v1::CompleteActivityRequest { namespace: "default".into(), activity, ..Default::default() };
    let open = || Some(Completed::ById(by_id(Some("w"), "a")));
    refused!(cases, client, "WorkerService.CompleteActivity", complete_activity, [
        complete(None) => InvalidArgument, "activity: must be set";
        complete(Some(Completed::Token(forged()))) => InvalidArgument, "token: is not a token of this server";
        complete(Some(Completed::ById(by_id(Some("nobody"), "a")))) => NotFound, "workflow \"nobody\" not found";
        complete(Some(Completed::ById(by_id(Some("w"), "b")))) => NotFound, "no open activity with id \"b\"";
        complete(Some(Completed::ById(by_id(Some("w"), "")))) => InvalidArgument, "by_id.activity_id: must not be empty";
        complete(Some(Completed::ById(by_id(None, "nobody")))) => NotFound, "activity \"nobody\" not found";
        v1::CompleteActivityRequest { namespace: "nowhere".into(), ..complete(open()) } => NotFound, "namespace \"nowhere\" not found";
        v1::CompleteActivityRequest { result: Some(large()), ..complete(open()) } => InvalidArgument, "result: is 2097153 bytes";
        v1::CompleteActivityRequest { identity: long(), ..complete(open()) } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
    let fail = |activity| v1::FailActivityRequest {
        namespace: "default".into(),
        activity,
        failure: Some(v1::Failure {
            message: "out of paper".into(),
            kind: Some(v1::failure::Kind::Application(v1::ApplicationFailure::default())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let open = || Some(Failed::ById(by_id(Some("w"), "a")));
    refused!(cases, client, "WorkerService.FailActivity", fail_activity, [
        fail(None) => InvalidArgument, "activity: must be set";
        fail(Some(Failed::Token(forged()))) => InvalidArgument, "token: is not a token of this server";
        fail(Some(Failed::ById(by_id(Some("w"), "b")))) => NotFound, "no open activity with id \"b\"";
        v1::FailActivityRequest { namespace: "nowhere".into(), ..fail(open()) } => NotFound, "namespace \"nowhere\" not found";
        v1::FailActivityRequest { failure: None, ..fail(open()) } => InvalidArgument, "failure: must be set";
        v1::FailActivityRequest { identity: long(), ..fail(open()) } => InvalidArgument, format!("identity: {TOO_LONG}");
    ]);
    let beat = |activity| v1::HeartbeatActivityRequest { namespace: "default".into(), activity, details: None };
    let open = || Some(Beating::ById(by_id(Some("w"), "a")));
    refused!(cases, client, "WorkerService.HeartbeatActivity", heartbeat_activity, [
        beat(None) => InvalidArgument, "activity: must be set";
        beat(Some(Beating::Token(forged()))) => InvalidArgument, "token: is not a token of this server";
        beat(Some(Beating::ById(by_id(Some("w"), "b")))) => NotFound, "no open activity with id \"b\"";
        v1::HeartbeatActivityRequest { namespace: "nowhere".into(), ..beat(open()) } => NotFound, "namespace \"nowhere\" not found";
        v1::HeartbeatActivityRequest { details: Some(large()), ..beat(open()) } => InvalidArgument, "details: is 2097153 bytes";
    ]);
}
