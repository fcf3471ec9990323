//! Lists and counts by a filter, and what people are shown of a run, in a whole engine.

use engine_sdk::client::ClientError;
use engine_sdk::engine::Engine;
use engine_sdk::prelude::*;
use futures::TryStreamExt;

#[workflow]
async fn order(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

#[workflow]
async fn refund(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

async fn list(client: &Client, filter: &str) -> Vec<String> {
    let runs: Vec<_> = client.list(filter).try_collect().await.expect("the filter is one");
    runs.into_iter().map(|run| run.workflow_id.to_string()).collect()
}

#[tokio::test]
async fn runs_are_listed_and_counted_by_a_filter() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("sqlite://{}", directory.path().join("engine.db").display())] {
        let engine = Engine::open(&url).await.unwrap();
        let client = engine.client();
        for number in 0..7 {
            client.workflow(order).id(format!("order-{number}")).queue("orders").start(()).await.unwrap();
        }
        let stopped = client.workflow(refund).id("refund-1").queue("desk").start(()).await.unwrap();
        stopped.terminate("enough").await.unwrap();

        assert_eq!(list(&client, "WorkflowType = 'refund'").await, ["refund-1"]);
        assert_eq!(list(&client, "Status = 'Terminated' AND CloseTime IS NOT NULL").await, ["refund-1"]);
        assert_eq!(
            list(&client, "WorkflowId STARTS_WITH 'order-' AND WorkflowId > 'order-4'").await,
            ["order-6", "order-5"]
        );
        assert_eq!(list(&client, "WorkflowId = 'order-3'").await, ["order-3"]);
        let small = engine_sdk::client::ListFilter::query("TaskQueue != 'x' ORDER BY WorkflowId").page_size(3);
        let all: Vec<_> = client.list(small).try_collect().await.unwrap();
        let ids: Vec<&str> = all.iter().map(|run| run.workflow_id.as_str()).collect();
        assert_eq!(ids, ["order-0", "order-1", "order-2", "order-3", "order-4", "order-5", "order-6", "refund-1"]);

        assert_eq!(client.count("").await.unwrap(), 8);
        assert_eq!(client.count("Status = 'Running'").await.unwrap(), 7);
        let groups = client.count_by_group("GROUP BY Status").await.unwrap();
        assert_eq!(groups, [("Running".to_owned(), 7), ("Terminated".to_owned(), 1)]);
        assert_eq!(client.count_by_group("").await.unwrap(), []);
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_bad_filter_is_refused_with_its_place() {
    let engine = Engine::open("memory:").await.unwrap();
    let client = engine.client();
    let refused = client.list("Status = 'Runing'").try_collect::<Vec<_>>().await.unwrap_err();
    let ClientError::InvalidArgument { field, message } = &refused else { panic!("{refused:?}") };
    assert_eq!(field, "query");
    assert!(
        message.contains("is no status") && message.contains("at column 10") && message.ends_with("         ^"),
        "{message}"
    );
    let both = engine_sdk::client::ListFilter::query("Status = 'Failed'").workflow_type("order");
    let refused = client.list(both).try_collect::<Vec<_>>().await.unwrap_err().to_string();
    assert!(refused.contains("say it all in the query"), "{refused}");
    let refused = client.count("ORDER BY Status").await.unwrap_err().to_string();
    assert!(refused.contains("at column 1"), "{refused}");
    engine.shutdown().await;
}
