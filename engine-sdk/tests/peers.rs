//! Children, messages to other workflows, and continued runs, with the whole engine in this process and a store that fails.

use std::sync::Arc;
use std::time::Duration;

use engine_core::event::{EventKind, PeerEvent};
use engine_sdk::client::ListFilter;
use engine_sdk::prelude::*;
use engine_sdk::transport::Transport;
use engine_server::store::Store;
use engine_server::store::faulty::{Fault, FaultyStore};
use engine_server::store::memory::MemoryStore;
use engine_server::{NodeOptions, Server};
use futures::TryStreamExt;

#[signal]
struct Go {
    steps: u32,
}

#[workflow]
async fn double(_ctx: WorkflowContext, number: u32) -> Result<u32, WorkflowError> {
    Ok(2 * number)
}

/// Waits for a signal, and goes on as new once before it returns.
#[workflow]
async fn patient(ctx: WorkflowContext, sum: u32) -> Result<u32, WorkflowError> {
    let go = ctx.signals::<Go>().recv().await;
    if sum == 0 {
        return ctx.continue_as_new(patient, go.steps).await;
    }
    Ok(sum + go.steps)
}

#[workflow]
async fn until_canceled(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    ctx.cancelled().await;
    Err(WorkflowError::canceled())
}

#[workflow]
async fn family(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    let four = ctx.child(double).id("double").run(2).await?;
    let child = ctx.child(patient).id("patient").start(0).await?;
    child.signal(Go { steps: four }).await?;
    ctx.external("patient").signal(Go { steps: 1 }).await?;
    let five = child.result().await?;
    let taken = ctx.child(until_canceled).id("left behind").start(()).await?;
    let again = ctx.child(until_canceled).id("left behind").start(()).await;
    assert!(again.is_err_and(|failure| failure.is_already_started()));
    taken.detach();
    let gone = ctx.external("nobody").signal(Go { steps: 0 }).await;
    assert!(gone.is_err_and(|failure| failure.is_not_found()));
    Ok(five)
}

async fn over(store: Arc<dyn Store>) -> (Server, Client) {
    let mut options = NodeOptions::new("test");
    options.recovery_grace = Duration::ZERO;
    let server = Server::start(store, options, false).await.expect("the store is ready");
    let client = Client::builder().over(Transport::local(server.service())).expect("the settings are the defaults");
    (server, client)
}

fn worker(client: &Client) -> Worker {
    Worker::new(client.clone(), "default")
        .workflow(family)
        .workflow(double)
        .workflow(patient)
        .workflow(until_canceled)
        .workflow(closes_first)
        .workflow(asks_to_stop)
}

async fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    store.migrate(8).await.expect("memory is never full");
    store
}

/// Runs the family, and tells how many runs there were of each workflow id, in the order of ids.
async fn family_runs(client: &Client) -> Vec<(String, usize)> {
    let handle = client.workflow(family).id("family").queue("default").start(()).await.expect("the server is up");
    assert_eq!(handle.result().await.expect("it completes"), 5);
    // The child that was left behind is terminated by its parent's end, whenever that is delivered.
    let left = client.handle_named::<()>("left behind").result().await.expect_err("it does not complete");
    assert!(matches!(left, WorkflowFailure::Terminated { .. }), "{left:?}");
    let runs: Vec<_> = client.list(ListFilter::all()).try_collect().await.expect("the server is up");
    let mut ids: Vec<String> = runs.iter().map(|run| run.workflow_id.to_string()).collect();
    ids.sort();
    let mut counts: Vec<(String, usize)> = Vec::new();
    for id in ids {
        match counts.last_mut() {
            Some((last, count)) if *last == id => *count += 1,
            _ => counts.push((id, 1)),
        }
    }
    counts
}

fn once_each() -> Vec<(String, usize)> {
    [("double", 1), ("family", 1), ("left behind", 1), ("patient", 2)].map(|(id, n)| (id.to_owned(), n)).into()
}

#[tokio::test]
async fn children_run_are_signaled_continue_and_end_with_their_parent() {
    let (server, client) = over(store().await).await;
    let runs = worker(&client).run_until(async {
        let runs = family_runs(&client).await;
        let history = client.handle_named::<u32>("family").history().await.expect("it is stored");
        let told: Vec<&str> = history
            .iter()
            .filter(|event| matches!(event.kind, EventKind::Peer(_)))
            .map(|event| event.kind.name())
            .collect();
        assert_eq!(told[..3], ["StartChildInitiated", "ChildStarted", "ChildCompleted"]);
        let signals = client.handle_named::<u32>("patient").history().await.expect("it is stored");
        assert!(signals.len() > 2);
        runs
    });
    assert_eq!(runs.await.expect("the worker runs"), once_each());
    server.shutdown().await;
}

/// Whichever commit is lost, or is in doubt though it was made: each child starts once, each message arrives once, the parent
/// learns of each end, and the parent's end reaches the child.
#[tokio::test]
async fn no_crash_loses_or_repeats_a_message() {
    for commit in 1..26 {
        let fault = if commit % 2 == 0 { Fault::FailBefore } else { Fault::FailAfter };
        let faulty = FaultyStore::new(store().await);
        faulty.plan(commit, fault);
        let (server, client) = over(faulty).await;
        let runs = worker(&client).run_until(family_runs(&client)).await.expect("the worker runs");
        assert_eq!(runs, once_each(), "commit {commit}");
        server.shutdown().await;
    }
}

#[workflow]
async fn closes_first(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let policies = [ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon];
    for (policy, id) in policies.into_iter().zip(["terminated", "asked", "abandoned"]) {
        ctx.child(until_canceled).id(id).parent_close_policy(policy).start(()).await?.detach();
    }
    Ok(())
}

#[tokio::test]
async fn children_outlive_their_parent_as_their_policy_says_even_if_the_server_stops_in_between() {
    let store = store().await;
    let (server, client) = over(Arc::clone(&store) as Arc<dyn Store>).await;
    let closing = client.workflow(closes_first).id("p").queue("default").run(());
    worker(&client).run_until(closing).await.expect("the worker runs").expect("it completes");
    server.shutdown().await;
    let (server, client) = over(store).await;
    let ends = async {
        let terminated = client.handle_named::<()>("terminated").result().await;
        assert!(matches!(terminated, Err(WorkflowFailure::Terminated { .. })), "{terminated:?}");
        let asked = client.handle_named::<()>("asked").result().await;
        assert!(matches!(asked, Err(WorkflowFailure::Canceled { .. })), "{asked:?}");
        let abandoned = client.handle_named::<()>("abandoned");
        assert_eq!(abandoned.describe().await.expect("it is there").summary.status, None);
        abandoned.cancel("the test is over").await.expect("it is open");
        let canceled = abandoned.result().await;
        assert!(matches!(canceled, Err(WorkflowFailure::Canceled { .. })), "{canceled:?}");
    };
    worker(&client).run_until(ends).await.expect("the worker runs");
    server.shutdown().await;
}

#[workflow]
async fn asks_to_stop(ctx: WorkflowContext) -> Result<bool, WorkflowError> {
    let mut child = ctx.child(until_canceled).id("child").start(()).await?;
    ctx.signals::<Go>().recv().await;
    child.cancel();
    let stopped = child.result().await.is_err_and(|failure| failure.is_canceled());
    ctx.external("other").cancel("enough").await?;
    Ok(stopped)
}

#[tokio::test]
async fn a_child_and_another_workflow_are_asked_to_stop_and_describe_shows_the_child() {
    let (server, client) = over(store().await).await;
    let all = async {
        let other = client.workflow(until_canceled).id("other").queue("default").start(()).await.expect("it starts");
        let parent = client.workflow(asks_to_stop).id("parent").queue("default").start(()).await.expect("it starts");
        let mut events = std::pin::pin!(parent.watch());
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            let event = event.expect("the server is up");
            if matches!(&event.kind, EventKind::Peer(peer) if matches!(**peer, PeerEvent::ChildStarted { .. })) {
                break;
            }
        }
        let children = parent.describe().await.expect("it is open").pending_children;
        assert_eq!(children.iter().map(|child| child.workflow_id.as_str()).collect::<Vec<_>>(), ["child"]);
        let started = client.handle_named::<()>("child").describe().await.expect("it is open").started;
        assert_eq!(started.parent.map(|parent| parent.workflow_id.to_string()), Some("parent".to_owned()));
        parent.signal(Go { steps: 0 }).await.expect("it is open");
        assert!(parent.result().await.expect("it completes"));
        let other = other.result().await;
        assert!(matches!(other, Err(WorkflowFailure::Canceled { .. })), "{other:?}");
    };
    worker(&client).run_until(all).await.expect("the worker runs");
    server.shutdown().await;
}
