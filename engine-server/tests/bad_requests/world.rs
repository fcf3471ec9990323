//! A server that has one of everything, and what is there to be changed.

use std::sync::Arc;
use std::time::Duration;

use engine_proto::v1;
use engine_proto::v1::activity_service_client::ActivityServiceClient;
use engine_proto::v1::batch_service_client::BatchServiceClient;
use engine_proto::v1::deployment_service_client::DeploymentServiceClient;
use engine_proto::v1::namespace_service_client::NamespaceServiceClient;
use engine_proto::v1::operation_service_client::OperationServiceClient;
use engine_proto::v1::schedule_service_client::ScheduleServiceClient;
use engine_proto::v1::worker_service_client::WorkerServiceClient;
use engine_proto::v1::workflow_service_client::WorkflowServiceClient;
use engine_server::store::Store;
use engine_server::{NodeOptions, Server};
use tonic::service::Routes;

use crate::support::{Worker, hello, options, schedule_activity, start, start_request};

/// A server with the open run `w` that has the open activity `a`, the standalone activity `letter`, the schedule `nightly`, the batch
/// `clear`, which is over, the namespace `shop` and the deployment `fleet` with the build `one`; `default` has the search attributes `Total` (int) and `Region` (keyword).
pub(crate) struct World {
    pub(crate) server: Server,
    store: Arc<dyn Store>,
    /// Keeps its stream: it is told of nothing.
    _worker: Option<Worker>,
}

/// All that calls could have changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot {
    history: v1::GetWorkflowHistoryResponse,
    run: v1::DescribeWorkflowResponse,
    runs: Vec<v1::WorkflowSummary>,
    activity: v1::DescribeActivityResponse,
    activities: Vec<v1::ActivitySummary>,
    schedule: v1::DescribeScheduleResponse,
    schedules: usize,
    batches: Vec<v1::Batch>,
    namespaces: Vec<v1::Namespace>,
    deployment: v1::Deployment,
    deployments: Vec<v1::DeploymentSummary>,
    /// Rows that batches of lanes wrote since the store was opened.
    rows: u64,
}

impl World {
    pub(crate) async fn new(store: Arc<dyn Store>) -> World {
        // An idle run that leaves memory writes a row, which is nobody's request.
        let options = NodeOptions { park_after: Duration::from_secs(3600), ..options() };
        let server = start(Arc::clone(&store), options).await;
        let attributes =
            [("Total", v1::SearchAttributeType::Int), ("Region", v1::SearchAttributeType::Keyword)].map(named);
        let register = v1::UpdateNamespaceRequest {
            namespace: "default".into(),
            add_search_attributes: attributes.into(),
            ..Default::default()
        };
        let mut namespaces = NamespaceServiceClient::new(server.service());
        namespaces.update_namespace(register).await.unwrap();
        let shop = v1::CreateNamespaceRequest { namespace: "shop".into(), ..Default::default() };
        namespaces.create_namespace(shop).await.unwrap();

        let mut world = World { server, store, _worker: None };
        world.workflows().start_workflow(start_request("w")).await.unwrap();
        let mut worker = Worker::connect(&world.server, v1::Hello { activity_types: Vec::new(), ..hello(1) }, 1).await;
        let task = worker.workflow_task().await;
        worker.complete_workflow_task(&task, vec![schedule_activity("a", 3)]).await;
        world._worker = Some(worker);
        world.activities().start_activity(activity("letter")).await.unwrap();
        world.schedules().create_schedule(schedule("nightly")).await.unwrap();
        let fleet = v1::SetCurrentVersionRequest {
            namespace: "default".into(),
            deployment_name: "fleet".into(),
            build_id: "one".into(),
            allow_unknown: true,
            ..Default::default()
        };
        world.deployments().set_current_version(fleet).await.unwrap();
        // Nothing is of this type, so it is over as soon as it looks.
        world.batches().start_batch(batch("clear")).await.unwrap();
        while world.batch().await.state() == v1::BatchState::Running {
            tokio::task::yield_now().await;
        }
        world
    }

    pub(crate) fn workflows(&self) -> WorkflowServiceClient<Routes> {
        WorkflowServiceClient::new(self.server.service())
    }

    pub(crate) fn activities(&self) -> ActivityServiceClient<Routes> {
        ActivityServiceClient::new(self.server.service())
    }

    pub(crate) fn operations(&self) -> OperationServiceClient<Routes> {
        OperationServiceClient::new(self.server.service())
    }

    pub(crate) fn schedules(&self) -> ScheduleServiceClient<Routes> {
        ScheduleServiceClient::new(self.server.service())
    }

    pub(crate) fn batches(&self) -> BatchServiceClient<Routes> {
        BatchServiceClient::new(self.server.service())
    }

    pub(crate) fn namespaces(&self) -> NamespaceServiceClient<Routes> {
        NamespaceServiceClient::new(self.server.service())
    }

    pub(crate) fn deployments(&self) -> DeploymentServiceClient<Routes> {
        DeploymentServiceClient::new(self.server.service())
    }

    pub(crate) fn workers(&self) -> WorkerServiceClient<Routes> {
        WorkerServiceClient::new(self.server.service())
    }

    async fn batch(&self) -> v1::Batch {
        let request = v1::DescribeBatchRequest { namespace: "default".into(), batch_id: "clear".into() };
        self.batches().describe_batch(request).await.unwrap().into_inner().batch.unwrap()
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        let (namespace, execution) = (|| "default".to_owned(), || crate::support::execution("w"));
        let history =
            v1::GetWorkflowHistoryRequest { namespace: namespace(), execution: execution(), ..Default::default() };
        let run = v1::DescribeWorkflowRequest { namespace: namespace(), execution: execution() };
        let runs = v1::ListWorkflowsRequest { namespace: namespace(), ..Default::default() };
        let letter =
            v1::DescribeActivityRequest { namespace: namespace(), activity_id: "letter".into(), ..Default::default() };
        let activities = v1::ListActivitiesRequest { namespace: namespace(), ..Default::default() };
        let nightly = v1::DescribeScheduleRequest { namespace: namespace(), schedule_id: "nightly".into() };
        let schedules = v1::ListSchedulesRequest { namespace: namespace(), ..Default::default() };
        let batches = v1::ListBatchesRequest { namespace: namespace(), ..Default::default() };
        let fleet = v1::DescribeDeploymentRequest { namespace: namespace(), deployment_name: "fleet".into() };
        let deployments = v1::ListDeploymentsRequest { namespace: namespace() };
        let deployments = self.deployments().list_deployments(deployments).await.unwrap().into_inner().deployments;
        let deployment = self.deployments().describe_deployment(fleet).await.unwrap().into_inner().deployment;
        Snapshot {
            history: self.workflows().get_workflow_history(history).await.unwrap().into_inner(),
            run: self.workflows().describe_workflow(run).await.unwrap().into_inner(),
            runs: self.workflows().list_workflows(runs).await.unwrap().into_inner().workflows,
            activity: self.activities().describe_activity(letter).await.unwrap().into_inner(),
            activities: self.activities().list_activities(activities).await.unwrap().into_inner().activities,
            schedule: self.schedules().describe_schedule(nightly).await.unwrap().into_inner(),
            schedules: self.schedules().list_schedules(schedules).await.unwrap().into_inner().schedules.len(),
            batches: self.batches().list_batches(batches).await.unwrap().into_inner().batches,
            namespaces: self
                .namespaces()
                .list_namespaces(v1::ListNamespacesRequest {})
                .await
                .unwrap()
                .into_inner()
                .namespaces,
            deployment: deployment.unwrap(),
            deployments,
            rows: self.store.stats().rows,
        }
    }
}

fn named((name, kind): (&str, v1::SearchAttributeType)) -> (String, i32) {
    (name.to_owned(), kind.into())
}

/// The start of a standalone activity that no worker will take.
pub(crate) fn activity(activity_id: &str) -> v1::StartActivityRequest {
    let minute = crate::cases::seconds(60);
    v1::StartActivityRequest {
        namespace: "default".into(),
        activity_id: activity_id.into(),
        activity_type: "print".into(),
        task_queue: "printer".into(),
        timeouts: Some(v1::ActivityTimeouts { start_to_close: minute, ..Default::default() }),
        ..Default::default()
    }
}

/// A schedule that starts something in thirty years.
pub(crate) fn schedule(schedule_id: &str) -> v1::CreateScheduleRequest {
    let crons = vec!["0 30 2 1 1 * 2190".to_owned()];
    let start = v1::StartWorkflowRequest { namespace: String::new(), ..start_request("report") };
    v1::CreateScheduleRequest {
        namespace: "default".into(),
        schedule_id: schedule_id.into(),
        schedule: Some(v1::Schedule {
            spec: Some(v1::ScheduleSpec { crons, ..Default::default() }),
            start: Some(start),
            policies: None,
        }),
        ..Default::default()
    }
}

/// A batch over nothing.
pub(crate) fn batch(batch_id: &str) -> v1::StartBatchRequest {
    use v1::batch_operation::Operation;
    v1::StartBatchRequest {
        namespace: "default".into(),
        batch_id: batch_id.into(),
        query: "WorkflowType = 'nothing'".into(),
        operation: Some(v1::BatchOperation { operation: Some(Operation::Cancel(v1::BatchCancel {})) }),
        ..Default::default()
    }
}
