//! What a run has published, as it is and as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::event::EventKind;
use engine_core::execution::PublishedValue;
use engine_core::ids::{EventId, PublishedName, RunId};
use engine_proto::{convert, v1};
use prost::Message as _;

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::history;
use crate::rpc::workflow_service::Target;
use crate::shard::request::{Described, ServerError};

/// Answers from memory for an open run as it is; else from the history, page by page: memory is bounded whatever its length.
pub(crate) async fn get(
    context: &Arc<NodeContext>,
    target: Target,
    request: &v1::GetPublishedRequest,
) -> Result<v1::GetPublishedResponse, ServerError> {
    let name = convert::optional_id("name", &request.name, PublishedName::parse)?;
    let is_wanted = |value: &PublishedValue| name.as_ref().is_none_or(|name| value.name == *name);
    let (run_id, last, current) = match target.describe(context).await? {
        Described::Open(run) => (run.row.key.run_id, EventId(run.history_length), Some(run.published)),
        Described::Closed(row) => (row.key.run_id, EventId(row.history_length), None),
    };
    let at = match request.at_event_id {
        0 => last,
        at if EventId(at) <= last => EventId(at),
        at => {
            let problem = format!("is {at}, but the last event of the run is {last}");
            return Err(ServerError::Invalid { field: "at_event_id".into(), problem });
        }
    };
    let values: Vec<PublishedValue> = match current {
        Some(published) if at == last => published.into_iter().filter(is_wanted).collect(),
        Some(_) | None => as_of(context, &target, run_id, at).await?.into_values().filter(is_wanted).collect(),
    };
    Ok(v1::GetPublishedResponse { run_id: run_id.to_string(), values: values.iter().map(to_proto).collect() })
}

/// What the run had published when event `at` was its last.
async fn as_of(
    context: &Arc<NodeContext>,
    target: &Target,
    run_id: RunId,
    at: EventId,
) -> Result<BTreeMap<PublishedName, PublishedValue>, ServerError> {
    let mut values = BTreeMap::new();
    let mut next = EventId::FIRST;
    while next <= at {
        let page = history::events(context, target.shard, run_id, next, limits::HISTORY_PAGE_MAX as usize).await?;
        let Some((last, _)) = page.last() else {
            return Err(ServerError::Internal(format!("the history of run {run_id} ends before event {at}")));
        };
        next = last.next();
        for (_, bytes) in page.into_iter().take_while(|(id, _)| *id <= at) {
            let unreadable = |error: String| ServerError::Internal(format!("history of run {run_id}: {error}"));
            let message = v1::HistoryEvent::decode(bytes).map_err(|error| unreadable(error.to_string()))?;
            if !matches!(message.attributes, Some(v1::history_event::Attributes::StatePublished(_))) {
                continue;
            }
            let event = convert::event_from_proto(message).map_err(|error| unreadable(error.to_string()))?;
            if let EventKind::StatePublished(it) = event.kind {
                let value = PublishedValue { name: it.name.clone(), event_id: event.id, at: event.at, value: it.value };
                values.insert(it.name, value);
            }
        }
    }
    Ok(values)
}

pub(crate) fn to_proto(value: &PublishedValue) -> v1::PublishedValue {
    v1::PublishedValue {
        name: value.name.as_str().to_owned(),
        event_id: value.event_id.0,
        time: Some(convert::timestamp_to_proto(value.at)),
        value: Some(convert::payload_to_proto(&value.value)),
    }
}
