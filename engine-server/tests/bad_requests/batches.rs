//! `BatchService`.

use engine_proto::v1;
use v1::batch_operation::Operation;

use crate::cases::{Case, TOO_LONG, large, long, refused};
use crate::world::{World, batch};

fn of(operation: Operation) -> v1::StartBatchRequest {
    let operation = Some(v1::BatchOperation { operation: Some(operation) });
    v1::StartBatchRequest { operation, ..batch("new") }
}

fn signal(signal_name: &str, input: Vec<v1::Payload>) -> v1::StartBatchRequest {
    of(Operation::Signal(v1::BatchSignal { signal_name: signal_name.into(), input }))
}

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    let client = world.batches();
    let with = |change: fn(&mut v1::StartBatchRequest)| {
        let mut request = batch("new");
        change(&mut request);
        request
    };
    refused!(cases, client, "BatchService.StartBatch", start_batch, [
        with(|it| it.namespace.clear()) => InvalidArgument, "namespace: must not be empty";
        with(|it| it.namespace = "nowhere".into()) => NotFound, "namespace \"nowhere\" not found";
        with(|it| it.batch_id.clear()) => InvalidArgument, "batch_id: must not be empty";
        with(|it| it.batch_id = long()) => InvalidArgument, format!("batch_id: {TOO_LONG}");
        with(|it| it.query.clear()) => InvalidArgument, "query: must not be empty";
        with(|it| it.query = "Status =".into()) => InvalidArgument, "query: ";
        with(|it| it.query = "WorkflowId = 'w' ORDER BY StartTime".into()) => InvalidArgument, "query: ";
        with(|it| it.query = "GROUP BY Status".into()) => InvalidArgument, "query: has GROUP BY";
        with(|it| it.operation = None) => InvalidArgument, "operation: must be set";
        with(|it| it.reason = long()) => InvalidArgument, format!("reason: {TOO_LONG}");
        with(|it| it.identity = long()) => InvalidArgument, format!("identity: {TOO_LONG}");
        with(|it| it.rate = 1001) => InvalidArgument, "rate: is 1001; the limit is 1000 runs a second";
        signal("", Vec::new()) => InvalidArgument, "operation.signal.signal_name: must not be empty";
        signal(&long(), Vec::new()) => InvalidArgument, format!("operation.signal.signal_name: {TOO_LONG}");
        signal("go", vec![large()]) => InvalidArgument, "operation.signal.input: is 2097153 bytes; the limit is 65536 bytes";
        of(Operation::Reset(v1::BatchReset::default())) => InvalidArgument, "operation.reset.point: must be set";
        v1::StartBatchRequest { rate: 7, ..batch("clear") } => AlreadyExists, "batch \"clear\" already exists";
    ]);
    let names = |namespace: &str, batch_id: &str| (namespace.to_owned(), batch_id.to_owned());
    for (of, code, message) in [
        (names("", "clear"), tonic::Code::InvalidArgument, "namespace: must not be empty".to_owned()),
        (names("nowhere", "clear"), tonic::Code::NotFound, "namespace \"nowhere\" not found".to_owned()),
        (names("default", ""), tonic::Code::InvalidArgument, "batch_id: must not be empty".to_owned()),
        (names("default", &long()), tonic::Code::InvalidArgument, format!("batch_id: {TOO_LONG}")),
        (names("default", "other"), tonic::Code::NotFound, "batch \"other\" not found".to_owned()),
    ] {
        let (namespace, batch_id) = of;
        let describe = v1::DescribeBatchRequest { namespace: namespace.clone(), batch_id: batch_id.clone() };
        let stop =
            v1::StopBatchRequest { namespace: namespace.clone(), batch_id: batch_id.clone(), reason: String::new() };
        let (mut one, mut two) = (client.clone(), client.clone());
        let describe = async move { one.describe_batch(describe).await };
        cases.push(Case::new("BatchService.DescribeBatch", describe, code, message.clone()));
        cases.push(Case::new(
            "BatchService.StopBatch",
            async move { two.stop_batch(stop).await },
            code,
            message.clone(),
        ));
        // There is nothing to delete of one that does not exist.
        if batch_id != "other" {
            let delete = v1::DeleteBatchRequest { namespace, batch_id };
            let mut client = client.clone();
            let delete = async move { client.delete_batch(delete).await };
            cases.push(Case::new("BatchService.DeleteBatch", delete, code, message));
        }
    }
    let stop = || v1::StopBatchRequest { namespace: "default".into(), batch_id: "clear".into(), ..Default::default() };
    refused!(cases, client, "BatchService.StopBatch", stop_batch, [
        v1::StopBatchRequest { reason: long(), ..stop() } => InvalidArgument, format!("reason: {TOO_LONG}");
    ]);
    let list = || v1::ListBatchesRequest { namespace: "default".into(), ..Default::default() };
    refused!(cases, client, "BatchService.ListBatches", list_batches, [
        v1::ListBatchesRequest { namespace: String::new(), ..list() } => InvalidArgument, "namespace: must not be empty";
        v1::ListBatchesRequest { namespace: "nowhere".into(), ..list() } => NotFound, "namespace \"nowhere\" not found";
        v1::ListBatchesRequest { page_size: 1001, ..list() } => InvalidArgument, "page_size: is 1001; the limit is 1000";
        v1::ListBatchesRequest { page_token: b"\xff".to_vec(), ..list() } => InvalidArgument, "page_token: is not a token of this call";
        v1::ListBatchesRequest { page_token: b"a\x00b".to_vec(), ..list() } => InvalidArgument, "page_token: is not a token of this call";
    ]);
    cases
}
