//! `BatchService`: checks requests, writes the rows of batches, sets them to work.

use std::sync::Arc;

use engine_core::ids::{RunId, SignalName, WorkflowId};
use engine_core::payload;
use engine_proto::v1::batch_service_server::BatchService;
use engine_proto::{convert, v1};
use prost::Message;
use tonic::{Request as Call, Response, Status};
use v1::batch_operation::Operation;

use super::history::detached;
use super::status::to_status;
use super::{validate, visibility};
use crate::limits;
use crate::node::NodeContext;
use crate::shard::request::ServerError;
use crate::store::{BatchKey, BatchRow, BatchWrite, NamespaceId};

/// The calls about batches.
#[derive(Debug, Clone)]
pub(crate) struct BatchCalls {
    pub(crate) context: Arc<NodeContext>,
}

#[tonic::async_trait]
impl BatchService for BatchCalls {
    async fn start_batch(&self, call: Call<v1::StartBatchRequest>) -> Result<Response<v1::StartBatchResponse>, Status> {
        self.start(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn describe_batch(
        &self,
        call: Call<v1::DescribeBatchRequest>,
    ) -> Result<Response<v1::DescribeBatchResponse>, Status> {
        let request = call.into_inner();
        let described = async {
            let key = self.key(&request.namespace, &request.batch_id).await?;
            let row = self.read(&key).await?.ok_or_else(|| not_found(&key))?;
            Ok(v1::DescribeBatchResponse { batch: stored(&row)?.batch })
        };
        described.await.map(Response::new).map_err(to_status)
    }

    async fn list_batches(
        &self,
        call: Call<v1::ListBatchesRequest>,
    ) -> Result<Response<v1::ListBatchesResponse>, Status> {
        self.list(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn stop_batch(&self, call: Call<v1::StopBatchRequest>) -> Result<Response<v1::StopBatchResponse>, Status> {
        self.stop(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn delete_batch(
        &self,
        call: Call<v1::DeleteBatchRequest>,
    ) -> Result<Response<v1::DeleteBatchResponse>, Status> {
        self.delete(call.into_inner()).await.map(Response::new).map_err(to_status)
    }
}

impl BatchCalls {
    async fn key(&self, namespace: &str, batch_id: &str) -> Result<BatchKey, ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", namespace).await?;
        self.key_in(namespace, batch_id)
    }

    fn key_in(&self, namespace: NamespaceId, batch_id: &str) -> Result<BatchKey, ServerError> {
        let batch_id = convert::required_id("batch_id", batch_id, WorkflowId::parse)?.to_string();
        Ok(BatchKey { shard: self.context.shard_of(namespace, &batch_id), namespace, batch_id })
    }

    async fn read(&self, key: &BatchKey) -> Result<Option<BatchRow>, ServerError> {
        let (store, namespace, id) = (Arc::clone(&self.context.store), key.namespace, key.batch_id.clone());
        detached(async move { store.batch(namespace, &id).await }).await
    }

    async fn write(&self, write: BatchWrite) -> Result<bool, ServerError> {
        let epoch = self.context.batches.epoch(write.key.shard)?;
        let store = Arc::clone(&self.context.store);
        detached(async move { store.write_batch(epoch, &write).await }).await
    }

    async fn page(&self, namespace: NamespaceId, after: String, limit: u32) -> Result<Vec<BatchRow>, ServerError> {
        let store = Arc::clone(&self.context.store);
        detached(async move { store.list_batches(namespace, &after, limit).await }).await
    }

    async fn start(&self, request: v1::StartBatchRequest) -> Result<v1::StartBatchResponse, ServerError> {
        let namespace = self.context.namespaces.get(&self.context.store, "namespace", &request.namespace).await?;
        let key = self.key_in(namespace.id, &request.batch_id)?;
        let batch = checked(request)?;
        if let Some(row) = self.read(&key).await? {
            return self.existing(row, &batch);
        }
        let filter = visibility::meant_by_batch(&self.context, &namespace, &batch).await?;
        let known = self.page(key.namespace, String::new(), limits::BATCHES_MAX).await?;
        if known.len() >= limits::BATCHES_MAX as usize {
            return Err(ServerError::Refused(format!(
                "namespace {:?} has {} batches, which is the limit: delete some that are over",
                namespace.name,
                limits::BATCHES_MAX
            )));
        }
        let (store, id) = (Arc::clone(&self.context.store), key.namespace);
        let counted = detached(async move { store.count(id, &filter).await }).await?;
        let now = self.context.now();
        let batch = v1::Batch {
            state: v1::BatchState::Running.into(),
            total: counted.into_iter().map(|(_, count)| count).sum(),
            start_time: Some(convert::timestamp_to_proto(now)),
            ..batch
        };
        let total = batch.total;
        // Runs that start from now on are not meant: run ids are in the order of starts.
        let after_run_id = RunId::from_parts(now, [u8::MAX; 10]).to_string();
        let stored_batch = v1::StoredBatch { batch: Some(batch.clone()), after_run_id, stop_requested: false };
        let encoded = bytes::Bytes::from(stored_batch.encode_to_vec());
        let row = BatchRow { key: key.clone(), revision: 1, is_active: true, batch: encoded.clone() };
        match self.write(BatchWrite { key: key.clone(), replaces: 0, row: Some((true, encoded)) }).await {
            Ok(true) => {
                self.context.batches.begin(&self.context, row);
                return Ok(v1::StartBatchResponse { total });
            }
            Ok(false) => {}
            Err(error) => {
                // It may be there for all that.
                self.context.batches.recover(&self.context, vec![key.shard]);
                return Err(error);
            }
        }
        let row = self.read(&key).await?.ok_or_else(|| ServerError::unavailable("the batch was deleted meanwhile"))?;
        self.existing(row, &batch)
    }

    /// A batch of this id exists: the answer, if it is the same.
    fn existing(&self, row: BatchRow, wanted: &v1::Batch) -> Result<v1::StartBatchResponse, ServerError> {
        let known = stored(&row)?.batch.unwrap_or_default();
        let content =
            |batch: &v1::Batch| (batch.query.clone(), batch.operation.clone(), batch.reason.clone(), batch.rate);
        if content(&known) != content(wanted) {
            return Err(ServerError::Exists { kind: "batch", name: row.key.batch_id });
        }
        if row.is_active {
            // The answer to its start may have been lost, and it with it.
            self.context.batches.begin(&self.context, row);
        }
        Ok(v1::StartBatchResponse { total: known.total })
    }

    async fn list(&self, request: v1::ListBatchesRequest) -> Result<v1::ListBatchesResponse, ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", &request.namespace).await?;
        let size = validate::page_size(request.page_size, limits::LIST_PAGE_DEFAULT, limits::LIST_PAGE_MAX)?;
        let after = validate::token_of_ids(request.page_token)?;
        let rows = self.page(namespace, after, size + 1).await?;
        let has_more = rows.len() > size as usize;
        let mut batches = Vec::with_capacity(rows.len());
        for row in rows.iter().take(size as usize) {
            batches.extend(stored(row)?.batch);
        }
        let last = rows.get(size as usize - 1).filter(|_| has_more);
        let next_page_token = last.map(|row| row.key.batch_id.clone().into_bytes()).unwrap_or_default();
        Ok(v1::ListBatchesResponse { batches, next_page_token })
    }

    async fn stop(&self, request: v1::StopBatchRequest) -> Result<v1::StopBatchResponse, ServerError> {
        validate::people_text("reason", &request.reason)?;
        let key = self.key(&request.namespace, &request.batch_id).await?;
        loop {
            let row = self.read(&key).await?.ok_or_else(|| not_found(&key))?;
            let mut content = stored(&row)?;
            if !row.is_active || content.stop_requested {
                return Ok(v1::StopBatchResponse {});
            }
            content.stop_requested = true;
            if let Some(batch) = &mut content.batch {
                batch.stop_reason.clone_from(&request.reason);
            }
            let write = BatchWrite {
                key: key.clone(),
                replaces: row.revision,
                row: Some((true, content.encode_to_vec().into())),
            };
            if self.write(write).await? {
                self.context.batches.look(&key);
                return Ok(v1::StopBatchResponse {});
            }
            // It wrote how far it has come meanwhile, which it does about once a second.
        }
    }

    async fn delete(&self, request: v1::DeleteBatchRequest) -> Result<v1::DeleteBatchResponse, ServerError> {
        let key = self.key(&request.namespace, &request.batch_id).await?;
        let Some(row) = self.read(&key).await? else { return Ok(v1::DeleteBatchResponse { existed: false }) };
        if row.is_active {
            return Err(ServerError::Refused(format!("batch {:?} is at work: stop it first", key.batch_id)));
        }
        let existed = self.write(BatchWrite { key, replaces: row.revision, row: None }).await?;
        Ok(v1::DeleteBatchResponse { existed })
    }
}

fn not_found(key: &BatchKey) -> ServerError {
    ServerError::NotFound { kind: "batch", name: key.batch_id.clone() }
}

fn stored(row: &BatchRow) -> Result<v1::StoredBatch, ServerError> {
    v1::StoredBatch::decode(row.batch.clone())
        .map_err(|error| ServerError::Internal(format!("batch {:?} cannot be read: {error}", row.key.batch_id)))
}

/// The batch that the request asks for, as far as the request says it.
fn checked(request: v1::StartBatchRequest) -> Result<v1::Batch, ServerError> {
    let invalid = |field: &str, problem: String| Err(ServerError::Invalid { field: field.to_owned(), problem });
    let v1::StartBatchRequest { batch_id, query, operation, reason, identity, rate, .. } = request;
    if query.trim().is_empty() {
        return invalid(
            "query",
            "must not be empty: a batch over all open runs says so, as in StartTime > '1970-01-01'".to_owned(),
        );
    }
    validate::people_text("reason", &reason)?;
    validate::people_text("identity", &identity)?;
    match operation.as_ref().and_then(|operation| operation.operation.as_ref()) {
        None => return invalid("operation", "must be set".to_owned()),
        Some(Operation::Signal(signal)) => {
            convert::required_id("operation.signal.signal_name", &signal.signal_name, SignalName::parse)?;
            let size = payload::total_size(&convert::payloads_from_proto(signal.input.clone()));
            let limit = limits::BATCH_INPUT_BYTES_MAX;
            if size > limit {
                return invalid("operation.signal.input", format!("is {size} bytes; the limit is {limit} bytes"));
            }
        }
        Some(Operation::Reset(reset)) if reset.point() == v1::BatchResetPoint::Unspecified => {
            let problem = "must be set: FIRST_WORKFLOW_TASK, LAST_WORKFLOW_TASK or FAILED_ACTIVITY".to_owned();
            return invalid("operation.reset.point", problem);
        }
        Some(Operation::Move(to)) => {
            let said = to.versioning_override.as_ref().map(convert::versioning_override_from_proto).transpose();
            said.map_err(|error| error.inside("operation.move.versioning_override"))?;
        }
        Some(
            Operation::Cancel(_)
            | Operation::Terminate(_)
            | Operation::Pause(_)
            | Operation::Resume(_)
            | Operation::Delete(_)
            | Operation::Reset(_),
        ) => {}
    }
    let rate = match rate {
        0 => limits::BATCH_RATE_DEFAULT,
        rate if rate <= limits::BATCH_RATE_MAX => rate,
        rate => return invalid("rate", format!("is {rate}; the limit is {} runs a second", limits::BATCH_RATE_MAX)),
    };
    Ok(v1::Batch { batch_id, query, operation, reason, identity, rate, ..v1::Batch::default() })
}
