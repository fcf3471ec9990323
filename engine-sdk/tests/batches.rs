//! Batches from Rust, on the whole engine in this process.

use engine_sdk::client::{BatchState, ClientError, ListFilter};
use engine_sdk::prelude::*;
use futures::TryStreamExt;

#[workflow]
async fn waits(ctx: WorkflowContext) -> Result<u32, WorkflowError> {
    Ok(ctx.signals::<Go>().recv().await.number)
}

#[signal]
struct Go {
    number: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_signals_every_run_that_its_filter_means_once() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let worker = Worker::new(client.clone(), "queue").workflow(waits);
    let work = async {
        let mut meant = Vec::new();
        for number in 0..12 {
            meant.push(client.workflow(waits).id(format!("meant-{number}")).queue("queue").start(()).await.unwrap());
        }
        let other = client.workflow(waits).id("other").queue("queue").start(()).await.unwrap();
        let batch = client.batch("WorkflowId STARTS_WITH 'meant-'").id("go").reason("it is time").rate(1000);
        let batch = batch.signal(Go { number: 7 }).await.unwrap();
        for run in &meant {
            assert_eq!(run.result().await.unwrap(), 7);
        }
        let description = loop {
            let description = batch.describe().await.unwrap();
            if description.state != BatchState::Running {
                break description;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(description.state, BatchState::Completed);
        assert_eq!((description.total, description.done, description.failed), (12, 12, 0));
        assert_eq!(
            (description.query.as_str(), description.reason.as_str()),
            ("WorkflowId STARTS_WITH 'meant-'", "it is time")
        );
        let again = client.batch("WorkflowId STARTS_WITH 'meant-'").id("go").reason("it is time").rate(1000);
        again.signal(Go { number: 7 }).await.expect("a repeat is the same batch");
        let another = client.batch("WorkflowId = 'other'").id("go").cancel().await.unwrap_err();
        assert!(matches!(another, ClientError::AlreadyStarted { .. }), "{another:?}");

        let listed: Vec<_> = client.batches().try_collect().await.unwrap();
        assert_eq!(listed, [description]);
        assert!(client.batch_handle("go").delete().await.unwrap());
        assert!(matches!(batch.describe().await.unwrap_err(), ClientError::NotFound { .. }));

        client.batch("WorkflowId = 'other'").reason("enough").terminate().await.unwrap();
        let end = other.result().await.unwrap_err();
        assert_eq!(end.to_string(), "the workflow was terminated: enough");
        let held = client.workflow(waits).id("held").queue("queue").start(()).await.unwrap();
        let reached = async |batch: engine_sdk::client::BatchHandle| loop {
            let description = batch.describe().await.unwrap();
            if description.state != BatchState::Running {
                return (description.state, description.done);
            }
            tokio::task::yield_now().await;
        };
        let once = (BatchState::Completed, 1);
        assert_eq!(reached(client.batch("WorkflowId = 'held'").pause().await.unwrap()).await, once);
        assert!(held.describe().await.unwrap().paused.is_some());
        assert_eq!(reached(client.batch("WorkflowId = 'held'").resume().await.unwrap()).await, once);
        assert!(held.describe().await.unwrap().paused.is_none());
        held.signal(Go { number: 1 }).await.unwrap();
        held.result().await.unwrap();
        let deleted = reached(client.batch("WorkflowId = 'held'").delete().await.unwrap()).await;
        assert_eq!(deleted, once);
        assert_eq!(client.count("WorkflowId = 'held'").await.unwrap(), 0);
        let open: Vec<_> = client.list(ListFilter::all().open()).try_collect().await.unwrap();
        assert!(open.is_empty(), "{open:?}");
    };
    worker.run_until(work).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused_by_its_field() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let refused = async |query: &str, rate: u32| match client.batch(query).rate(rate).cancel().await {
        Err(ClientError::InvalidArgument { field, message, .. }) => format!("{field}: {message}"),
        other => panic!("{other:?}"),
    };
    assert!(refused("", 0).await.starts_with("query: "));
    assert!(refused("Statu = 'Running'", 0).await.starts_with("query: "));
    assert!(refused("Status = 'Running' GROUP BY Status", 0).await.contains("GROUP BY"));
    assert!(refused("Status = 'Running' ORDER BY StartTime", 0).await.starts_with("query: "));
    assert!(refused("Status = 'Running'", 1001).await.starts_with("rate: "));
    assert!(client.batches().try_collect::<Vec<_>>().await.unwrap().is_empty());
    engine.shutdown().await;
}
